"""Path metrics on paths whose answer is known."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.evaluation.path_metrics import corner_distance, distances, fde, min_ade, min_ade_of, path_metrics

TRUTH = np.stack([np.arange(1, 65) * 1.0, np.zeros(64), np.zeros(64)], axis=1)
UPRIGHT = np.broadcast_to(np.eye(3), (64, 3, 3))


def shifted(*sideways: float) -> np.ndarray:
    return np.stack([TRUTH + np.array([0, y, 0]) for y in sideways])


def test_parallel_paths_are_off_by_their_distance_at_every_horizon() -> None:
    figures = path_metrics(shifted(3.0, -1.0), TRUTH)
    assert figures["ade_mean"] == pytest.approx(2.0)
    assert figures["min_ade_1"] == pytest.approx(2.0)
    assert figures["min_ade_6"] is None
    assert figures["min_ade_k"] == figures["fde_min"] == pytest.approx(1.0)
    assert list(figures["by_horizon"]) == ["1", "3", "5", "6.4"]
    assert all(row["min_ade"] == pytest.approx(1.0) for row in figures["by_horizon"].values())


def test_one_sample_stands_for_all_horizons_the_best_over_the_whole_path() -> None:
    late, early = TRUTH.copy(), TRUTH.copy()
    late[:10, 1], early[10:, 1] = 5.0, 5.0  # `early` is perfect for one second, `late` for the rest
    distance = distances(np.stack([early, late]), TRUTH)
    assert min_ade(distance, 10) == pytest.approx(5.0)
    assert fde(distance, 10).tolist() == [0.0, 5.0]


@given(st.lists(st.floats(0, 50), min_size=1, max_size=7), st.integers(1, 8))
def test_min_ade_of_is_the_mean_over_all_choices(values: list[float], k: int) -> None:
    expected = [min(choice) for choice in itertools.combinations(values, k)]
    assert min_ade_of(np.array(values), k) == (pytest.approx(np.mean(expected)) if expected else None)


def test_corners_count_what_the_centre_does_not_see() -> None:
    turned = np.broadcast_to(np.diag([-1.0, -1.0, 1.0]), (1, 64, 3, 3))
    same = corner_distance(TRUTH[None], UPRIGHT[None], TRUTH, UPRIGHT, (4.0, 2.0, 1.5))
    back = corner_distance(TRUTH[None], turned, TRUTH, UPRIGHT, (4.0, 2.0, 1.5))
    assert (same, back) == (pytest.approx(0), pytest.approx(np.hypot(4, 2)))


def test_corner_distance_takes_the_best_sample_for_each_corner_and_waypoint() -> None:
    first, second = TRUTH.copy(), TRUTH.copy()
    first[:32, 1], second[32:, 1] = 9.0, 9.0
    rotations = np.broadcast_to(UPRIGHT, (2, 64, 3, 3))
    assert corner_distance(np.stack([first, second]), rotations, TRUTH, UPRIGHT, (4, 2, 1)) == pytest.approx(0)
