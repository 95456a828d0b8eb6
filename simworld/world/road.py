"""The road as geometry: a curved reference line with lanes beside it, and coordinates along it.

Road coordinates: s metres along the reference line, d metres to its left. The reference line *is* the lane line
between the ego lane (d < 0) and its left neighbour (d > 0), the line whose look is the subject of every edit.
World frame: x, y metres, flat; the ego car starts near the origin.
"""

from dataclasses import dataclass

import numpy as np

BEHIND, AHEAD = 460.0, 900.0  # metres of road before s = 0 and after it
STEP = 0.5


@dataclass(frozen=True)
class Lanes:
    """Lane width in metres, how many lanes lie left and right of the reference line, and the shoulder's width."""

    width: float
    left: int
    right: int
    shoulder: float

    @property
    def ego(self) -> float:
        """Lateral position d of the ego lane's centre."""
        return -self.width / 2

    @property
    def neighbour(self) -> float:
        """Lateral position d of the centre of the lane to the left."""
        return self.width / 2

    @property
    def edges(self) -> tuple[float, float]:
        """Lateral positions d of the right and the left edge line."""
        return -self.right * self.width, self.left * self.width

    @property
    def asphalt(self) -> tuple[float, float]:
        """Lateral positions d of the right and the left border of the asphalt."""
        right, left = self.edges
        return right - self.shoulder, left + self.shoulder


class Road:
    """A flat road whose curvature is a sum of slow waves; tables every half metre (`s`, `x`, `y`, `heading`)."""

    def __init__(self, rng: np.random.Generator) -> None:
        left, right = int(rng.choice([1, 1, 2])), int(rng.choice([1, 1, 2]))
        if left + right > 3:
            right = 1
        self.lanes = Lanes(float(rng.uniform(3.4, 3.7)), left, right, float(rng.uniform(0.5, 1.1)))
        self.s = np.arange(-BEHIND, AHEAD, STEP)
        self.curvature = np.zeros_like(self.s)
        for length, size in ((520.0, 0.0022), (230.0, 0.0026), (120.0, 0.0016)):
            wave = 2 * np.pi * (self.s / (length * rng.uniform(0.85, 1.15)) + rng.uniform())
            self.curvature += size * rng.uniform(-1, 1) * np.sin(wave)
        start = int(BEHIND / STEP)
        heading = np.concatenate([[0.0], np.cumsum((self.curvature[1:] + self.curvature[:-1]) * STEP / 2)])
        self.heading = heading - heading[start]
        # The heading in the middle of each piece makes the chord exact to the second order.
        middle = (self.heading[1:] + self.heading[:-1]) / 2
        self.x = np.concatenate([[0.0], np.cumsum(np.cos(middle) * STEP)])
        self.y = np.concatenate([[0.0], np.cumsum(np.sin(middle) * STEP)])
        self.x -= self.x[start]
        self.y -= self.y[start]
        columns = (self.x, self.y, np.cos(self.heading), np.sin(self.heading), self.curvature)
        self._nodes = np.stack(columns, 1).astype(np.float32)

    def pose(self, s: np.ndarray, d: np.ndarray | float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World x, y and heading of the road at road coordinates s, d (arrays that broadcast)."""
        heading = np.interp(s, self.s, self.heading)
        x = np.interp(s, self.s, self.x) - d * np.sin(heading)
        return x, np.interp(s, self.s, self.y) + d * np.cos(heading), heading

    def curvature_at(self, s: np.ndarray | float) -> np.ndarray | float:
        """Curvature of the reference line in 1/m, positive to the left."""
        return np.interp(s, self.s, self.curvature)

    def locate(self, x: np.ndarray, y: np.ndarray, guess: np.ndarray, rounds: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """Road coordinates s, d (float32, shape of x) of world points, from a guess of s that is metres off at most.

        Newton's foot-point iteration on the nearest table entry; the last piece is taken as an arc of a circle.
        """
        s = guess.astype(np.float32)
        for _ in range(rounds):
            index = np.clip(np.rint((s + BEHIND) / STEP).astype(np.int32), 0, len(self.s) - 1)
            node = self._nodes[index]
            ex, ey = x - node[..., 0], y - node[..., 1]
            along = ex * node[..., 2] + ey * node[..., 3]
            d = ey * node[..., 2] - ex * node[..., 3]
            along /= np.maximum(1 - node[..., 4] * d, 0.2)
            s = index.astype(np.float32) * STEP - np.float32(BEHIND) + along
        return s, d - node[..., 4] * along**2 / 2

    def guess(self, x0: float, y0: float, heading: float, ahead: np.ndarray, left: np.ndarray) -> np.ndarray:
        """First guess of s for points `ahead`, `left` metres of a car at x0, y0: its road's own line, seen from it."""
        dx, dy = self.x - x0, self.y - y0
        forward = dx * np.cos(heading) + dy * np.sin(heading)
        sideways = dy * np.cos(heading) - dx * np.sin(heading)
        turn = self.heading - heading
        grid = np.arange(-420.0, 421.0, 1.0)
        s_of, side_of = np.interp(grid, forward, self.s), np.interp(grid, forward, sideways)
        sine_of = np.sin(np.interp(grid, forward, turn))
        index = np.clip(np.rint(ahead + 420.0).astype(np.int32), 0, len(grid) - 1)
        table = np.stack([s_of, side_of, sine_of], 1).astype(np.float32)[index]
        rest = ahead - (index - 420).astype(np.float32)
        return table[..., 0] + rest + (left - table[..., 1]) * table[..., 2]
