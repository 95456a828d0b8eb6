"""Paths drawn over the arm's video: on the road by the camera's calibration, and from above in an inset.

A path belongs to the rig frame at t0; every video frame has its own rig, so paths are carried into it by the recorded
ego motion and stay where they lie on the road while the car comes towards t0 and drives on. Colours are RGB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from relane.data.camera import RigCamera

RED = (255, 40, 40)
GREY = (150, 150, 150)
WHITE = (255, 255, 255)
SAMPLE_COLORS = ((60, 220, 90), (70, 140, 255), (255, 190, 40), (220, 90, 255), (60, 225, 225))
TRUTH_WIDTH, SAMPLE_WIDTH, ORIGINAL_WIDTH, HISTORY_WIDTH = 3, 2, 1, 2
TRUTH_RADIUS, SAMPLE_RADIUS = 5, 4  # pixels, of the circles at the waypoints on the camera's picture
INSET = 250  # pixels, for pictures at least twice as high
MIN_WIDTH = 960  # smaller videos are scaled up before drawing, or no text could be read
_FONT = cv2.FONT_HERSHEY_SIMPLEX


@dataclass(frozen=True)
class Paths:
    """What is drawn, metres in the rig frame at t0: truth (T, 3), predictions (K, T, 3), history (16, 3), all starting
    after or ending at the origin; the original arm's predictions (K', T, 3) where this arm is another one.
    """

    truth: np.ndarray
    predictions: np.ndarray
    history: np.ndarray
    original: np.ndarray | None = None

    @property
    def displacement(self) -> float | None:
        """Mean over samples and time of the distance to the original's sample of the same number, in metres (x, y)."""
        if self.original is None or self.original.shape != self.predictions.shape:
            return None
        return float(np.linalg.norm((self.predictions - self.original)[..., :2], axis=-1).mean())


@dataclass(frozen=True)
class Labels:
    """Texts of the head-up line; `notes` are warnings, one a line."""

    arm: str
    clip_id: str
    camera: str
    min_ade: float | None
    notes: list[str] = field(default_factory=list)


def output_size(width: int, height: int) -> tuple[int, int]:
    """Size (width, height) of the drawn video: the video's own, or scaled up to MIN_WIDTH; both even."""
    scale = max(1.0, MIN_WIDTH / width)
    return round(width * scale / 2) * 2, round(height * scale / 2) * 2


def revealed(count: int, at: int, steps: int) -> Iterator[int]:
    """How many of `steps` waypoints each of `count` frames shows: from 1, evenly, to all at frame `at` and after."""
    for frame in range(count):
        yield max(1, round(steps * min(1.0, (frame + 1) / (at + 1))))


def into_rig(points: np.ndarray, xyz: np.ndarray, rot: np.ndarray) -> np.ndarray:
    """Points (..., 3) of the rig frame at t0 in the rig frame whose pose there is xyz (3,), rot (3, 3)."""
    return (points - xyz) @ rot


def draw_frame(
    frame: np.ndarray,
    camera: RigCamera,
    paths: Paths,
    labels: Labels,
    pose: tuple[np.ndarray, np.ndarray],
    shown: int,
) -> np.ndarray:
    """One frame (H, W, 3) uint8 RGB with paths, their waypoints, inset, legend and head-up line, at `output_size`.

    `camera` is that of the frame as it comes; `pose` the rig's xyz (3,) and rot (3, 3) at the frame's time in the rig
    frame at t0; `shown` the number of waypoints to draw. What lies behind the camera is not drawn.
    """
    picture = _enlarged(frame)
    camera = camera.resized(picture.shape[1], picture.shape[0])
    radius = {TRUTH_WIDTH: TRUTH_RADIUS, SAMPLE_WIDTH: SAMPLE_RADIUS}
    pixels, seen = camera.project(into_rig(paths.history, *pose))
    _polyline(picture, pixels, seen, GREY, HISTORY_WIDTH)
    for points, color, thickness in _strokes(paths, shown):
        pixels, seen = camera.project(into_rig(points, *pose))
        _polyline(picture, pixels, seen, color, thickness)
        _circles(picture, pixels[1:], seen[1:], color, radius.get(thickness, 0))
    _inset(picture, paths, pose, shown)
    below = _head_up(picture, labels, paths.displacement)
    _legend(picture, paths, below)
    return picture


def draw_notes(frame: np.ndarray, labels: Labels) -> np.ndarray:
    """A frame with the head-up line and the notes alone, at `output_size`: an arm that was not driven."""
    picture = _enlarged(frame)
    _head_up(picture, labels, None)
    return picture


