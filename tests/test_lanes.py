"""Attributes and the sentences that carry them: every way there has its way back, and models' words are understood."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.prompts import lanes
from relane.prompts.lanes import Attributes

attributes = st.builds(
    Attributes, st.sampled_from(lanes.COUNTS), st.sampled_from(lanes.COLORS), st.sampled_from(lanes.PATTERNS)
)


@given(attributes)
def test_prompt_and_instruction_read_back_what_they_were_made_of(asked: Attributes) -> None:
    assert lanes.parse_prompt(asked.prompt()) == asked
    assert lanes.parse_instruction(lanes.instruction_of(asked)) == asked


@given(attributes, attributes)
def test_different_attributes_never_share_a_sentence_or_a_slug(one: Attributes, other: Attributes) -> None:
    same = one == other
    assert (one.prompt() == other.prompt()) == same
    assert (lanes.instruction_of(one) == lanes.instruction_of(other)) == same
    assert (one.slug() == other.slug()) == same


def reading(seen: object) -> tuple[str, str, str]:
    return tuple(vars(lanes.read_values(seen).attributes).values())


@given(attributes, st.sampled_from(["{}", "```json\n{}\n```", "Sure, here it is:\n{}\nDone {{", "{{not json}} {}"]))
def test_a_reply_is_found_whatever_stands_around_it(seen: Attributes, around: str) -> None:
    body = json.dumps({"Count": seen.count.upper(), "colour": seen.color, "pattern": f" {seen.pattern} "})
    found = lanes.parse_reply(around.format(body))
    assert (found.attributes, found.readable) == (seen, set(lanes.ALLOWED))


@given(st.text())
def test_any_reply_can_be_read(text: str) -> None:
    assert isinstance(lanes.parse_reply(text), lanes.Reading)


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.sampled_from(["count", "color", "pattern", "seen", "value"]), inner)
    ),
)


@given(values)
def test_any_value_can_be_read(value: object) -> None:
    found = lanes.read_values(value)
    assert set(found.attributes.known()) <= found.readable


@given(
    attributes, st.sampled_from(list(lanes.ALLOWED)), st.sampled_from(["blue", "triple", "zigzag", 7, True, "", "?!"])
)
def test_a_foreign_word_makes_its_own_attribute_unreadable_and_no_other(
    seen: Attributes, name: str, word: object
) -> None:
    found = lanes.read_values(vars(seen) | {name: word})
    assert found.readable == set(lanes.ALLOWED) - {name}
    assert found.attributes == replace(seen, **{name: "unknown"})


@pytest.mark.parametrize(
    ("name", "words", "value"),
    [
        ("count", "Double Lines", "double"),
        ("count", "two parallel lines", "double"),
        ("count", "1 line", "single"),
        ("count", 2, "double"),
        ("count", 1.0, "single"),
        ("count", "a pair of lines", "double"),
        ("count", "two single lines", "single"),
        ("count", ["double"], "double"),
        ("count", {"value": "double", "confidence": 0.9}, "double"),
        ("count", "single or double", "unknown"),
        ("count", "three", "unknown"),
        ("color", "YELLOW.", "yellow"),
        ("color", "white lines", "white"),
        ("color", "not yellow", "unknown"),
        ("color", "white, not yellow", "white"),
        ("color", "not white but yellow", "yellow"),
        ("color", "white instead of yellow", "white"),
        ("color", "neither white nor yellow", "unknown"),
        ("color", "yellow is not visible", "unknown"),
        ("color", "white and yellow", "mixed"),
        ("color", "both lines are white", "white"),
        ("color", "both", "mixed"),
        ("color", ["white", "yellow"], "mixed"),
        ("color", "yellow (beside a white car)", "yellow"),
        ("color", "yellow, next to the white edge line", "yellow"),
        ("color", None, "unknown"),
        ("color", "none", "unknown"),
        ("pattern", "Dashed lines", "dashed"),
        ("pattern", "broken", "dashed"),
        ("pattern", "unbroken", "solid"),
        ("pattern", "non-solid", "unknown"),
        ("pattern", "one solid, one dashed", "mixed"),
        ("pattern", "left: solid; right: dashed", "mixed"),
        ("pattern", {"left": "solid", "right": "solid"}, "solid"),
    ],
)
def test_a_value_is_read_by_its_words(name: str, words: object, value: str) -> None:
    assert getattr(lanes.read_values({name: words}).attributes, name) == value


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ("a double solid yellow line", ("double", "yellow", "solid")),
        ([{"count": "double", "color": "yellow"}, {"color": "white"}], ("double", "mixed", "unknown")),
        ({"left line": {"color": "white"}, "right line": {"color": "white"}}, ("unknown", "white", "unknown")),
        ({"line_color": "white", "Line Pattern": "dashed", "number of lines": 1}, ("single", "white", "dashed")),
        ({"left": "a white dash", "right": "white, not pure white"}, ("unknown", "white", "dashed")),
        ({"markings": "double yellow"}, ("double", "yellow", "unknown")),
        (["double", "yellow", "solid"], ("double", "yellow", "solid")),
        (None, ("unknown", "unknown", "unknown")),
        (3, ("unknown", "unknown", "unknown")),
    ],
)
def test_a_reading_in_another_shape_is_read_too(seen: object, expected: tuple[str, str, str]) -> None:
    assert reading(seen) == expected


def test_what_is_denied_contradicts_it_and_nothing_else() -> None:
    found = lanes.read_values({"color": "not yellow"})
    assert found.contradicted(Attributes(color="yellow")) == ["color"]
    assert found.contradicted(Attributes("double", "white", "solid")) == []


@pytest.mark.parametrize("reply", ["I see a single white line.", '["single", "white", "solid"]', '{"answer": 42}', "{"])
def test_a_reply_without_an_object_of_attributes_is_not_readable(reply: str) -> None:
    assert not lanes.parse_reply(reply).readable


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Replace the white dashed lines with a double solid yellow line", ("double", "yellow", "solid")),
        ("change yellow to white", ("unknown", "white", "unknown")),
        ("a double line, one solid and one broken, in white", ("double", "white", "mixed")),
        ("make the line dashed; keep the white arrows", ("unknown", "unknown", "dashed")),
        ("single white line next to the kerb", ("single", "white", "unknown")),
        ("make it snow", ("unknown", "unknown", "unknown")),
        ("double solid yellow lines next to the white edge line", ("double", "yellow", "solid")),
        ("double solid yellow lines close to the white dashed line", ("double", "yellow", "solid")),
        ("double yellow solid lines to match the white arrows", ("double", "yellow", "solid")),
        ("change the white line next to the kerb to a double yellow one", ("double", "yellow", "unknown")),
        ("replace the white dashed line by the double solid yellow one", ("double", "yellow", "solid")),
        ("a yellow line to the left of the white line", ("unknown", "yellow", "unknown")),
        ("road with double yellow lines and a white edge line", ("double", "yellow", "unknown")),
        ("road with double-yellow solid lines, a white car ahead", ("double", "yellow", "solid")),
        ("double yellow lines with white reflectors", ("double", "yellow", "unknown")),
        ("double yellow lines instead of the white dashed line", ("double", "yellow", "unknown")),
        ("solid yellow lines, not white", ("unknown", "yellow", "solid")),
        ("a single-lane road with double yellow lines", ("double", "yellow", "unknown")),
        ("make the edge line yellow and dashed", ("unknown", "yellow", "dashed")),
        ("change the marking to a yellow edge line", ("unknown", "yellow", "unknown")),
        ("between the lanes paint a double yellow line", ("double", "yellow", "unknown")),
        ("paint yellow over the white dashed line", ("unknown", "yellow", "unknown")),
        ("double solid yellow lines replacing the old white dashed ones", ("double", "yellow", "solid")),
        ("remove the white dashed line and paint a double yellow solid line", ("double", "yellow", "solid")),
        ("paint the dashed white line yellow", ("unknown", "yellow", "dashed")),
        ("the white line should be yellow", ("unknown", "yellow", "unknown")),
        ("the white dashed line becomes double yellow solid", ("double", "yellow", "solid")),
        ("swap the yellow line for a white dashed one", ("unknown", "white", "dashed")),
        ("change the color from white to yellow and the pattern from dashed to solid", ("unknown", "yellow", "solid")),
        ("convert to white lines with a dashed pattern", ("unknown", "white", "dashed")),
        ("from white dashed to double yellow solid", ("double", "yellow", "solid")),
    ],
)
def test_a_free_sentence_is_read_for_what_it_asks(text: str, asked: tuple[str, str, str]) -> None:
    assert lanes.parse_instruction(text) == Attributes(*asked)


def test_values_outside_the_grammar_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="unknown color 'blue': use one of white, yellow, mixed, unknown"):
        Attributes("single", "blue", "solid")
    with pytest.raises(InputError, match="is no caption"):
        lanes.parse_prompt("a road with one line")
    with pytest.raises(InputError, match="unknown count 'triple'"):
        lanes.parse_prompt("road with triple white solid lane markings")


def test_only_what_both_know_can_contradict() -> None:
    assert Attributes("single", "white", "unknown").contradicts(Attributes("double", "unknown", "dashed")) == ["count"]
    assert Attributes().contradicts(Attributes("double", "white", "solid")) == []
