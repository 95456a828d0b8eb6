"""The unicycle and the speed estimate, against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.drivers.alpamayo.action_space import initial_speed, unicycle, yaw_rotation

DT = 0.1


def circle(speed: float, curvature: float, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Exact poses (T, 3), (T, 3, 3) of a circular drive through the origin, heading x at time 0."""
    yaw, arc = speed * curvature * times, speed * times
    half = np.sinc(yaw / 2 / np.pi)  # chord over arc
    x, y = arc * half * np.cos(yaw / 2), arc * half * np.sin(yaw / 2)
    return np.stack([x, y, 0 * x], axis=1), yaw_rotation(yaw)


@given(st.floats(-5, 35), st.floats(-0.05, 0.05))
def test_a_history_at_constant_speed_gives_that_speed(speed: float, curvature: float) -> None:
    xyz, rot = circle(speed, curvature, np.arange(-15, 1) * DT)
    # The ridge pulls by about 1e-4 of the speed; a chord is shorter than its arc.
    assert initial_speed(xyz, rot, DT) == pytest.approx(speed, abs=0.01 + 3e-3 * abs(speed))


@given(st.floats(0, 30), st.floats(-3, 3))
def test_braking_in_a_straight_line(speed: float, accel: float) -> None:
    xyz, rot = unicycle(np.full(64, accel), np.zeros(64), np.array(speed), np.array(0.3), DT)
    t = np.arange(1, 65) * DT
    np.testing.assert_allclose(xyz[:, 0], speed * t + accel * t**2 / 2, atol=1e-9)
    np.testing.assert_allclose(xyz[:, 1:], [[0, 0.3]] * 64)
    np.testing.assert_allclose(rot, np.broadcast_to(np.eye(3), (64, 3, 3)))


@given(st.floats(1, 15), st.floats(-0.03, 0.03))
def test_constant_curvature_is_a_circle(speed: float, curvature: float) -> None:
    xyz, rot = unicycle(np.zeros(64), np.full(64, curvature), np.array(speed), np.array(0.0), DT)
    exact, exact_rot = circle(speed, curvature, np.arange(1, 65) * DT)
    np.testing.assert_allclose(xyz, exact, atol=2e-2)  # the trapezoid rule on 0.1 s steps
    np.testing.assert_allclose(rot, exact_rot, atol=1e-9)


def test_rows_are_integrated_apart() -> None:
    accel, curvature = np.zeros((2, 3, 64)), np.zeros((2, 3, 64))
    speed = np.arange(6.0).reshape(2, 3)
    xyz, rot = unicycle(accel, curvature, speed, np.zeros((2, 3)), DT)
    assert (xyz.shape, rot.shape) == ((2, 3, 64, 3), (2, 3, 64, 3, 3))
    np.testing.assert_allclose(xyz[..., -1, 0], speed * 6.4)
