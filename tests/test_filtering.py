"""Filters have exactly one name each, and keep exactly the rows that they say."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.prompts.lanes import ALLOWED, COLORS, COUNTS, PATTERNS, Attributes
from relane.training.filtering import Filter, empty_result, parse_suffix, slice_items, split_name

filters = st.builds(
    Filter,
    count=st.lists(st.sampled_from(COUNTS)).map(tuple),
    color=st.lists(st.sampled_from(COLORS)).map(tuple),
    pattern=st.lists(st.sampled_from(PATTERNS)).map(tuple),
    require_clear_road=st.booleans(),
    sort=st.sampled_from(["image", "prompt"]),
    limit=st.integers(0, 10**6),
)
attributes = st.builds(
    Attributes, count=st.sampled_from(COUNTS), color=st.sampled_from(COLORS), pattern=st.sampled_from(PATTERNS)
)


@given(filters)
def test_every_filter_comes_back_from_its_suffix(one):
    assert parse_suffix(one.suffix()) == one
    assert "__" not in one.suffix()
    assert "/" not in one.suffix()


@given(st.text(alphabet="singledoubwhtyraky-_0123456789", max_size=40))
def test_a_suffix_is_read_as_one_filter_or_refused(text):
    with contextlib.suppress(InputError):
        assert parse_suffix(text).suffix() == text


@pytest.mark.parametrize(
    ("suffix", "expected"),
    [
        (
            "single_white_solid_clearroad",
            Filter(("single",), ("white",), ("solid",), require_clear_road=True),
        ),
        ("double_yellow_dashed", Filter(("double",), ("yellow",), ("dashed",))),
        ("any_any_any", Filter()),
        ("any_white-yellow_dashed_limit20", Filter(color=("yellow", "white"), pattern=("dashed",), limit=20)),
        ("any_any_solid_clearroad_byprompt", Filter(pattern=("solid",), require_clear_road=True, sort="prompt")),
    ],
)
def test_suffixes_of_the_documentation(suffix, expected):
    assert parse_suffix(suffix) == expected


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("double_yellow", "too short"),
        ("double_green_solid", "unknown color 'green'"),
        ("double_yellow_solid_shiny", "cannot read 'shiny'"),
        ("double-single_yellow_solid", "'single-double_yellow_solid'"),
        ("single-double-unknown_any_any", "'any_any_any'"),
        ("any_any_any_limit0", "cannot read 'limit0'"),
        ("any_any_any_limit5_clearroad", "cannot read"),
        ("any_any_any_limit٣", "cannot read"),
        ("single-single_any_any", "'single_any_any'"),
        ("", "too short"),
    ],
)
def test_a_wrong_suffix_says_what_is_wrong(suffix, message):
    with pytest.raises(InputError, match=message):
        parse_suffix(suffix)


@given(filters, attributes)
def test_a_row_stays_when_each_attribute_is_wanted_and_known_if_asked(one, row):
    wanted = all(not getattr(one, name) or getattr(row, name) in getattr(one, name) for name in ALLOWED)
    clear = not one.require_clear_road or len(row.known()) == len(ALLOWED)
    assert (one.rejects(row) is None) == (wanted and clear)


def test_the_part_of_a_name_after_two_underscores_is_the_filter():
    assert split_name("my_roads-2") == ("my_roads-2", None)
    assert split_name("my_roads__any_any_solid") == ("my_roads", Filter(pattern=("solid",)))
    with pytest.raises(InputError, match="too short"):
        split_name("my_roads__solid")


def test_an_empty_result_counts_rows_by_condition_not_by_value():
    reasons = ["count is not double (single)"] * 3 + ["count is not double (unknown)", "color is not white (yellow)"]
    error = str(empty_result("roads", 5, reasons))
    assert "none of 5 rows" in error
    assert "count is not double: 4" in error
    assert "color is not white: 1" in error


def test_videos_are_sliced_by_start_and_limit():
    assert slice_items("abcde", 1, 2) == ["b", "c"]
    assert slice_items("abcde", 3) == ["d", "e"]
    assert slice_items("abcde") == list("abcde")
    with pytest.raises(InputError, match="there are 5"):
        slice_items("abcde", 5)
    with pytest.raises(InputError, match="negative"):
        slice_items("abcde", -1)
