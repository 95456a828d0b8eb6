"""A path beside and along another one, whatever the speed: each point projected onto the other path as a polyline.

Taken at the same time instead, the same curve driven more slowly would seem to leave it sideways.
"""

from dataclasses import dataclass

import numpy as np

SPACING = 0.5  # metres between vertices, at least: a standing car's jitter must not give the polyline a direction
END = 10.0  # metres at the end of the base path whose turn goes on beyond it
SHARPEST = 0.2  # 1/m: but no tighter than a car can
TURN = np.pi / 2  # and no further than this, then straight on
BEYOND = 32  # parts of the continuation
TIE = 1e-4  # among parts equally near, the one as far along as the path has come since the point before


def lateral_longitudinal(edited: np.ndarray, base: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where `edited` is beside and along `base`: paths (K, T, 2+) metres in the rig frame at t0 -> two (K, T) metres.

    Lateral: signed distance from the base path, left positive. Longitudinal: arc length of the base path at its nearest
    point less the base's own arc length at that time, ahead positive. Before its start the base path goes on straight,
    beyond its end with the turn of its last 10 m; one that never gets half a metre away is a line straight ahead.
    Nearest is sought near the arc length of the point before, never on a far part of a path that returns to itself.
    """
    edited, base = (np.asarray(path, np.float64)[..., :2] for path in (edited, base))
    # Along a quarter turn it is a ninth further than straight across.
    line = _polyline(base, 1.2 * np.linalg.norm(edited - base[:, -1:], axis=-1).max(-1) + 1.0)
    # Both at once. `SPACING` leaves points of the base out: with their own distance taken off, equal paths differ by 0.
    twice = _Line(*(np.concatenate([part, part]) for part in (line.start, line.ahead, line.length, line.at)))
    side, along = _project(np.concatenate([edited, base]), twice)
    count = len(base)
    return side[:count] - side[count:], along[:count] - along[count:]


@dataclass(frozen=True)
class _Line:
    """Parts of K polylines: start (K, S, 2), unit direction (K, S, 2), length and arc length at the start (K, S).

    A part may have no length; its direction is then that of the part before. The first and last go on without end.
    """

    start: np.ndarray
    ahead: np.ndarray
    length: np.ndarray
    at: np.ndarray


def _polyline(base: np.ndarray, reach: np.ndarray) -> _Line:
    """The polyline from the car's place at t0 along base (K, T, 2), and for `reach` (K,) metres beyond."""
    vertices = np.zeros((len(base), base.shape[1] + 1, 2))
    for t in range(base.shape[1]):
        far = np.linalg.norm(base[:, t] - vertices[:, t], axis=-1) >= SPACING
        vertices[:, t + 1] = np.where(far[:, None], base[:, t], vertices[:, t])
    vertices = np.concatenate([vertices, _continued(vertices, reach)], 1)
    ahead, length = _parts(vertices)
    return _Line(vertices[:, :-1], ahead, length, np.cumsum(length, -1) - length)


def _continued(vertices: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Vertices (K, BEYOND, 2) that go on from the last of (K, S, 2) for `reach` (K,) metres, turning as before."""
    ahead, length = _parts(vertices)
    angle = np.unwrap(np.arctan2(ahead[..., 1], ahead[..., 0]), axis=-1)
    ends = np.cumsum(length, -1)
    # The last part that has a length, and the turn from the middle of the part `END` before it to its own.
    rows, last = np.arange(len(vertices)), length.shape[1] - 1 - np.argmax(length[:, ::-1] > 0, axis=-1)
    first = np.argmax((ends >= ends[:, -1:] - END) & (length > 0), axis=-1)
    middle = ends - length / 2
    metres = middle[rows, last] - middle[rows, first]
    turn = np.where(metres > END / 2, angle[rows, last] - angle[rows, first], 0.0) / np.maximum(metres, END / 2)
    turn = np.clip(turn, -SHARPEST, SHARPEST)
    part = reach / BEYOND
    along = part[:, None] * (np.arange(BEYOND) + 0.5) + length[rows, last][:, None] / 2
    heading = angle[rows, last][:, None] + np.clip(turn[:, None] * along, -TURN, TURN)
    step = np.stack([np.cos(heading), np.sin(heading)], -1) * part[:, None, None]
    return vertices[:, -1:] + np.cumsum(step, 1)


def _parts(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit directions (K, S, 2) and lengths (K, S) between vertices; a part without length has its neighbour's."""
    step = np.diff(vertices, axis=1)
    length = np.linalg.norm(step, axis=-1)
    index = np.maximum.accumulate(np.where(length > 0, np.arange(length.shape[1]), -1), axis=-1)
    # Ahead of the first that has one, its own; straight ahead where none has.
    index = np.where(index < 0, np.argmax(length > 0, axis=-1)[:, None], index)
    rows = np.arange(len(length))[:, None]
    ahead = step[rows, index] / np.maximum(length[rows, index], 1e-12)[..., None]
    return np.where((length.max(-1) > 0)[:, None, None], ahead, np.array([1.0, 0.0])), length


def _project(path: np.ndarray, line: _Line) -> tuple[np.ndarray, np.ndarray]:
    """Signed distance from the line, left positive, and arc length along it, of path (K, T, 2): two (K, T)."""
    low, high = line.at.copy(), line.at + line.length
    low[:, 0], high[:, -1] = -np.inf, np.inf
    # Of every point the nearest place on every part, (K, T, S), then point by point the part.
    to = path[:, :, None] - line.start[:, None]
    along = np.clip(line.at[:, None] + np.einsum("ktsd,ksd->kts", to, line.ahead), low[:, None], high[:, None])
    off = to - (along - line.at[:, None])[..., None] * line.ahead[:, None]
    distance = (off**2).sum(-1)
    part = _follow(distance, along, np.linalg.norm(np.diff(path, axis=1, prepend=0.0), axis=-1))
    s, off = (
        np.take_along_axis(of, part.reshape(*part.shape, *(1,) * (of.ndim - 2)), 2)[:, :, 0] for of in (along, off)
    )
    # At a vertex the side is that of the mean direction.
    before = np.concatenate([line.ahead[:, :1], line.ahead[:, :-1]], 1) + line.ahead
    after = np.concatenate([before[:, 1:], line.ahead[:, -1:]], 1)
    rows = np.arange(len(path))[:, None]
    ahead = np.where((s <= low[rows, part])[..., None], before[rows, part], line.ahead[rows, part])
    ahead = np.where((s >= high[rows, part])[..., None], after[rows, part], ahead)
    side = ahead[..., 0] * off[..., 1] - ahead[..., 1] * off[..., 0]
    return np.copysign(np.linalg.norm(off, axis=-1), side), s


def _follow(distance: np.ndarray, along: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """The part that each point belongs to, (K, T), from squared distances and places (K, T, S) and steps (K, T) metres.

    The nearest of those that lie within a few steps of the place before, along the line.
    """
    s, part, rows = np.zeros(len(steps)), np.empty(steps.shape, int), np.arange(len(steps))
    for t in range(steps.shape[1]):
        onwards = along[:, t] - s[:, None]
        near = np.abs(onwards) <= (4 * steps[:, t] + 2.0)[:, None]
        cost = distance[:, t] + TIE * (onwards - steps[:, t, None]) ** 2
        part[:, t] = np.where(near, cost, 1e12 + np.abs(onwards)).argmin(-1)
        s = along[rows, t, part[:, t]]
    return part
