"""A path beside and along another: what speed does is longitudinal, what the line does is lateral."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from relane.effects import paths
from relane.effects.along import lateral_longitudinal
from tests.test_effects import T, arc

CURVATURES = st.floats(-0.02, 0.02).filter(lambda value: abs(value) > 1e-5)


def beside(base: np.ndarray, angle: np.ndarray, left: float) -> np.ndarray:
    """The path moved to its own left, its direction being `angle` at each waypoint."""
    return base + left * np.stack([-np.sin(angle), np.cos(angle), 0 * T], -1)


@settings(max_examples=40, deadline=None)
@given(before=st.floats(3, 20), after=st.floats(3, 20), curvature=CURVATURES)
def test_the_same_curve_at_another_speed_is_not_a_shift_to_the_side(before, after, curvature):
    assume(abs(curvature) * (after - before) * 6.4 < 1.4)  # beyond its end the path turns on by a quarter at most
    lateral, longitudinal = lateral_longitudinal(arc(after, curvature), arc(before, curvature))
    assert np.abs(lateral).max() < 0.05
    assert longitudinal == pytest.approx(np.broadcast_to((after - before) * T, longitudinal.shape), abs=0.05)


def test_slowing_down_on_a_curve_of_a_hundred_metres():
    effect = paths.compare(arc(5, 0.01), arc(10, 0.01))
    assert effect["lateral_m"] == pytest.approx(0, abs=0.02)
    assert effect["lateral_end_m"] == pytest.approx(0, abs=0.02)
    assert effect["longitudinal_end_m"] == pytest.approx(-32.0, abs=0.02)
    assert effect["displacement_end_m"] > 30


@settings(max_examples=40, deadline=None)
@given(speed=st.floats(3, 20), curvature=CURVATURES, left=st.floats(-4, 4))
def test_a_parallel_path_is_as_far_to_the_side_as_it_lies_left_positive(speed, curvature, left):
    base = arc(speed, curvature)
    lateral, longitudinal = lateral_longitudinal(beside(base, curvature * speed * T, left), base)
    assert lateral == pytest.approx(np.full(lateral.shape, left), abs=0.03)
    assert np.abs(longitudinal).max() < 0.2


@settings(max_examples=40, deadline=None)
@given(turn=st.floats(-3, 3), seed=st.integers(0, 1000), curvature=CURVATURES)
def test_the_frame_that_paths_are_told_in_does_not_matter(turn, seed, curvature):
    """Turned about the car's place at t0, where both paths begin; moving that place moves both with it."""
    rng = np.random.default_rng(seed)
    base = arc(rng.uniform(2, 20), curvature)
    edited = arc(rng.uniform(2, 20), curvature + rng.normal(0, 0.005)) + rng.normal(0, 0.2, (3, 64, 3))
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    first, second = lateral_longitudinal(edited, base), lateral_longitudinal(edited @ rotation, base @ rotation)
    assert first[0] == pytest.approx(second[0], abs=1e-6)
    assert first[1] == pytest.approx(second[1], abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), speed=st.floats(0, 15))
def test_equal_paths_differ_by_exactly_nothing_however_they_jitter(seed, speed):
    base = arc(speed, 0.003) + np.random.default_rng(seed).normal(0, 0.3, (3, 64, 3))
    lateral, longitudinal = lateral_longitudinal(base, base)
    assert not lateral.any()
    assert not longitudinal.any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000))
def test_no_path_is_further_to_the_side_than_it_is_away(seed):
    rng = np.random.default_rng(seed)
    base = arc(rng.uniform(3, 15), rng.normal(0, 0.01))
    edited = base + np.cumsum(rng.normal(0, 0.1, (3, 64, 3)), axis=1)
    lateral, _ = lateral_longitudinal(edited, base)
    assert (np.abs(lateral) <= paths.apart(edited, base) + 0.1).all()


