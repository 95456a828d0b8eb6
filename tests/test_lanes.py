"""Attributes and the sentences that carry them: every way there has its way back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane import lanes
from relane.errors import InputError
from relane.lanes import Attributes

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


@given(attributes, st.sampled_from(["{}", "```json\n{}\n```", "Sure, here it is:\n{}\nDone {{", "{{not json}} {}"]))
def test_a_reply_is_found_whatever_stands_around_it(seen: Attributes, around: str) -> None:
    body = json.dumps({"Count": seen.count.upper(), "colour": seen.color, "pattern": f" {seen.pattern} "})
    assert lanes.parse_reply(around.format(body)) == seen


@given(st.text())
def test_any_reply_is_attributes_or_nothing(text: str) -> None:
    assert lanes.parse_reply(text) is None or isinstance(lanes.parse_reply(text), Attributes)


@pytest.mark.parametrize(
    "reply",
    [
        "I see a single white line.",
        '{"count": "single", "color": "white"}',
        '{"count": "triple", "color": "white", "pattern": "solid"}',
        '{"count": "single", "color": "white", "pattern": "solid"',
        '["single", "white", "solid"]',
    ],
)
def test_a_reply_that_says_less_than_asked_does_not_parse(reply: str) -> None:
    assert lanes.parse_reply(reply) is None


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Replace the white dashed lines with a double solid yellow line", ("double", "yellow", "solid")),
        ("change yellow to white", ("unknown", "white", "unknown")),
        ("a double line, one solid and one broken, in white", ("double", "white", "mixed")),
        ("make the line dashed; keep the white arrows", ("unknown", "unknown", "dashed")),
        ("single white line next to the kerb", ("single", "white", "unknown")),
        ("make it snow", ("unknown", "unknown", "unknown")),
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
