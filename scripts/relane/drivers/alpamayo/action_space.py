"""The unicycle action space: normalised (acceleration, curvature) to a path, and the speed at t0 from the history.

Everything is integrated in float64 on the CPU: the arrays are small, and the result then does not depend on the
device. Frames: the rig at t0, x forward, y left, z up, metres.
"""

import numpy as np

from relane.drivers.alpamayo.config import V_LAMBDA, V_RIDGE


def initial_speed(
    xyz: np.ndarray, rot: np.ndarray, dt: float, v_lambda: float = V_LAMBDA, v_ridge: float = V_RIDGE
) -> np.ndarray:
    """Speed at t0 in m/s, negative in reverse, from history poses (..., T, 3) and (..., T, 3, 3); the last is t0.

    Least squares over the speeds v_i at all poses: the trapezoid rule v_i u_i + v_(i+1) u_(i+1) =
    2/dt (p_(i+1) - p_i) with the headings u = (cos, sin) of yaw, a penalty on third differences (weight
    `v_lambda` / dt^6) and on the speeds themselves (`v_ridge`).
    """
    xyz, rot = np.asarray(xyz, np.float64), np.asarray(rot, np.float64)
    steps = xyz.shape[-2]
    yaw = np.arctan2(rot[..., 1, 0], rot[..., 0, 0])
    heading = np.stack([np.cos(yaw), np.sin(yaw)], axis=-1)  # (..., T, 2)
    system = np.zeros((*xyz.shape[:-2], steps - 1, 2, steps))
    index = np.arange(steps - 1)
    # Advanced indices around a slice put the T axis first: swap so that leading axes stay leading.
    system[..., index, :, index] = np.moveaxis(heading[..., :-1, :], -2, 0)
    system[..., index, :, index + 1] = np.moveaxis(heading[..., 1:, :], -2, 0)
    system = system.reshape(*xyz.shape[:-2], 2 * (steps - 1), steps)
    target = (2 / dt * np.diff(xyz[..., :2], axis=-2)).reshape(*xyz.shape[:-2], 2 * (steps - 1))
    third = np.diff(np.eye(steps), n=3, axis=0)
    normal = system.swapaxes(-1, -2) @ system
    normal = normal + v_lambda / dt**6 * third.T @ third + v_ridge * np.eye(steps)
    right = np.einsum("...ij,...i->...j", system, target)
    return np.linalg.solve(normal, right[..., None])[..., -1, 0]


def unicycle(
    accel: np.ndarray, curvature: np.ndarray, speed: np.ndarray, z: np.ndarray, dt: float
) -> tuple[np.ndarray, np.ndarray]:
    """Integrate accelerations and curvatures (..., T) from `speed` (...) at the origin, heading along x.

    Returns positions (..., T, 3) and rotations (..., T, 3, 3), float64; z stays at `z` (...), the rotation is yaw
    alone. The start is the origin whatever the last history pose is, and nothing is clipped.
    """
    accel, curvature = np.asarray(accel, np.float64), np.asarray(curvature, np.float64)
    start = np.asarray(speed, np.float64)[..., None]
    v = np.concatenate([start, start + np.cumsum(accel * dt, axis=-1)], axis=-1)
    turn = curvature * (v[..., :-1] * dt + accel * dt**2 / 2)
    yaw = np.concatenate([np.zeros_like(start), np.cumsum(turn, axis=-1)], axis=-1)
    vx, vy = v * np.cos(yaw), v * np.sin(yaw)
    x = np.cumsum(dt / 2 * (vx[..., :-1] + vx[..., 1:]), axis=-1)
    y = np.cumsum(dt / 2 * (vy[..., :-1] + vy[..., 1:]), axis=-1)
    xyz = np.stack([x, y, np.broadcast_to(np.asarray(z, np.float64)[..., None], x.shape)], axis=-1)
    return xyz, yaw_rotation(yaw[..., 1:])


def yaw_rotation(yaw: np.ndarray) -> np.ndarray:
    """Rotation matrices (..., 3, 3) about z from angles (...) in radians."""
    cos, sin, zero = np.cos(yaw), np.sin(yaw), np.zeros_like(yaw)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1]
    return np.stack(rows, axis=-1).reshape(*np.shape(yaw), 3, 3)