def test_a_car_that_brakes_to_a_stop_and_stands_is_behind_and_not_beside():
    moving = arc(10, 0.01)
    stopped = moving.copy()
    stopped[:, 30:] = stopped[:, 29:30] + 0.01 * np.random.default_rng(0).standard_normal((3, 34, 3))
    lateral, longitudinal = lateral_longitudinal(stopped, moving)
    assert np.abs(lateral).max() < 0.05
    assert longitudinal[:, -1] == pytest.approx(-34.0, abs=0.05)
    # And the other way: what goes on where the base stands follows the curve on which the base came.
    lateral, longitudinal = lateral_longitudinal(moving, stopped)
    assert np.abs(lateral).max() < 0.1
    assert longitudinal[:, -1] == pytest.approx(34.0, abs=0.1)


def test_beside_a_car_that_never_moves_left_is_the_rig_frames_left():
    jitter = 0.05 * np.random.default_rng(0).standard_normal((3, 64, 3))
    lateral, longitudinal = lateral_longitudinal(jitter + np.array([3.0, 1.0, 0.0]), jitter)
    assert lateral == pytest.approx(np.ones(lateral.shape))
    assert longitudinal == pytest.approx(3 * np.ones(lateral.shape))


def test_points_that_repeat_do_not_stop_the_path():
    base = arc(10.0)
    held = base.copy()
    held[:, 1::2] = base[:, ::2]  # each waypoint twice
    lateral, longitudinal = lateral_longitudinal(base + np.array([0.0, 0.5, 0.0]), held)
    assert lateral == pytest.approx(np.full(lateral.shape, 0.5))
    assert longitudinal[:, 1::2] == pytest.approx(1.0)


def test_a_path_that_turns_back_beside_itself_is_followed_and_not_crossed():
    """A U-turn whose legs are 8 m apart: 4.5 m to the inner side is nearer to the other leg, but beside this one."""
    legs = np.concatenate([np.stack([np.arange(1, 28), 0 * np.arange(1, 28)], -1)])
    bend = np.stack([27 + 4 * np.sin(np.linspace(0.25, 3.0, 12)), 4 - 4 * np.cos(np.linspace(0.25, 3.0, 12))], -1)
    back = np.stack([27 - np.arange(25), 8 + 0 * np.arange(25)], -1)
    base = np.concatenate([legs, bend, back])[None].astype(float)
    edited = base.copy()
    edited[:, :20, 1] += 4.5
    lateral, longitudinal = lateral_longitudinal(edited, base)
    assert lateral[0, 1:20] == pytest.approx(4.5, abs=0.01)
    assert np.abs(longitudinal[0, 1:20]).max() < 0.01
    assert np.abs(lateral[0, 40:]).max() < 0.01


def test_a_lane_change_by_a_car_that_also_speeds_up_is_told_in_its_two_parts():
    base, faster = arc(8.0), arc(11.0)
    faster[..., 1] += 3.5 * np.clip((faster[..., 0] - 20) / 20, 0, 1)
    lateral, longitudinal = lateral_longitudinal(faster, base)
    assert lateral[:, -1] == pytest.approx(3.5)
    assert longitudinal[:, -1] == pytest.approx(3.0 * 6.4)


def bend(speed: float) -> np.ndarray:
    """Straight for 20 m, then to the left on a circle of 50 m."""
    s = speed * T
    angle = np.maximum(s - 20, 0) / 50
    x, y = np.minimum(s, 20) + 50 * np.sin(angle), 50 * (1 - np.cos(angle))
    return np.repeat(np.stack([x, y, 0 * T], -1)[None], 3, 0)


def test_a_slower_car_that_has_not_reached_the_bend_does_not_steer_less():
    assert paths.compare(bend(5), bend(10))["curvature_change_per_m"] == pytest.approx(0, abs=3e-4)
    assert paths.compare(bend(10), bend(5))["curvature_change_per_m"] == pytest.approx(0, abs=3e-4)
    assert paths.compare(arc(10), bend(10))["curvature_change_per_m"] < -0.01


@settings(max_examples=20, deadline=None)
@given(speed=st.floats(3, 20), curvature=CURVATURES)
def test_the_change_of_speed_knows_no_curvature(speed, curvature):
    effect = paths.compare(arc(speed, curvature), arc(speed))
    assert effect["speed_change_mps"] == pytest.approx(0, abs=0.01)
    slower = paths.compare(arc(speed - 1, curvature), arc(speed, curvature))
    assert slower["speed_change_mps"] == pytest.approx(-1, abs=0.01)
