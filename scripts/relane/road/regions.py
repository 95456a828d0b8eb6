"""What is repainted: the whole road, or a corridor around its lane lines.

The corridor is found in the clip's own perspective, on a grid of (row, metres to the side) on which lane lines are
upright stripes (`relane.road.lane_grid`). What it misses of the paint is then measured without that model
(`relane.road.paint_check`): a corridor beside the paint is widened, and where that does not help either, the whole road
is taken, and the report says so.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np

from relane.config.sections.region import Region
from relane.io.masks import grow
from relane.road.lane_grid import (
    ROWS,
    Grid,
    Perspective,
    X,
    finder,
    gather,
    paint,
    perspective,
    robust_line,
    steady,
)
from relane.road.paint_check import outside_shares, stripes, summary, worst_stretch

DETECTION_WIDTH = 640  # pixels; wider pictures are reduced first, which averages their noise
WINDOW = 5  # frames to either side over which evidence is gathered, so that dashes add up to a line
REACH_IN_TIME = 2 * WINDOW  # frames from which lines may be borrowed: farther away the road has moved on
CALIBRATION_FRAMES = 16
DOUBLE_LINE = 0.8  # metres: two lines of 0.15 to 0.2 with their gap, and a margin for the paint's edge
MISSED = 0.25  # of the paint, over a stretch of frames, that a corridor may miss: far lanes, arrows, kerbs
WIDER = 2.0  # times the width that was asked for, before the whole road is taken
_DEFAULT = Region()


def calibrate(
    pictures: Sequence[tuple[np.ndarray, np.ndarray]], views: Sequence[Perspective], camera_height: float
) -> tuple[float, float]:
    """Correction (columns, rows) in pixels of the masks' vanishing points by the lane lines in some frames.

    A mask shows the vanishing point roughly: its far end may be cut or lean to one side. Lane lines are parallel, so
    with the right point they stand upright on the grid. A point du columns off leans all of them by the same
    du h (1/q_far - 1/q_near) metres, q being rows below the horizon; one dv rows off leans each by -X dv (...).
    """
    du = dv = 0.0
    height = pictures[0][0].shape[0]
    for _ in range(2):
        grids = [Grid(Perspective(v.column + du, v.row + dv), height, camera_height) for v in views]
        maps = [paint(frame, mask, grid) for (frame, mask), grid in zip(pictures, grids, strict=True)]
        lines = finder(8.0).find(*gather(maps))
        if not lines:
            break
        lean = np.array([line[0] - line[-1] for line in lines])
        near = np.array([line[-1] for line in lines])
        scale = float(np.mean([1 / grid.below[0] - 1 / grid.below[-1] for grid in grids]))
        slope = 0.0
        if np.ptp(near) > 2.5:
            slope, _ = robust_line(*(values[np.argsort(near)] for values in (near, lean)))
            limit = 0.03 * height * scale
            slope = float(np.clip(slope, -limit, limit))
        du += float(np.median(lean - slope * near)) / (camera_height * scale)
        dv -= slope / scale
    return du, dv


def corridor_region(
    frames: Iterable[np.ndarray], masks: np.ndarray, settings: Region = _DEFAULT, dilate_size: int = 0
) -> tuple[dict, Iterator[np.ndarray]]:
    """The corridor around the lane lines of a clip: a report, and an iterator of masks (H, W) bool.

    frames: (H, W, 3) uint8 RGB, read once. masks: their road masks, (T, H, W) bool. The corridor is dilated by a
    square of dilate_size pixels and stays inside the road mask, so that what the mask leaves out (vehicles, the
    verge) keeps its pixels. A frame without lines takes those of one at most REACH_IN_TIME frames away, or the whole
    road. The report's `fallback` says what was done instead where that was not good enough:
        centre   no line in the clip: the road's middle
        wider    more than MISSED of the paint lay outside: WIDER times the width
        road     that did not help either, or not even the road's perspective can be told: the whole road
    and `outside_share` how much of the paint the region misses in the end.
    """
    views = steady([perspective(mask) for mask in masks])
    if not any(views):
        return {"fallback": "road"}, iter(masks)
    scale = min(1.0, DETECTION_WIDTH / masks.shape[2])
    views = [view and view.scaled(scale) for view in views]
    grids, maps, found, correction = _evidence(_reduced(frames, masks, scale), views, settings.camera_height)
    lines, report = _lines(maps)
    fallback = None
    if report["frames_with_lines"] < max(1, 0.1 * len(maps)):
        fallback = "centre"
        lines = [[_centre(m)] if m is not None else [] for m in maps]
    report["lines_per_frame"] = round(float(np.mean([len(these or ()) for these in lines])), 3)
    small = [mask if scale == 1 else _shrunk(mask, found[0].shape) for mask in masks]
    # The road's middle says nothing of where paint is: wider, it would hit some by chance.
    widths = [settings] if fallback else [settings, settings.replace(corridor_width=WIDER * settings.corridor_width)]
    for width in widths:
        bands = _bands(grids, lines, width, scale)
        shares = outside_shares(found, _drawn(bands, grids, small, 1.0, round(dilate_size * scale)))
        missed = worst_stretch(shares, WINDOW)
        if missed <= MISSED:
            break
        wide = f"{width.corridor_width:g} {width.corridor_unit}"
        report["reason"] = f"{missed:.0%} of the paint lay outside a corridor of {wide}"
        fallback = "wider"
    width_used: float | None = width.corridor_width
    if missed > MISSED:
        fallback, width_used = "road", None
        shares = outside_shares(found, small)
    report |= {"fallback": fallback, "outside_share": summary(shares), "width_used": width_used}
    known = [grid.view.scaled(1 / scale) for grid in grids if grid]
    bottom = masks.shape[1] - 1 - float(np.median([view.row for view in known]))
    report |= {
        "vanishing_point": [round(float(np.median([getattr(v, key) for v in known])), 1) for key in ("column", "row")],
        "vanishing_point_correction": [round(value / scale, 1) for value in correction],
        "metres_per_pixel_at_the_bottom": round(settings.camera_height / max(bottom, 1), 5),
        "wide_enough_for_a_double_line": settings.corridor_unit == "px" or settings.corridor_width >= DOUBLE_LINE,
    }
    if fallback == "road":
        return report, iter(masks)
    return report, _drawn(bands, grids, masks, scale, dilate_size)


def _reduced(frames, masks, scale) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    height, width = masks.shape[1:]
    size = (round(width * scale), round(height * scale))
    for frame, mask in zip(frames, masks, strict=True):
        if scale < 1:
            frame, mask = cv2.resize(frame, size, interpolation=cv2.INTER_AREA), _shrunk(mask, size[::-1])
        yield frame, mask


def _shrunk(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST) > 0


def _evidence(pictures, views, camera_height):
    """Grid and `paint` map of every frame (None where there is no view), by corrected vanishing points; its stripes."""
    pictures = iter(pictures)
    first = list(itertools.islice(pictures, CALIBRATION_FRAMES))
    seen = [(picture, view) for picture, view in zip(first, views) if view]  # noqa: B905
    correction = calibrate(*zip(*seen, strict=True), camera_height) if seen else (0.0, 0.0)
    grids, maps, found = [], [], []
    for (frame, mask), view in zip(itertools.chain(first, pictures), views, strict=True):
        view = view and Perspective(view.column + correction[0], view.row + correction[1])
        grid = view and Grid(view, frame.shape[0], camera_height)
        grids.append(grid)
        maps.append(grid and paint(frame, mask, grid))
        found.append(stripes(frame, mask))
    return grids, maps, found, correction


def _lines(maps: Sequence[np.ndarray | None]) -> tuple[list[list[np.ndarray] | None], dict[str, int]]:
    """Lines of every frame, None where none is within REACH_IN_TIME, and counts of where they come from."""
    own = []
    for index in range(len(maps)):
        near = [m for m in _around(maps, index) if m is not None]
        own.append(finder(3.0).find(*gather(near)) if near else [])
    found = np.array([index for index, these in enumerate(own) if these], dtype=int)
    lines: list[list[np.ndarray] | None] = []
    for index, these in enumerate(own):
        nearest = found[np.abs(found - index).argmin()] if len(found) else -1
        lines.append(these or (own[nearest] if len(found) and abs(nearest - index) <= REACH_IN_TIME else None))
    borrowed = sum(these is not None and not mine for these, mine in zip(lines, own, strict=True))
    by_road = sum(these is None and m is not None for these, m in zip(lines, maps, strict=True))
    counts = {"frames_with_lines": len(found), "frames_with_borrowed_lines": borrowed, "frames_by_road": by_road}
    return lines, counts


def _bands(grids, lines, width: Region, scale: float) -> list[np.ndarray | None]:
    """The corridor of every frame on its grid; all of the grid where there are no lines, None where no grid."""
    return [
        grid and (np.ones((ROWS, len(X)), bool) if these is None else grid.band(these, width, scale))
        for grid, these in zip(grids, lines, strict=True)
    ]


def _around(items: Sequence, index: int) -> Sequence:
    return items[max(0, index - WINDOW) : index + WINDOW + 1]


def _centre(paint_map: np.ndarray) -> np.ndarray:
    """The road's middle, X in metres at every grid row, as a smooth curve."""
    road = paint_map < 255
    rows = np.flatnonzero(road.any(1))
    if not len(rows):
        return np.zeros(ROWS, np.float32)
    middle = (road[rows] * X).sum(1) / road[rows].sum(1)
    fit = np.polynomial.Polynomial.fit(rows, middle, min(2, len(rows) - 1))
    return fit(np.clip(np.arange(ROWS), rows[0], rows[-1])).astype(np.float32)


def _drawn(bands, grids, masks, scale, dilate_size) -> Iterator[np.ndarray]:
    for index, (grid, mask) in enumerate(zip(grids, masks, strict=True)):
        if grid is None:
            yield np.zeros_like(mask)
            continue
        if bands[index].all():  # no lines near: the road, beyond the grid's reach as well
            yield mask
            continue
        # A vote over the neighbouring frames: a line that is missed, or made up, in a few of them does not flicker.
        votes = np.mean([band for band in _around(bands, index) if band is not None], axis=0)
        full = Grid(grid.view.scaled(1 / scale), mask.shape[0], grid.camera_height)
        yield grow(full.render(votes, mask.shape) & mask, dilate_size) & mask