def _enlarged(frame: np.ndarray) -> np.ndarray:
    size = output_size(frame.shape[1], frame.shape[0])
    if size == (frame.shape[1], frame.shape[0]):
        return frame.copy()
    return cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)


def _strokes(paths: Paths, shown: int) -> Iterator[tuple[np.ndarray, tuple[int, int, int], int]]:
    """(points, colour, thickness) from the bottom to the top; futures start at the origin."""
    yield _from_origin(paths.truth[:shown]), RED, TRUTH_WIDTH
    for number, sample in enumerate(paths.predictions):
        yield _from_origin(sample[:shown]), SAMPLE_COLORS[number % len(SAMPLE_COLORS)], SAMPLE_WIDTH
    # Thin and on top: where the edit changed nothing, both can still be seen.
    for sample in paths.original if paths.original is not None else ():
        yield _from_origin(sample[:shown]), WHITE, ORIGINAL_WIDTH


def _from_origin(points: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, 3), points.dtype), points])


def _polyline(
    picture: np.ndarray, pixels: np.ndarray, seen: np.ndarray, color: tuple[int, int, int], thickness: int
) -> None:
    """Draw the runs of seen points; a gap where points are unseen."""
    reach = 4 * max(picture.shape)  # far outside the picture a line would only overflow the drawing's integers
    usable = seen & (np.abs(np.where(seen[:, None], pixels, 0)) < reach).all(axis=1)
    for run in np.split(np.arange(len(pixels)), np.flatnonzero(~usable)):
        run = run[usable[run]]
        if len(run) > 1:
            points = np.round(pixels[run] * 16).astype(np.int32)  # 4 fractional bits
            cv2.polylines(picture, [points], False, color, thickness, cv2.LINE_AA, 4)


def _circles(picture: np.ndarray, pixels: np.ndarray, seen: np.ndarray, color: tuple[int, int, int], radius: int):
    """A filled circle at each seen point; the farthest first, so that near ones cover far ones and not the reverse."""
    inside = seen & (np.abs(np.where(seen[:, None], pixels, -1e6)) < 2 * max(picture.shape)).all(axis=1)
    for u, v in np.round(pixels[inside] * 16).astype(int)[::-1].tolist() if radius else ():
        cv2.circle(picture, (u, v), radius * 16, color, -1, cv2.LINE_AA, 4)


