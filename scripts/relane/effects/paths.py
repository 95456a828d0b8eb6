"""One clip, one arm against the original: differences of paths that share their noise sample by sample.

Paths are (K, T, 2) or (K, T, 3) metres in the rig frame at t0 (x forward, y left), the first waypoint at t0 + dt;
only x and y count. Sample k of one arm is compared with sample k of the other.
"""

import numpy as np
from scipy.spatial.distance import cdist

from relane.effects.along import lateral_longitudinal

DT = 0.1  # seconds: the driving model's clock
THRESHOLD = 0.5  # metres: from here on an edited path counts as another path


def _with_origin(path: np.ndarray) -> np.ndarray:
    """The path with the car's place at t0 in front, (..., T + 1, 2) float64."""
    path = np.asarray(path, np.float64)[..., :2]
    return np.concatenate([np.zeros_like(path[..., :1, :]), path], -2)


def headings(path: np.ndarray, slowest: float = 0.1) -> np.ndarray:
    """Direction of travel in radians at each waypoint, (..., T): of the step there and the step onwards together.

    Where the car moves slower than `slowest` m/s its direction is noise; there the last good one is kept, straight
    ahead (0) at the start.
    """
    full = _with_origin(path)
    step = full[..., 1:, :] - full[..., :-1, :]
    step[..., :-1, :] = step[..., :-1, :] + step[..., 1:, :]
    moving = np.hypot(step[..., 0], step[..., 1]) > slowest * DT
    # Index of the last waypoint that moved, up to each waypoint; -1 where none did.
    last = np.maximum.accumulate(np.where(moving, np.arange(step.shape[-2]), -1), axis=-1)
    angle = np.arctan2(step[..., 1], step[..., 0])
    return np.where(last >= 0, np.take_along_axis(angle, np.maximum(last, 0), -1), 0.0)


def speeds(path: np.ndarray) -> np.ndarray:
    """Speed in m/s over each step, (..., T)."""
    return np.linalg.norm(np.diff(_with_origin(path), axis=-2), axis=-1) / DT


def curvature_change(edited: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Change of the mean curvature, turn over distance travelled, of paths (K, T, 2+): (K,) in 1/m, left positive.

    Over as many metres as the shorter of the two, so that a slower car is not held against a bend that it has not
    reached. 0 where that is less than a metre, whose direction says nothing.
    """
    arcs, turns = zip(*((np.cumsum(speeds(path), -1) * DT, _turn(path)) for path in (edited, base)), strict=True)
    change = np.zeros(len(arcs[0]))
    for k in range(len(change)):
        metres = min(arc[k, -1] for arc in arcs)
        if metres > 1.0:
            new, old = (
                np.interp(metres, arc[k], turn[k]) / max(metres - arc[k, 0], 1e-9)
                for arc, turn in zip(arcs, turns, strict=True)
            )
            change[k] = new - old
    return change


def _turn(path: np.ndarray) -> np.ndarray:
    angle = np.unwrap(headings(path), axis=-1)
    return angle - angle[..., :1]


def first_beyond(distance: np.ndarray, threshold: float = THRESHOLD) -> float | None:
    """Seconds after t0 at which the distance (T,) first exceeds the threshold; None when it never does."""
    over = np.flatnonzero(np.asarray(distance) > threshold)
    return float((over[0] + 1) * DT) if len(over) else None


def energy_distance(a: np.ndarray, b: np.ndarray, permutations: int, rng: np.random.Generator) -> tuple[float, float]:
    """Energy distance in metres between two clouds of paths (K, T, 2+), and a permutation p value.

    2 E|A-B| - E|A-A'| - E|B-B'| (Szekely and Rizzo 2013), the distance of two paths being the mean over time of that
    of their points. It ignores which sample is paired with which, so shared noise makes the p value conservative.
    """
    a, b = (np.asarray(x, np.float64)[..., :2] for x in (a, b))
    together = np.concatenate([a, b])
    pairwise = np.mean([cdist(together[:, t], together[:, t]) for t in range(together.shape[1])], axis=0)
    labels = np.zeros((permutations + 1, len(together)))
    labels[:, len(a) :] = 1
    labels[1:] = rng.permuted(labels[1:], axis=1)
    first, second = 1 - labels, labels
    between = np.einsum("pi,ij,pj->p", first, pairwise, second) / (len(a) * len(b))
    within_a = np.einsum("pi,ij,pj->p", first, pairwise, first) / len(a) ** 2
    within_b = np.einsum("pi,ij,pj->p", second, pairwise, second) / len(b) ** 2
    values = 2 * between - within_a - within_b
    return float(values[0]), float(np.mean(values >= values[0] - 1e-12))


def compare(edited: np.ndarray, base: np.ndarray) -> dict[str, float | None]:
    """Effects on the path of one clip: edited and base (K, T, 2+) with shared noise. Raises ValueError on shapes.

    displacement_m: distance between paired paths at the same time, mean over samples and time; _end_m at the last
    waypoint. lateral_m, longitudinal_m (and _end_m): the edited path beside and along the base path, whatever its speed
    (`relane.effects.along`), left and ahead positive.
    first_beyond_s: when the mean distance over samples first exceeds 0.5 m; None if never.
    speed_change_mps: change of the travelled arc length over the time, so curvature does not enter;
    speed_end_change_mps of the last step; curvature_change_per_m: of the mean curvature over as many metres of both.
    All edited minus base, mean over samples.
    """
    if np.shape(edited) != np.shape(base) or np.ndim(base) != 3:
        raise ValueError(f"paths of shape {np.shape(edited)} against {np.shape(base)}: need the same (K, T, 2+)")
    lateral, longitudinal = lateral_longitudinal(edited, base)
    distance = apart(edited, base)
    speed = speeds(edited) - speeds(base)
    return {
        "displacement_m": float(distance.mean()),
        "displacement_end_m": float(distance[:, -1].mean()),
        "lateral_m": float(lateral.mean()),
        "lateral_end_m": float(lateral[:, -1].mean()),
        "longitudinal_m": float(longitudinal.mean()),
        "longitudinal_end_m": float(longitudinal[:, -1].mean()),
        "first_beyond_s": first_beyond(distance.mean(0)),
        "speed_change_mps": float(speed.mean()),
        "speed_end_change_mps": float(speed[:, -1].mean()),
        "curvature_change_per_m": float(curvature_change(edited, base).mean()),
    }


def apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance in metres of two paths (..., T, 2+) at the same time, (..., T)."""
    return np.linalg.norm(np.asarray(a, np.float64)[..., :2] - np.asarray(b, np.float64)[..., :2], axis=-1)


def accuracy_change(edited: np.ndarray, base: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Change of ADE, minADE (least over samples) and FDE against the recorded future (T, 2+), edited minus base."""
    truth = np.asarray(truth, np.float64)[..., :2]
    figures = []
    for paths in (edited, base):
        distance = np.linalg.norm(np.asarray(paths, np.float64)[..., :2] - truth, axis=-1)
        figures.append((distance.mean(), distance.mean(1).min(), distance[:, -1].mean()))
    names = ("ade_change_m", "min_ade_change_m", "fde_change_m")
    return {name: float(new - old) for name, new, old in zip(names, *figures, strict=True)}
