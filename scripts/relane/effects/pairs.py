"""Which arms and rows belong together: by clip and instant first, then a clip's instants averaged."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Rows = Sequence[dict[str, Any]]
Instant = tuple[str, int | None]  # clip, and t0 in microseconds


def instants(rows: Rows, arm: str) -> set[Instant]:
    """Where the arm has a row."""
    return {(row["clip_id"], row["t0_us"]) for row in rows if row["arm"] == arm}


def values(rows: Rows, arm: str, name: str) -> dict[Instant, float]:
    """The arm's figure of this name wherever it has one."""
    found = (row for row in rows if row["arm"] == arm and row.get(name) is not None)
    return {(row["clip_id"], row["t0_us"]): float(row[name]) for row in found}


def mean_by_clip(figures: Mapping[Instant, float]) -> dict[str, float]:
    """One figure a clip, the mean over its instants: they are not independent, and the clip is the unit."""
    grouped = defaultdict(list)
    for (clip, _), value in figures.items():
        grouped[clip].append(value)
    return {clip: float(np.mean(found)) for clip, found in grouped.items()}


def by_clip(rows: Rows, arm: str, name: str) -> dict[str, float]:
    """`values` by clip."""
    return mean_by_clip(values(rows, arm, name))


def minus(rows: Rows, arm: str, other: str, name: str) -> dict[str, float]:
    """The arm's figure less the other arm's at the same instant of the same clip, by clip.

    An instant that only one of them has does not count.
    """
    own, its = values(rows, arm, name), values(rows, other, name)
    return mean_by_clip({instant: own[instant] - its[instant] for instant in own if instant in its})


def words_for(found: Iterable[Instant], most: int = 6) -> str:
    """Instants by name, for people: "clip0 at 5.1 s, clip1 at 5.1 s and 12 more"."""
    ordered = names(found)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def names(found: Iterable[Instant]) -> list[str]:
    """Instants by name, in order."""
    ordered = sorted(found, key=lambda instant: (instant[0], instant[1] or 0))
    return [clip if t0_us is None else f"{clip} at {t0_us / 1e6:g} s" for clip, t0_us in ordered]
