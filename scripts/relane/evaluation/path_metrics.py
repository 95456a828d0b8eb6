"""Paths against the recorded future: ADE, minADE, FDE by horizon, and the distance of the vehicle's corners.

Predictions are (..., K, T, 3) metres with rotations (..., K, T, 3, 3), the recorded future (..., T, 3) and
(..., T, 3, 3), both in the rig frame at t0, the first waypoint at t0 + dt. Distances are in x, y unless said
otherwise. A path is that of the rig's origin, on the ground below the rear axle.
"""

import math
from collections.abc import Sequence

import numpy as np

HORIZONS = (1.0, 3.0, 5.0, 6.4)


def distances(pred: np.ndarray, truth: np.ndarray, dims: int = 2) -> np.ndarray:
    """Distance at each waypoint, (..., K, T), over the first `dims` coordinates."""
    difference = np.asarray(pred, np.float64) - np.asarray(truth, np.float64)[..., None, :, :]
    return np.linalg.norm(difference[..., :dims], axis=-1)


def ade(distance: np.ndarray, steps: int | None = None) -> np.ndarray:
    """Average displacement (..., K) of distances (..., K, T), over the first `steps` waypoints (default: all)."""
    return distance[..., :steps].mean(axis=-1)


def fde(distance: np.ndarray, steps: int | None = None) -> np.ndarray:
    """Displacement (..., K) at the last of the first `steps` waypoints."""
    return distance[..., (steps or distance.shape[-1]) - 1]


def min_ade(distance: np.ndarray, steps: int | None = None) -> np.ndarray:
    """minADE (...): the sample with the least ADE over the *full* horizon, its ADE over the first `steps` waypoints.

    One sample for all horizons, as the original counts it; not a minimum per horizon.
    """
    best = ade(distance).argmin(axis=-1)
    return np.take_along_axis(ade(distance, steps), best[..., None], axis=-1)[..., 0]


def min_ade_of(values: np.ndarray, k: int) -> float | None:
    """Expected minimum over a random choice of `k` of the values (K,): exact, by order statistics; None if k > K.

    The mean over all k-subsets: the i-th smallest of K (from 0) is the minimum of C(K-1-i, k-1) of them. It has less
    variance than the first k samples, and minADE_k of different K become comparable.
    """
    values = np.sort(np.asarray(values, np.float64))
    count = len(values)
    if k > count:
        return None
    weights = [math.comb(count - 1 - i, k - 1) / math.comb(count, k) for i in range(count)]
    return float(np.dot(weights, values))


def corners(xyz: np.ndarray, rot: np.ndarray, box: Sequence[float], ahead: float = 0.0) -> np.ndarray:
    """The 8 corners (..., 8, 3) of a `box` (length, width, height) in metres at poses (..., 3), (..., 3, 3).

    The box is centred on the pose's point, moved `ahead` metres along its own x: 0 in the original's metric; the
    distance from rear axle to box centre for a real vehicle.
    """
    signs = np.array([[x, y, z] for x in (1, -1) for y in (1, -1) for z in (1, -1)], dtype=np.float64)
    local = signs * np.asarray(box, np.float64) / 2 + np.array([ahead, 0.0, 0.0])
    turned = np.einsum("...ij,nj->...ni", np.asarray(rot, np.float64), local)
    return np.asarray(xyz, np.float64)[..., None, :] + turned


def corner_distance(
    pred_xyz: np.ndarray,
    pred_rot: np.ndarray,
    truth_xyz: np.ndarray,
    truth_rot: np.ndarray,
    box: Sequence[float],
    ahead: float = 0.0,
) -> np.ndarray:
    """Corner distance (...) in metres: 3-D distance per corner and waypoint, minimum over K for each, then the mean."""
    pred = corners(pred_xyz, pred_rot, box, ahead)
    truth = corners(truth_xyz, truth_rot, box, ahead)[..., None, :, :, :]
    return np.linalg.norm(pred - truth, axis=-1).min(axis=-3).mean(axis=(-1, -2))


def path_metrics(pred: np.ndarray, truth: np.ndarray, dt: float = 0.1) -> dict[str, object]:
    """Figures of one rollout, metres: pred (K, T, 3) against truth (T, 3).

    `ade_mean` over samples; `min_ade_1`, `min_ade_6` (None below 6 samples), `min_ade_k`; `fde_mean` and `fde_min`
    (of the best final point); `by_horizon` per 1, 3, 5, 6.4 s (those that the path covers) with ade_mean, min_ade (of
    the sample that is best over the full horizon) and fde_mean.
    """
    distance = distances(pred, truth)
    values, last = ade(distance), fde(distance)
    by_horizon = {}
    for horizon in HORIZONS:
        steps = round(horizon / dt)
        if steps <= distance.shape[-1]:
            by_horizon[f"{horizon:g}"] = {
                "ade_mean": float(ade(distance, steps).mean()),
                "min_ade": float(min_ade(distance, steps)),
                "fde_mean": float(fde(distance, steps).mean()),
            }
    return {
        "ade_mean": float(values.mean()),
        "min_ade_1": min_ade_of(values, 1),
        "min_ade_6": min_ade_of(values, 6),
        "min_ade_k": float(values.min()),
        "fde_mean": float(last.mean()),
        "fde_min": float(last.min()),
        "by_horizon": by_horizon,
    }
