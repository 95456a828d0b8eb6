"""Objects out of replies: whole ones as JSON has it, loose ones as they were meant, cut ones as far as they go."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.prompts import replies

words = st.text("abc xyz.\"'\\{}[]:,\n\u00e9", max_size=12)
names = st.text("abcdef", min_size=1, max_size=4)
leaves = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(-9, 9) | words
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8
)
whole = st.dictionaries(names, trees, min_size=1, max_size=4)


@given(whole, st.sampled_from([None, 2]), st.sampled_from(["{}", "Sure:\n```json\n{}\n```\nDone {{"]))
def test_json_is_read_as_json_whatever_stands_around_it(value: dict, indent: int | None, around: str) -> None:
    assert replies.objects(around.format(json.dumps(value, indent=indent)))[0] == value


def is_beginning(part: object, value: object) -> bool:
    """Whether a value is another one, or what has been said of it up to some place."""
    if isinstance(part, dict) and isinstance(value, dict):
        return all(name in value and is_beginning(part[name], value[name]) for name in part)
    if isinstance(part, list) and isinstance(value, list):
        return len(part) <= len(value) and all(map(is_beginning, part, value))
    return part == value and type(part) is type(value)


plain = st.text("abc xyz.", max_size=12)
plain_trees = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(names, plain_trees, min_size=1, max_size=4), st.data())
def test_a_cut_reply_says_nothing_that_the_whole_one_does_not(value: dict, data: st.DataObject) -> None:
    text = json.dumps(value)
    found = replies.objects(text[: data.draw(st.integers(0, len(text)))])
    assert all(is_beginning(one, value) for one in found[:1])


@given(st.text('{}[]:,"\\ab1 \n'))
def test_any_text_can_be_read(text: str) -> None:
    assert all(isinstance(one, dict) and one for one in replies.objects(text))


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("{'verdict': 'PASS', seen: {count: single,},}", {"verdict": "PASS", "seen": {"count": "single"}}),
        ("{\u201cverdict\u201d: \u201cPASS\u201d}", {"verdict": "PASS"}),
        ('{"note": "the "road" looks real", "score": 7}', {"note": 'the "road" looks real', "score": 7}),
        ('{"a": "x"\n "b": 3}', {"a": "x", "b": 3}),
        ('{"a": True, "b": None, "c": "it\'s",}', {"a": True, "b": None, "c": "it's"}),
        (
            '{"verdict": "PASS", "seen": {"count": "double", "color": "yell',
            {"verdict": "PASS", "seen": {"count": "double"}},
        ),
        ('{"verdict": "FAIL", "score": 1', {"verdict": "FAIL"}),
        ('{"verdict": "PASS", "verdict": "FAIL"}', {"verdict": ["PASS", "FAIL"]}),
    ],
)
def test_an_object_is_read_as_it_was_meant(reply: str, value: dict) -> None:
    assert replies.objects(reply) == [value]


def test_a_choice_that_was_copied_from_the_question_is_no_answer() -> None:
    assert replies.objects('{"verdict": "PASS" or "FAIL", "score": 3}')[0]["verdict"] not in ("PASS", "FAIL")


@pytest.mark.parametrize("deep", ["{" * 5000, '{"a":' * 5000, '{"a":[' * 3000])
def test_a_bottomless_reply_ends(deep: str) -> None:
    assert isinstance(replies.objects(deep), list)
