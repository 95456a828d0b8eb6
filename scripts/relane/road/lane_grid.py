"""A road picture on a grid of (row, metres to the side), where lane lines are upright stripes, and lines found on it.

On a flat road, X metres to the right of a camera at height h appear u - u0 = X (v - v0) / h pixels right of the
vanishing point (u0, v0), whatever the focal length (two rows of the pinhole equations, z eliminated). So the road
mask's vanishing point and the camera's height give metres for pixels. A wide-angle lens (f-theta) bends lines about its
centre but keeps directions from it, so the ratio above still holds for a camera that looks at the horizon.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from relane.config.sections.region import Region

ROWS = 96  # of the grid, evenly from the far row to the picture's bottom
FAR = 0.1  # the far row's distance below the horizon, over the last row's: nearer to it a line is below one pixel
STEP = 0.05  # metres between the grid's columns
REACH = 8.0  # metres to either side
X = np.arange(-REACH, REACH + STEP / 2, STEP, dtype=np.float32)
NECK = 0.3  # metres between a line's middle and the asphalt that it is compared with
PAINT = 40.0  # grey levels above the asphalt from which on a stripe counts as paint in full
MIN_SUPPORT = 0.16  # of a line's rows, over the window of frames, must be paint; a dash's share of its period is 0.25
MAX_LINES = 8
MIN_GAP = 0.35  # metres between two lines; those of a double line are one detection or two, their bands join


@dataclass(frozen=True)
class Perspective:
    """Vanishing point of the road in pixels: column u0 and row v0 (the horizon)."""

    column: float
    row: float

    def scaled(self, scale: float) -> "Perspective":
        """The same point in the same picture resized by `scale`."""
        return Perspective(self.column * scale, self.row * scale)


def perspective(mask: np.ndarray) -> Perspective | None:
    """The vanishing point by the shape of a road mask (H, W) bool; None when it has too few rows.

    A flat road's width grows linearly below the horizon, so a line through the widths of those rows where both
    edges are in the picture meets zero at the horizon. Where too few such rows are left, or the line says something
    absurd, the horizon is taken to lie just above the mask's first row.
    """
    height, width = mask.shape
    rows = np.flatnonzero(mask.sum(1) >= 2)
    if len(rows) < max(8, height // 20):
        return None
    left = mask.argmax(1)[rows]
    right = width - 1 - mask[:, ::-1].argmax(1)[rows]
    whole = (left > 0) & (right < width - 1)
    top = float(rows[0])
    horizon = top - 0.01 * height
    if whole.sum() >= max(8, height // 10):
        slope, offset = robust_line(rows[whole], (right - left + 1)[whole])
        if slope > 0 and top - 0.15 * height <= -offset / slope <= top:
            horizon = -offset / slope
    # The middle of the first rows is nearest to the vanishing point; farther down the road may be cut by the picture.
    first = slice(0, max(3, len(rows) // 10))
    return Perspective(float(np.median(((left + right) / 2)[first])), horizon)


def robust_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and offset by Theil-Sen: the median over pairs half the data apart."""
    half = len(x) // 2
    slope = float(np.median((y[-half:] - y[:half]) / np.maximum(x[-half:] - x[:half], 1)))
    return slope, float(np.median(y - slope * x))


def steady(found: Sequence[Perspective | None], window: int = 15) -> list[Perspective | None]:
    """Running median over 2 * window + 1 frames; frames without one borrow their neighbours'."""
    steadied = []
    for index in range(len(found)):
        near = [p for p in found[max(0, index - window) : index + window + 1] if p is not None]
        steadied.append(
            Perspective(float(np.median([p.column for p in near])), float(np.median([p.row for p in near])))
            if near
            else None
        )
    return steadied


