"""Filters over a captioned dataset, and the folder names that stand for them.

A filtered dataset is a build target by its name alone: `results/datasets/roads__double_yellow_dashed/train.csv` is
made from `results/datasets/roads`. So every filter has exactly one suffix, and every suffix is one filter. Imported
while Snakemake plans: the standard library alone.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from relane.errors import InputError
from relane.prompts.lanes import ALLOWED, Attributes

T = TypeVar("T")

SEPARATOR = "__"
SORTS = ("image", "prompt")
ANY = "any"
CLEAR_ROAD = "clearroad"
SHAPE = (
    "write it as <count>_<color>_<pattern>[_clearroad][_byprompt][_limit<n>], where each of the first three is 'any' "
    "or values joined by '-', such as single_white_solid_clearroad or any_white-yellow_dashed"
)


@dataclass(frozen=True)
class Filter:
    """Which rows of a dataset to keep, in which order, and how many at most.

    count, color, pattern: the values to keep, an empty tuple for any. They are put in the order of `lanes.ALLOWED`
    and naming every value is the same as naming none, so that equal filters are equal objects.
    require_clear_road: drop rows of which any attribute is `unknown`. sort: by `image` or `prompt`.
    limit: rows to keep at most, after sorting; 0 for all. Raises InputError on any other value.
    """

    count: tuple[str, ...] = ()
    color: tuple[str, ...] = ()
    pattern: tuple[str, ...] = ()
    require_clear_road: bool = False
    sort: str = "image"
    limit: int = 0

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            values = getattr(self, name)
            for value in values:
                if value not in allowed:
                    raise InputError(f"filter: unknown {name} {value!r}; use any, or some of {', '.join(allowed)}")
            kept = tuple(value for value in allowed if value in values)
            object.__setattr__(self, name, () if len(kept) == len(allowed) else kept)
        if self.sort not in SORTS:
            raise InputError(f"filter: cannot sort by {self.sort!r}; use one of {', '.join(SORTS)}")
        if self.limit < 0:
            raise InputError(f"filter: limit {self.limit} is negative; use 0 for no limit")

    def suffix(self) -> str:
        """The name of this filter, such as `single_white_solid_clearroad`; `parse_suffix` reads it back."""
        words = ["-".join(getattr(self, name)) or ANY for name in ALLOWED]
        if self.require_clear_road:
            words.append(CLEAR_ROAD)
        if self.sort != SORTS[0]:
            words.append(f"by{self.sort}")
        if self.limit:
            words.append(f"limit{self.limit}")
        return "_".join(words)

    def rejects(self, attributes: Attributes) -> str | None:
        """Why a row with these attributes is dropped, as `condition (value)`, or None when it stays."""
        for name in ALLOWED:
            wanted, value = getattr(self, name), getattr(attributes, name)
            if wanted and value not in wanted:
                return f"{name} is not {' or '.join(wanted)} ({value})"
        if self.require_clear_road:
            unclear = [name for name in ALLOWED if getattr(attributes, name) == "unknown"]
            if unclear:
                return f"no clear road ({', '.join(unclear)} unknown)"
        return None


def parse_suffix(text: str) -> Filter:
    """The filter that a suffix names. Raises InputError for anything that `Filter.suffix` would not write."""
    words = text.split("_")
    if len(words) < len(ALLOWED):
        raise InputError(f"filter suffix {text!r} is too short: {SHAPE}")
    values = {
        name: () if word == ANY else tuple(word.split("-"))
        for name, word in zip(ALLOWED, words[: len(ALLOWED)], strict=True)
    }
    rest = words[len(ALLOWED) :]
    clear = rest[:1] == [CLEAR_ROAD]
    rest = rest[clear:]
    by_prompt = rest[:1] == ["byprompt"]
    rest = rest[by_prompt:]
    limit = re.fullmatch(r"limit([1-9]\d*)", rest[0], re.ASCII) if rest else None
    if rest and (not limit or len(rest) > 1):
        raise InputError(f"filter suffix {text!r}: cannot read {'_'.join(rest)!r}: {SHAPE}")
    found = Filter(
        **values,
        require_clear_road=clear,
        sort="prompt" if by_prompt else "image",
        limit=int(limit[1]) if limit else 0,
    )
    if found.suffix() != text:
        raise InputError(f"filter suffix {text!r}: one filter has one name, and this one's is {found.suffix()!r}")
    return found


def split_name(name: str) -> tuple[str, Filter | None]:
    """A dataset's name and its filter: `roads__any_any_solid` -> ("roads", Filter(...)), `roads` -> ("roads", None).

    Raises InputError when the part after `__` is no filter.
    """
    base, separator, suffix = name.partition(SEPARATOR)
    return (base, parse_suffix(suffix)) if separator else (base, None)


def empty_result(what: str, total: int, reasons: Iterable[str]) -> InputError:
    """The error for a filter that keeps nothing: how many of `total` rows each condition removed."""
    # What differs from row to row, a value or a file's name, stands in brackets or after a colon.
    removed = Counter(re.sub(r": .*$| \(.*\)$", "", reason) for reason in reasons)
    each = "; ".join(f"{reason}: {number}" for reason, number in removed.most_common())
    return InputError(f"{what}: the filter keeps none of {total} rows ({each}); ask for less")


def slice_items(items: Sequence[T], start: int = 0, limit: int = 0) -> list[T]:
    """`limit` items (0: all) from index `start` on. Raises InputError when that leaves none."""
    if start < 0 or limit < 0:
        raise InputError(f"dataset: video_start {start} and video_limit {limit} must not be negative")
    chosen = list(items[start : start + limit] if limit else items[start:])
    if not chosen:
        raise InputError(f"dataset: video_start {start} leaves no videos: there are {len(items)}")
    return chosen
