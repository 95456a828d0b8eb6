"""Over clips: intervals that resample clips, sign-flip tests, Holm's correction. The clip is the unit.

Samples within a clip and frames within a video are not independent, so nothing here ever counts them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST = 5  # clips; below it neither an interval nor a p value is given
FEWEST_FOR_MEAN = 40  # clips; below it nothing is said of a mean being as good as zero
LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """A paired difference over n clips: mean with its interval, median with its own, p value, d_z.

    The interval and p are None below 5 clips; d_z (mean over standard deviation) when all differences are equal.
    """

    n: int
    mean: float
    median: float
    mean_low: float | None
    mean_high: float | None
    median_low: float | None
    median_high: float | None
    p: float | None
    d_z: float | None


def interval(values: np.ndarray, statistic: str, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """A 95 % bootstrap interval of the "mean" (studentised) or the "median" (percentile), resampling values (n,).

    Mean: its standard error times the 95 % quantile of |mean* - mean| / error*, the symmetric bootstrap-t (Hall 1988).
    With few and skewed clips it covers better than BCa, whose bias and skew estimates are then too rough
    (benchmarks/effects_coverage.py prints the coverage). Where most clips show no effect at all, some resamples have
    no spread, and their ratio would grow without limit: error* counts as a third of the error at least.
    Median: the percentile interval at a level raised by as much as a t interval is wider than a normal one
    ("expanded", Hesterberg 2015). n >= 2.
    """
    values = np.asarray(values, np.float64)
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    n = len(values)
    # In batches, so that memory does not grow with draws times clips.
    options = {"n_resamples": draws, "batch": max(1, min(draws, 2_000_000 // n)), "rng": rng, "method": "percentile"}
    if statistic == "median":
        tail = stats.norm.sf(np.sqrt(n / (n - 1)) * stats.t.ppf((1 + LEVEL) / 2, n - 1))
        found = stats.bootstrap((values,), np.median, confidence_level=1 - 2 * tail, **options).confidence_interval
        return float(found.low), float(found.high)
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(n)

    def ratio(sample: np.ndarray, axis: int) -> np.ndarray:
        own = sample.std(axis=axis, ddof=1) / np.sqrt(n)
        return (sample.mean(axis=axis) - mean) / np.maximum(own, error / 3)

    drawn = stats.bootstrap((values,), ratio, vectorized=True, **options).bootstrap_distribution
    half = float(np.quantile(np.abs(drawn), LEVEL) * error)
    return float(mean) - half, float(mean) + half


def sign_flip_p(values: np.ndarray, draws: int, rng: np.random.Generator) -> float:
    """Two-sided p value that the differences (n,) are symmetric around zero: flips signs, compares means.

    A small p says that they are not symmetric, as when most clips move to one side; it is no test of the mean alone.
    Exact (all 2^n flips) where that is at most `draws`, else by `draws` random flips, the observed one counted.
    """
    values = np.asarray(values, np.float64)
    if not values.any():
        return 1.0
    batch = max(1, 2_000_000 // len(values))
    options = {"permutation_type": "samples", "vectorized": True, "n_resamples": draws, "batch": batch, "rng": rng}
    return float(stats.permutation_test((values,), np.mean, **options).pvalue)


def equivalence_p(values: Sequence[float], margin: float) -> float | None:
    """p value of the claim that the mean of the differences (n,) lies within +-margin; None below 40 of them.

    Two one-sided t tests (Schuirmann 1987), the larger p. A large p of the other test shows nothing; a small one of
    this test does, as far as differences are near normal: clips that answer seldom and far can be missing from the few
    that were driven, so it is one condition among those of `relane.effects.claims.equivalence` and no claim by itself.
    """
    values = np.asarray(values, np.float64)
    if len(values) < FEWEST_FOR_MEAN:
        return None
    if np.ptp(values) == 0:  # no spread: no test either, and no need of one
        return 0.0 if abs(values[0]) < margin else 1.0
    above = stats.ttest_1samp(values, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(values, margin, alternative="less").pvalue
    return float(max(above, below))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down correction (1979) over those p values that are given; None stays None."""
    given = sorted((value, index) for index, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, index) in enumerate(given):
        highest = max(highest, min(1.0, value * (len(given) - rank)))
        adjusted[index] = highest
    return adjusted


def summarize(values: Sequence[float], draws: int, rng: np.random.Generator) -> Summary:
    """A `Summary` of the paired differences of n clips (n >= 1)."""
    x = np.asarray(values, np.float64)
    spread = float(x.std(ddof=1)) if len(x) > 1 else 0.0
    d_z = float(x.mean() / spread) if spread > 1e-12 else None
    if len(x) < FEWEST:
        return Summary(len(x), float(x.mean()), float(np.median(x)), None, None, None, None, None, d_z)
    mean, median = (interval(x, name, draws, rng) for name in ("mean", "median"))
    return Summary(len(x), float(x.mean()), float(np.median(x)), *mean, *median, sign_flip_p(x, draws, rng), d_z)


def share_above(values: Sequence[float], floor: Sequence[float]) -> tuple[float, float] | None:
    """Share of values above the 95th percentile of the noise floor's, and that percentile; None without a floor."""
    if not len(values) or not len(floor):
        return None
    limit = float(np.percentile(floor, 95))
    return float(np.mean(np.asarray(values) > limit)), limit
