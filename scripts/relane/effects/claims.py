"""What may be said of an arm: which share of clips moved, and whether the mean is as good as zero.

A mean over a few clips says nothing of clips that answer seldom and far: where 5 % move by 4 m, every eighth study of
40 clips meets none of them. So the claim is the share of clips that moved, with an exact interval, and the mean
is called zero only where even the clips that the interval cannot rule out would not lift it over the margin
(benchmarks/EFFECTS.md has the rates of false claims).
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy import stats

from relane.effects.statistics import FEWEST_FOR_MEAN, LEVEL, equivalence_p

LARGEST = 4.0  # metres: as far as an unseen clip may move, a lane's width
FEWEST_ALIKE = 20  # clips; below it an interval of a mean of clips that all moved knows nothing of those that do not


def moved(sizes: Sequence[float], margin: float) -> dict[str, Any]:
    """How many of n clips moved by more than `margin` metres, and which share of all clips does.

    `sizes` (n,): each clip's displacement in metres, the mean over its instants and samples. `low` and `high` are the
    exact 95 % interval (Clopper and Pearson 1934), `at_most` is the exact one-sided 95 % bound. n >= 1.
    """
    count, n = int(np.sum(np.asarray(sizes) > margin)), len(sizes)
    low, high, at_most = exact_bounds(count, n)
    figures = {"beyond_m": margin, "clips": n, "moved": count, "share": count / n}
    return figures | {"low": low, "high": high, "at_most": at_most}


@cache
def exact_bounds(count: int, n: int) -> tuple[float, float, float]:
    """Both ends of the exact two-sided 95 % interval of a share of `count` in n, and the one-sided upper bound."""
    both = stats.binomtest(count, n).proportion_ci(LEVEL, method="exact")
    one = stats.binomtest(count, n, alternative="less").proportion_ci(LEVEL, method="exact")
    return float(both.low), float(both.high), float(one.high)


def mean_at_most(sizes: Sequence[float], margin: float, largest: float) -> float:
    """Upper 95 % bound in metres of the mean size, if no clip moves by more than `largest`. `sizes` (n,), n >= 2.

    The clips within the margin add their mean at most (t, 97.5 %), those beyond it `largest` for the highest share that
    the exact interval leaves (97.5 %): both hold at once in 95 % of studies, however seldom clips move.
    """
    sizes = np.asarray(sizes, np.float64)
    near = np.where(sizes > margin, 0.0, sizes)
    half = stats.t.ppf((1 + LEVEL) / 2, len(sizes) - 1) * near.std(ddof=1) / np.sqrt(len(sizes))
    _, high, _ = exact_bounds(int(np.sum(sizes > margin)), len(sizes))
    return float(near.mean() + half + high * largest)


def equivalence(
    shifts: Mapping[str, Sequence[float]], sizes: Sequence[float], margin: float, largest: float
) -> dict[str, Any] | None:
    """Whether the mean is shown to lie within `margin` metres: of the signed shifts and of the unsigned displacement.

    None below 40 clips. `shifts`: signed differences over clips by name, each tested by two one-sided t tests; `sizes`
    as for `mean_at_most`. Shown where every p is at most 0.05 and the bound is within the margin.
    """
    if min(len(sizes), *(len(given) for given in shifts.values())) < FEWEST_FOR_MEAN:
        return None
    p = {name: equivalence_p(given, margin) for name, given in shifts.items()}
    at_most = mean_at_most(sizes, margin, largest)
    shown = at_most <= margin and all(value <= 1 - LEVEL for value in p.values())
    return {
        "margin_m": margin,
        "p": p,
        "displacement_at_most_m": at_most,
        "if_no_clip_beyond_m": largest,
        "shown": shown,
    }


def interval_holds(found: Mapping[str, Any]) -> bool:
    """Whether 95 % intervals of means over these clips (`moved`) cover as promised where clips answer seldom.

    Where none moved, the interval knows nothing of the size of rarer moves; where all of a few did, nothing of clips
    that stay. Elsewhere it covered the mean in 89 to 100 % of simulated studies (benchmarks/EFFECTS.md).
    """
    alike = found["moved"] == found["clips"] and found["clips"] < FEWEST_ALIKE
    return found["moved"] > 0 and not alike
