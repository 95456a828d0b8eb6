"""Paths drawn over the arm's video: on the road by the camera's calibration, and from above in an inset.

A path belongs to the rig frame at t0; every video frame has its own rig, so paths are carried into it by the recorded
ego motion and stay where they lie on the road while the car comes towards t0 and drives on. Colours are RGB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from relane.camera import RigCamera

RED = (255, 40, 40)
GREY = (150, 150, 150)
WHITE = (255, 255, 255)
SAMPLE_COLORS = ((60, 220, 90), (70, 140, 255), (255, 190, 40), (220, 90, 255), (60, 225, 225))
TRUTH_WIDTH, SAMPLE_WIDTH, ORIGINAL_WIDTH = 3, 2, 1
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
    """One frame (H, W, 3) uint8 RGB with paths, inset, legend and head-up line, at `output_size`.

    `camera` is that of the frame as it comes; `pose` the rig's xyz (3,) and rot (3, 3) at the frame's time in the rig
    frame at t0; `shown` the number of waypoints to draw. What lies behind the camera is not drawn.
    """
    height, width = frame.shape[:2]
    size = output_size(width, height)
    picture = frame.copy() if size == (width, height) else cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    camera = camera.resized(*size)
    for points, color, thickness in _strokes(paths, shown):
        pixels, seen = camera.project(into_rig(points, *pose))
        _polyline(picture, pixels, seen, color, thickness)
    _inset(picture, paths, pose, shown)
    _legend(picture, paths)
    _head_up(picture, paths, labels)
    return picture


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

    for points, color, thickness in [(paths.history, GREY, 2), *_strokes(paths, shown)]:
        _polyline(panel, place(points), np.ones(len(points), bool), color, max(1, thickness - 1))
    car = place(pose[0][None])[0]
    if (car >= 0).all() and (car < side).all():
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


def _legend(picture: np.ndarray, paths: Paths) -> None:
    rows: list[tuple[str, Sequence[tuple[int, int, int]], int]] = [
        ("recorded", (RED,), TRUTH_WIDTH),
        (f"this arm, K={len(paths.predictions)}", SAMPLE_COLORS[: len(paths.predictions)], SAMPLE_WIDTH),
    ]
    if paths.original is not None:
        rows.append(("original arm", (WHITE,), ORIGINAL_WIDTH))
    width, line, top = 210, 22, 34
    left = picture.shape[1] - width - 8
    _darken(picture[top : top + line * len(rows) + 8, left : left + width])
    for number, (label, colors, thickness) in enumerate(rows):
        y = top + 18 + number * line
        step = 40 / len(colors)
        for index, color in enumerate(colors):
            start, stop = round(left + 8 + index * step), round(left + 8 + (index + 1) * step)
            cv2.line(picture, (start, y - 5), (stop - 1, y - 5), color, thickness, cv2.LINE_AA)
        _text(picture, label, (left + 58, y), 0.5)


def _head_up(picture: np.ndarray, paths: Paths, labels: Labels) -> None:
    parts = [labels.arm]
    if labels.min_ade is not None:
        parts.append(f"minADE {labels.min_ade:.2f} m")
    if paths.displacement is not None:
        parts.append(f"moved {paths.displacement:.2f} m")
    parts += [labels.clip_id, labels.camera]
    width = picture.shape[1]
    _darken(picture[:26])
    line, scale = "  |  ".join(parts), 0.55
    (length, _), _ = cv2.getTextSize(line, _FONT, scale, 1)
    _text(picture, line, (8, 18), scale * min(1.0, (width - 16) / length))
    for number, note in enumerate(labels.notes):
        _text(picture, note, (8, 44 + 20 * number), 0.5, (255, 220, 60))


def _darken(region: np.ndarray) -> None:
    region[:] = region // 3


def _text(
    picture: np.ndarray, text: str, at: tuple[int, int], scale: float, color: tuple[int, int, int] = WHITE
) -> None:
    cv2.putText(picture, text, at, _FONT, scale, color, 1, cv2.LINE_AA)