def _inset(picture: np.ndarray, paths: Paths, pose: tuple[np.ndarray, np.ndarray], shown: int) -> None:
    """Bird's-eye view at the bottom left, x up: history grey, truth red, predictions; the whole future fits.

    Sideways has its own scale, larger by far: half a metre must show beside seventy metres ahead. Two bars say so.
    """
    side, margin = min(INSET, picture.shape[0] // 2), 16
    panel = picture[-side:, :side]
    panel[:] = panel // 4  # darkened, not hidden
    everything = np.concatenate([paths.truth, paths.history, *paths.predictions])[:, :2]
    back, ahead = min(0.0, everything[:, 0].min()), max(20.0, everything[:, 0].max())
    along, across = (side - 2 * margin) / (ahead - back), (side / 2 - margin) / max(5.0, np.abs(everything[:, 1]).max())

    def place(points: np.ndarray) -> np.ndarray:
        return np.stack([side / 2 - points[:, 1] * across, side - margin - (points[:, 0] - back) * along], axis=1)

    # The white lines first: at this size they would hide what they are compared with.
    strokes = sorted(_strokes(paths, shown), key=lambda stroke: stroke[1] != WHITE)
    for points, color, thickness in [(paths.history, GREY, 2), *strokes]:
        _polyline(panel, place(points), np.ones(len(points), bool), color, max(1, thickness - 1))
    car = place(pose[0][None])[0]
    if (car >= 4).all() and (car < side - 4).all():
        cv2.circle(panel, tuple(np.round(car).astype(int).tolist()), 4, WHITE, -1, cv2.LINE_AA)
    cv2.rectangle(panel, (0, 0), (side - 1, side - 1), GREY, 1)
    _scale_bars(panel, side - margin, along, across)


def _scale_bars(panel: np.ndarray, corner: int, along: float, across: float) -> None:
    ahead, aside = (_round_length(60 / scale) for scale in (along, across))
    cv2.line(panel, (corner, corner), (corner, round(corner - ahead * along)), WHITE, 1, cv2.LINE_AA)
    cv2.line(panel, (corner, corner), (round(corner - aside * across), corner), WHITE, 1, cv2.LINE_AA)
    _text(panel, f"{ahead:g} m", (corner - 36, round(corner - ahead * along) - 4), 0.4)
    _text(panel, f"{aside:g} m", (round(corner - aside * across), corner - 5), 0.4)


def _round_length(length: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above `length`."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(max(step * power for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))


def _legend(picture: np.ndarray, paths: Paths, below: int) -> None:
    """Top right, under the head-up line, which ends at row `below`."""
    rows: list[tuple[str, Sequence[tuple[int, int, int]], int]] = [
        ("recorded", (RED,), TRUTH_WIDTH),
        ("driven so far", (GREY,), HISTORY_WIDTH),
        (f"this arm, K={len(paths.predictions)}", SAMPLE_COLORS[: len(paths.predictions)], SAMPLE_WIDTH),
    ]
    if paths.original is not None:
        rows.append(("original arm", (WHITE,), ORIGINAL_WIDTH))
    unit = _unit(picture)
    line, sample, edge = round(22 * unit), round(40 * unit), round(8 * unit)
    width = sample + 3 * edge + max(_width(label, 0.5 * unit) for label, _, _ in rows)
    left, top = picture.shape[1] - width - edge, below + edge
    _darken(picture[top : top + line * len(rows) + edge, left : left + width])
    for number, (label, colors, thickness) in enumerate(rows):
        y = top + round(18 * unit) + number * line
        step = sample / len(colors)
        for index, color in enumerate(colors):
            start, stop = round(left + edge + index * step), round(left + edge + (index + 1) * step)
            middle = y - round(5 * unit)
            cv2.line(picture, (start, middle), (stop - 1, middle), color, thickness, cv2.LINE_AA)
        _text(picture, label, (left + sample + 2 * edge, y), 0.5 * unit)


def _head_up(picture: np.ndarray, labels: Labels, displacement: float | None) -> int:
    """The line of names and figures, in two rows where one is too long, and the notes; returns the last row's end."""
    figures = [labels.arm]
    if labels.min_ade is not None:
        figures.append(f"minADE {labels.min_ade:.2f} m")
    if displacement is not None:
        figures.append(f"displacement {displacement:.2f} m")
    names = [labels.clip_id, labels.camera]
    unit, width = _unit(picture), picture.shape[1]
    edge, step = round(8 * unit), round(20 * unit)
    room = width - 2 * edge
    lines = ["  |  ".join(figures + names)]
    if _width(lines[0], 0.55 * unit) > room:
        lines = ["  |  ".join(figures), "  |  ".join(names)]
    below = step * len(lines) + round(6 * unit)
    _darken(picture[:below])
    for number, line in enumerate(lines):
        scale = 0.55 * unit * min(1.0, room / _width(line, 0.55 * unit))
        _text(picture, line, (edge, step * (number + 1) - round(2 * unit)), scale)
    # Beside the legend, which is at most a third of the picture.
    notes = [row for note in labels.notes for row in _wrapped(note, room * 2 // 3, 0.5 * unit)]
    if notes:
        longest = max(_width(note, 0.5 * unit) for note in notes)
        _darken(picture[below : below + step * len(notes) + edge, : longest + 2 * edge])
    for number, note in enumerate(notes):
        _text(picture, note, (edge, below + step * (number + 1) - round(2 * unit)), 0.5 * unit, (255, 220, 60))
    return below


def _wrapped(text: str, room: int, scale: float) -> list[str]:
    """The text in rows that are at most `room` pixels wide: broken between words, and inside a word that is longer."""
    rows = [""]
    for word in text.split():
        rows[-1:] = [f"{rows[-1]} {word}".strip()] if _width(f"{rows[-1]} {word}", scale) <= room else [rows[-1], word]
        while _width(rows[-1], scale) > room:
            fits = max(1, int(len(rows[-1]) * room / _width(rows[-1], scale)) - 1)
            rows[-1:] = [rows[-1][:fits], rows[-1][fits:]]
    return [row for row in rows if row]


def _unit(picture: np.ndarray) -> float:
    """By how much larger than on a picture of MIN_WIDTH text has to be, to be as readable on a screen."""
    return max(1.0, picture.shape[1] / MIN_WIDTH)


def _width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, _FONT, scale, 1)[0][0]


def _darken(region: np.ndarray) -> None:
    region[:] = region // 3


def _text(
    picture: np.ndarray, text: str, at: tuple[int, int], scale: float, color: tuple[int, int, int] = WHITE
) -> None:
    cv2.putText(picture, text, at, _FONT, scale, color, max(1, round(scale)), cv2.LINE_AA)