class Grid:
    """The (row, X) grid of one frame: ROWS image rows, and the columns X in metres from the vanishing point's ray."""

    def __init__(self, view: Perspective, height: int, camera_height: float):
        below = max(height - 1 - view.row, 16.0)
        self.view, self.camera_height = view, camera_height
        self.below = np.linspace(FAR * below, below, ROWS, dtype=np.float32)  # rows below the horizon
        self.columns = view.column + X[None] * self.below[:, None] / camera_height
        self.rows = np.broadcast_to((view.row + self.below)[:, None], self.columns.shape)

    def sample(self, picture: np.ndarray, outside: int = 0) -> np.ndarray:
        """A picture (H, W) or (H, W, C) on the grid: (ROWS, len(X)[, C]) float32; `outside` beyond its borders."""
        return cv2.remap(
            picture.astype(np.float32),
            np.ascontiguousarray(self.columns, np.float32),
            np.ascontiguousarray(self.rows, np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=(outside,) * 4,
        )

    def band(self, lines: Iterable[np.ndarray], width: Region, pixel: float) -> np.ndarray:
        """Grid points within half the corridor's width of any line: (ROWS, len(X)) bool.

        lines: X in metres at every grid row. pixel: the size of a pixel of the clip in pixels of this grid's
        picture. The band is never narrower than three pixels of the clip.
        """
        metres = pixel * self.camera_height / self.below  # per pixel of the clip, (ROWS,)
        wide = width.corridor_width * (1 if width.corridor_unit == "m" else metres)
        half = np.maximum(wide / 2, 1.5 * metres)[:, None]
        band = np.zeros((ROWS, len(X)), bool)
        for line in lines:
            band |= np.abs(X[None] - line[:, None]) <= half
        return band

    def render(self, votes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Votes 0..1 (ROWS, len(X)) drawn into a picture (H, W): bool, where the vote is at least a half.

        Beyond the far row the picture runs on towards the vanishing point.
        """
        rows = np.arange(shape[0], dtype=np.float32)[:, None]
        below = rows - self.view.row
        x = (np.arange(shape[1], dtype=np.float32)[None] - self.view.column) * self.camera_height / np.maximum(below, 1)
        row = np.clip((below - self.below[0]) / (self.below[1] - self.below[0]), 0, ROWS - 1)
        row = np.broadcast_to(row, x.shape).astype(np.float32)
        drawn = cv2.remap(votes.astype(np.float32), (x + REACH) / STEP, row, cv2.INTER_LINEAR, borderValue=0)
        return (drawn >= 0.5) & (below > 0)


def paint(frame: np.ndarray, mask: np.ndarray, grid: Grid) -> np.ndarray:
    """How much each grid point looks like lane paint: (ROWS, len(X)) uint8 0..200, and 255 where there is no road.

    A line is brighter (white) or yellower than the asphalt on both of its sides: with L = (R + G) / 2 plus its excess
    over B, min(L(x) - L(x - s), L(x) - L(x + s)); twice that is the lane filter of Nieto et al., "Road environment
    modeling using robust perspective analysis and recursive Bayesian segmentation", 2011. Edges of shadows and of
    the road are steps, not ridges, and give nothing.
    """
    samples = grid.sample(frame)
    warm = (samples[..., 0] + samples[..., 1]) / 2
    light = warm + np.maximum(warm - samples[..., 2], 0)
    neck = round(NECK / STEP)
    ridge = np.zeros_like(light)
    middle = light[:, neck:-neck]
    ridge[:, neck:-neck] = np.minimum(middle - light[:, : -2 * neck], middle - light[:, 2 * neck :])
    road = grid.sample(mask.astype(np.uint8)) > 0.5
    if not road.any():
        return np.full(ridge.shape, 255, np.uint8)
    # Paint stands out from this asphalt's own grain.
    grain = 3 * float(np.median(np.abs(ridge[road])))
    strength = np.clip((ridge - grain) / PAINT, 0, 1)
    return np.where(road, 200 * strength, 255).astype(np.uint8)


class LineFinder:
    """A Hough transform for lane lines on a grid, X = a + lean z + bow z^2: a flat road of constant curvature.

    z is the distance ahead, 0 at the grid's last row and 1 at its far row. lean: the largest one tried, in metres.
    The search runs on a coarser table, 3 grid rows by 2 grid columns a cell.
    """

    def __init__(self, lean: float = 3.0):
        inverse = 1 / np.linspace(FAR, 1, ROWS)
        z = (inverse - 1) / (inverse[0] - 1)
        leans, bows = np.meshgrid(np.arange(-lean, lean + 0.01, 0.2), np.arange(-2, 2.01, 1.0), indexing="ij")
        self.shapes = leans.ravel()[:, None] * z + bows.ravel()[:, None] * z**2  # metres, (S, ROWS)
        self.rows = np.arange(ROWS // 3)[None, :, None]
        shift = np.rint(self.shapes[:, 1::3] / (2 * STEP)).astype(int)
        cells = np.arange(len(X) // 2)[None, None] + shift[..., None]
        self.inside = (cells >= 0) & (cells < len(X) // 2)
        self.cells = np.clip(cells, 0, len(X) // 2 - 1)

    def _table(self, values: np.ndarray) -> np.ndarray:
        return values[:, : len(X) // 2 * 2].reshape(ROWS // 3, 3, -1, 2).max(3).mean(1)

    def _along(self, table: np.ndarray) -> np.ndarray:
        """Sum of a table along every line: (S, columns)."""
        return np.where(self.inside, table[self.rows, self.cells], 0).sum(1)

    def find(self, evidence: np.ndarray, seen: np.ndarray) -> list[np.ndarray]:
        """Lines in evidence (ROWS, len(X)), mean paint 0..1, where there was road (`seen`, bool).

        Each line is X in metres at every grid row, (ROWS,). The best is taken and its evidence erased, until none
        has MIN_SUPPORT.
        """
        remaining = np.where(seen, evidence, 0).astype(np.float32)
        # A line that shows in fewer than a quarter of all rows is not told from a spot.
        rows_seen = np.maximum(self._along(self._table(seen)), ROWS / 3 / 4)
        lines: list[np.ndarray] = []
        while len(lines) < MAX_LINES:
            score = self._along(self._table(cv2.dilate(remaining, np.ones((1, 3), np.uint8)))) / rows_seen
            shape, cell = np.unravel_index(score.argmax(), score.shape)
            if score[shape, cell] < MIN_SUPPORT:
                break
            line = (X[2 * cell] + STEP / 2 + self.shapes[shape]).astype(np.float32)
            lines.append(line)
            remaining[np.abs(X[None] - line[:, None]) < MIN_GAP] = 0
        return lines


@functools.cache
def finder(lean: float) -> LineFinder:
    """The one LineFinder of a largest lean."""
    return LineFinder(lean)


def gather(maps: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean paint 0..1 of several `paint` maps where there was road, and where there was any: (ROWS, len(X)) each."""
    stack = np.stack(maps)
    seen = stack < 255
    count = seen.sum(0)
    return np.where(seen, stack, 0).sum(0) / (200.0 * np.maximum(count, 1)), count > 0
