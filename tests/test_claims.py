"""Claims on an arm: an exact share of clips that moved, and a mean called zero only where no rare answer can hide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from relane.effects import claims

MARGIN = 0.1


def shown(lateral: np.ndarray, along: np.ndarray) -> bool:
    """Whether the mean of these shifts is called as good as zero."""
    sizes = np.hypot(lateral, along)
    found = claims.equivalence({"lateral": lateral, "along": along}, sizes, MARGIN, max(claims.LARGEST, sizes.max()))
    return bool(found and found["shown"])


def test_none_of_forty_means_at_most_seven_percent():
    found = claims.moved([0.02] * 40, MARGIN)
    assert (found["moved"], found["clips"], found["share"], found["low"]) == (0, 40, 0.0, 0.0)
    assert found["at_most"] == pytest.approx(1 - 0.05 ** (1 / 40))  # 7.2 %
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / 40))


def test_a_clip_at_the_margin_has_not_moved_beyond_it():
    assert claims.moved([MARGIN, MARGIN + 1e-9], MARGIN)["moved"] == 1


@given(count=st.integers(0, 60), more=st.integers(0, 60))
def test_the_interval_is_that_of_clopper_and_pearson(count, more):
    n = max(count + more, 1)
    count = min(count, n)
    low, high, at_most = claims.exact_bounds(count, n)
    assert low == pytest.approx(stats.beta.ppf(0.025, count, n - count + 1) if count else 0.0)
    assert high == pytest.approx(stats.beta.ppf(0.975, count + 1, n - count) if count < n else 1.0)
    assert at_most == pytest.approx(stats.beta.ppf(0.95, count + 1, n - count) if count < n else 1.0)
    assert low <= count / n <= at_most <= high


def rare(share: float, metres: float):
    """Draws shifts of which a share is that many metres to the left."""
    return lambda n, rng: np.where(rng.random(n) < share, metres, 0.0)


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(rare(0.05, 4.0), id="5 % move 4 m"),
        pytest.param(rare(0.10, 3.0), id="10 % move 3 m"),
        pytest.param(rare(0.026, 4.0), id="2.6 % move 4 m"),
        pytest.param(lambda n, rng: rng.choice((-0.15, 0.15), n), id="half to either side"),
        pytest.param(lambda n, rng: rng.choice((-1, 1), n) * 0.04 * (1 + rng.pareto(1.5, n)), id="heavy tails"),
        pytest.param(lambda n, rng: np.full(n, 0.1), id="all by the margin"),
    ],
)
@pytest.mark.parametrize("n", [5, 8, 20, 40, 200])
def test_a_mean_that_is_not_near_zero_is_not_called_so(draw, n):
    """In each of these worlds the mean displacement is 0.1 m or more; benchmarks/effects_coverage.py runs more."""
    rng = np.random.default_rng(n)
    noise = rng.normal(0, 0.02, (2, 300, n))
    false = [shown(draw(n, rng) + across, along) for across, along in zip(*noise, strict=True)]
    assert np.mean(false) <= 0.05


def test_a_mean_near_zero_is_called_so_where_clips_are_many():
    rng = np.random.default_rng(0)
    assert shown(*rng.normal(0, 0.01, (2, 200)))
    assert not shown(*rng.normal(0, 0.01, (2, 100)))  # 3.6 % of unseen clips that move 4 m would be too much


def test_both_the_signed_shift_and_the_unsigned_displacement_must_be_near_zero():
    rng = np.random.default_rng(0)
    small, lateral = rng.normal(0, 0.005, (2, 400))
    sizes = np.full(400, 0.01)
    assert claims.equivalence({"lateral": lateral}, sizes, MARGIN, 4.0)["shown"]
    assert not claims.equivalence({"lateral": lateral}, sizes + 0.095, MARGIN, 4.0)["shown"]
    assert not claims.equivalence({"lateral": lateral, "along": small + 0.11}, sizes, MARGIN, 4.0)["shown"]


def test_nothing_is_said_of_the_mean_below_forty_clips_with_a_partner():
    zeros = [0.0] * 400
    assert claims.equivalence({"lateral": zeros[:39]}, zeros, MARGIN, 4.0) is None
    assert claims.equivalence({"lateral": zeros}, zeros[:39], MARGIN, 4.0) is None
    assert claims.equivalence({"lateral": zeros}, zeros, MARGIN, 4.0)["shown"]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 300), largest=st.floats(4, 30))
def test_the_bound_of_the_mean_is_above_what_was_seen_and_grows_with_what_may_hide(seed, n, largest):
    sizes = np.abs(np.random.default_rng(seed).normal(0, 0.1, n))
    bound = claims.mean_at_most(sizes, MARGIN, largest)
    assert bound >= sizes.mean()
    assert claims.mean_at_most(sizes, MARGIN, largest + 1) > bound


@pytest.mark.parametrize(
    ("moved", "clips", "holds"),
    [(0, 40, False), (1, 40, True), (40, 40, True), (8, 8, False), (7, 8, True), (0, 5, False)],
)
def test_an_interval_of_a_mean_is_doubted_where_the_clips_show_one_answer_alone(moved, clips, holds):
    assert claims.interval_holds({"moved": moved, "clips": clips}) is holds


@pytest.mark.parametrize("n", [5, 8, 20])
def test_where_it_is_not_doubted_the_interval_covers_rare_answers(n):
    """Over all studies of 5 clips of which 5 % move, it covers the mean in one of four."""
    from relane.effects.statistics import interval

    rng = np.random.default_rng(n)
    covers, stands = [], []
    for _ in range(200):
        shift = rare(0.1, 3.0)(n, rng) + rng.normal(0, 0.02, n)
        low, high = interval(shift, "mean", 200, rng)
        covers.append(low <= 0.3 <= high)
        stands.append(claims.interval_holds(claims.moved(np.abs(shift), MARGIN)))
    covers, stands = np.array(covers), np.array(stands)
    assert covers[stands].mean() >= 0.9
    assert covers[~stands].mean() <= 0.1
