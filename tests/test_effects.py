"""Effects: signs and frames of paired differences, intervals and tests over clips."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.effects import paths
from relane.effects.statistics import equivalence_p, holm, interval, share_above, sign_flip_p, summarize

T = 0.1 * np.arange(1, 65)
LEFT = np.array([0.0, 1.0, 0.0])  # one metre


def arc(speed: float = 10.0, curvature: float = 0.0, k: int = 3) -> np.ndarray:
    """K equal paths (K, 64, 3) along an arc."""
    angle = curvature * speed * T
    x, y = (T * speed, 0 * T) if curvature == 0 else (np.sin(angle) / curvature, (1 - np.cos(angle)) / curvature)
    return np.repeat(np.stack([x, y, 0 * T], -1)[None], k, 0)


# One clip


@settings(max_examples=30, deadline=None)
@given(
    speed=st.floats(3, 25),
    curvature=st.floats(-0.01, 0.01).filter(lambda value: abs(value) > 1e-5),
    left=st.floats(-4, 4),
)
def test_a_pure_shift_to_the_side_is_lateral_left_positive_and_not_longitudinal(speed, curvature, left):
    base = arc(speed, curvature)
    angle = curvature * speed * T
    edited = base + left * np.stack([-np.sin(angle), np.cos(angle), 0 * T], -1)
    effect = paths.compare(edited, base)
    assert effect["lateral_m"] == pytest.approx(left, abs=0.02)
    assert effect["longitudinal_m"] == pytest.approx(0, abs=0.06)
    assert effect["displacement_m"] == pytest.approx(abs(left), abs=0.02)


def test_driving_faster_is_longitudinal_positive_and_shows_in_speed():
    effect = paths.compare(arc(12.0), arc(10.0))
    assert effect["longitudinal_end_m"] == pytest.approx(2.0 * 6.4)
    assert effect["lateral_m"] == pytest.approx(0)
    assert effect["speed_change_mps"] == pytest.approx(2.0)


def test_turning_left_is_positive_curvature():
    assert paths.compare(arc(10, 0.004), arc(10))["curvature_change_per_m"] == pytest.approx(0.004, rel=0.05)
    assert paths.compare(arc(10, -0.004), arc(10))["curvature_change_per_m"] == pytest.approx(-0.004, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(turn=st.floats(-3, 3), seed=st.integers(0, 100))
def test_effects_do_not_depend_on_where_the_rig_frame_points(turn, seed):
    rng = np.random.default_rng(seed)
    base = arc(8, 0.003)
    edited = base + rng.normal(0, 0.5, (3, 1, 3))
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    a, b = paths.compare(edited, base), paths.compare(edited @ rotation, base @ rotation)
    assert all(a[name] == pytest.approx(b[name], abs=1e-9) for name in a if a[name] is not None)


def test_a_standing_car_keeps_a_direction_instead_of_noise():
    stopped = arc(10.0)
    stopped[:, 30:] = stopped[:, 29:30] + 1e-4 * np.random.default_rng(0).standard_normal((3, 34, 3))
    assert np.abs(paths.headings(stopped)).max() < 0.01
    never = np.zeros((1, 64, 3))
    assert paths.headings(never).tolist() == [[0.0] * 64]
    assert paths.compare(never + LEFT, never)["lateral_m"] == pytest.approx(1.0)


def test_the_first_time_beyond_half_a_metre_is_on_the_models_clock():
    base = arc(10.0)
    drift = base + np.stack([0 * T, 0.25 * T, 0 * T], -1)  # 0.5 m at 2.0 s, more from 2.1 s on
    assert paths.compare(drift, base)["first_beyond_s"] == pytest.approx(2.1)
    assert paths.compare(base, base)["first_beyond_s"] is None


def test_accuracy_changes_compare_each_arm_with_the_recorded_future():
    base, edited = arc(10.0), arc(10.0) + LEFT
    change = paths.accuracy_change(edited, base, base[0])
    assert change == {"ade_change_m": 1.0, "min_ade_change_m": 1.0, "fde_change_m": 1.0}


def test_energy_distance_is_zero_for_equal_clouds_and_small_p_for_apart_ones():
    rng = np.random.default_rng(0)
    cloud = arc(10, k=6) + rng.normal(0, 0.2, (6, 1, 3))
    assert paths.energy_distance(cloud, cloud, 199, rng)[0] == pytest.approx(0, abs=1e-12)
    distance, p = paths.energy_distance(cloud + 3 * LEFT, cloud, 199, rng)
    assert distance > 3
    assert p < 0.05
    assert paths.energy_distance(arc(10, k=6) + rng.normal(0, 0.2, (6, 1, 3)), cloud, 199, rng)[1] > 0.05


# Over clips


def test_below_five_clips_there_are_numbers_but_no_interval_and_no_p():
    few = summarize([0.1, 0.2, 0.3, 0.4], 500, np.random.default_rng(0))
    assert few.mean == pytest.approx(0.25)
    assert (few.p, few.mean_low, few.median_high) == (None, None, None)
    enough = summarize([0.1, 0.2, 0.3, 0.4, 0.5], 500, np.random.default_rng(0))
    assert enough.p == pytest.approx(2 / 32)  # exact: two of the 32 sign patterns are as extreme
    assert enough.mean_low < 0.3 < enough.mean_high


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=9))
def test_holm_keeps_the_order_never_lowers_a_p_and_leaves_gaps_alone(p):
    corrected = holm(p)
    pairs = sorted((a, b) for a, b in zip(p, corrected, strict=True) if a is not None)
    assert all(a <= b <= 1 for a, b in pairs)
    assert [b for _, b in pairs] == sorted(b for _, b in pairs)
    assert [value is None for value in p] == [value is None for value in corrected]


def test_holm_against_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_intervals_come_from_the_seed_and_a_constant_has_a_width_of_zero():
    values = np.random.default_rng(1).normal(size=30)
    a, b = (interval(values, "mean", 500, np.random.default_rng(7)) for _ in range(2))
    assert a == b
    assert interval(np.full(9, 0.3), "mean", 500, np.random.default_rng(0)) == (0.3, 0.3)


def test_values_that_are_equal_but_for_rounding_have_an_interval():
    values = 0.3 + 1e-16 * np.arange(12)
    low, high = interval(values, "mean", 500, np.random.default_rng(0))
    assert (low, high) == (pytest.approx(0.3), pytest.approx(0.3))


def test_sign_flips_find_a_shift_and_not_its_absence():
    rng = np.random.default_rng(3)
    assert sign_flip_p(rng.normal(1, 1, 30), 2000, rng) < 0.01
    assert sign_flip_p(np.array([1.0, -1.0] * 10), 2000, rng) == 1.0
    assert sign_flip_p(np.zeros(8), 2000, rng) == 1.0


def test_the_share_above_the_floor_uses_its_95th_percentile():
    assert share_above([0.5, 2.0, 3.0], np.linspace(0, 1, 101)) == (pytest.approx(2 / 3), pytest.approx(0.95))
    assert share_above([1.0], []) is None


def test_simulated_studies_cover_the_planted_effect_and_stay_silent_without_one():
    """A small version of benchmarks/effects_coverage.py: 150 studies of 30 clips."""
    rng = np.random.default_rng(5)
    covered = alarms = found = 0
    for _ in range(150):
        values = rng.normal(0.3, 0.5, 30)
        low, high = interval(values, "mean", 400, rng)
        covered += low <= 0.3 <= high
        found += sign_flip_p(values, 400, rng) <= 0.05
        alarms += sign_flip_p(rng.normal(0, 0.5, 30), 400, rng) <= 0.05
    assert 0.88 <= covered / 150 <= 0.99
    assert alarms / 150 <= 0.10
    assert found / 150 >= 0.75


def test_an_interval_stays_finite_where_most_clips_show_nothing():
    values = [0.0] * 9 + [1.0]
    low, high = interval(values, "mean", 1000, np.random.default_rng(0))
    assert low < 0.1 < high
    assert high - low < 2


def test_the_interval_of_the_mean_is_wider_with_fewer_clips():
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 0.5, 40)
    widths = [np.ptp(interval(values[:n], "mean", 2000, rng)) / values[:n].std() for n in (5, 10, 40)]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.01, -0.01, 0.0, 0.02, -0.02, 0.01], True),
        ([0.3, 0.31, 0.29, 0.3, 0.32, 0.3], False),  # an effect
        ([3.0, -3.0, 2.9, -2.9, 3.1, -3.1], False),  # too noisy to tell: a large p of the other test would not tell
        ([0.0] * 6, True),
        ([0.2] * 6, False),
    ],
)
def test_equivalence_is_shown_by_small_differences_and_by_nothing_else(values, shown):
    assert (equivalence_p(values * 7, 0.1) <= 0.05) is shown


def test_an_effect_as_large_as_the_margin_is_seldom_called_none():
    rng = np.random.default_rng(8)
    called = [equivalence_p(rng.normal(0.1, 0.05, 40), 0.1) <= 0.05 for _ in range(400)]
    assert np.mean(called) <= 0.08


def test_equivalence_needs_forty_clips():
    assert equivalence_p([0.0] * 39, 0.1) is None
    assert equivalence_p([0.0] * 40, 0.1) == 0.0
