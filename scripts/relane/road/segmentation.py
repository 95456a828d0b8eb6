"""The road of a clip: SAM2 prompted with points on it, and what is kept of its answer. Masks: `relane.io.masks`."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from relane.config.sections.sam2 import POINTS, Point, Sam2
from relane.errors import InputError
from relane.io.masks import grow
from relane.models.device import choose_device
from relane.road.points import on_road

if TYPE_CHECKING:
    import torch
    from sam2.sam2_video_predictor import SAM2VideoPredictor

CLEANING = Sam2()


def fill_holes(mask: np.ndarray, width: int) -> np.ndarray:
    """Fill the gaps of a bool mask (H, W) that are nowhere wider than `width` pixels; leave wider ones untouched.

    A gap is a connected piece of what is not mask. It is filled whole or not at all: plain morphological closing
    would also round off the corners of a vehicle that the mask leaves out.
    """
    if width < 2 or not mask.any():
        return mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    count, pieces = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    left_open = np.bincount(pieces[closed == 0], minlength=count) > 0
    left_open[0] = False  # label 0 is the mask itself
    return ~left_open[pieces]


def keep_road(mask: np.ndarray, points: Iterable[Point], previous: np.ndarray | None = None) -> np.ndarray:
    """The connected pieces of a bool mask (H, W) that are the road.

    On the first frame those that hold one of `points` (relative x, y); afterwards those that overlap the frame
    before, and when none does (the road was lost, and found again) the largest.
    """
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if previous is None:
        height, width = mask.shape
        at = [(min(int(y * height), height - 1), min(int(x * width), width - 1)) for x, y in points]
        wanted = {pieces[row, column] for row, column in at} - {0}
    else:
        wanted = set(np.unique(pieces[previous & mask])) - {0}
        if not wanted and count > 1:
            wanted = {1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())}
    return np.isin(pieces, list(wanted)) if wanted else np.zeros_like(mask)


def clean(masks: Iterable[np.ndarray], points: Sequence[Point], cleaning: Sam2 = CLEANING) -> Iterator[np.ndarray]:
    """SAM2's masks of one clip, bool (H, W) in order, to road masks: fill, keep the road, grow, cut the bonnet."""
    previous = None
    for mask in masks:
        previous = keep_road(fill_holes(mask, cleaning.close_holes), points, previous)
        road = grow(previous, cleaning.dilate)
        if cleaning.bonnet:
            road = road.copy()
            road[math.floor(road.shape[0] * (1 - cleaning.bonnet)) :] = False
        yield road


class RoadSegmenter:
    """SAM2 from a checkpoint folder, prompted with points on the road.

    folder: see `relane.road.sam2_video.load_predictor`. device: auto, cpu, cuda, cuda:N. dtype: float32 or bfloat16
    (autocast). vos_optimized: true compiles the model's parts, auto does so where CUDA allows.
    `backend` says which class runs: SAM2VideoPredictorVOS or SAM2VideoPredictor.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        dtype: str = "float32",
        vos_optimized: str | bool = False,
    ):
        import torch

        from relane.road import sam2_video

        start = time.monotonic()
        if dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype: expected float32 or bfloat16, got {dtype!r}")
        where = choose_device(device)
        optimized = sam2_video.use_vos(vos_optimized, where)
        self._set_up(sam2_video.load_predictor(folder, optimized).to(where), getattr(torch, dtype))
        self.load_seconds = time.monotonic() - start

    @classmethod
    def of(cls, predictor: "SAM2VideoPredictor", dtype: "torch.dtype") -> "RoadSegmenter":
        """A segmenter of a predictor that is in memory already, on its device."""
        self = cls.__new__(cls)
        self._set_up(predictor, dtype)
        self.load_seconds = 0.0
        return self

    def _set_up(self, predictor: "SAM2VideoPredictor", dtype: "torch.dtype") -> None:
        from relane.road import sam2_video

        self.predictor, self.device, self.dtype = predictor, predictor.device, dtype
        self.backend = type(predictor).__name__
        self._sam2 = sam2_video

    def image(
        self,
        frame: np.ndarray,
        points: Sequence[Point] = POINTS,
        negative_points: Sequence[Point] = (),
        cleaning: Sam2 = CLEANING,
    ) -> np.ndarray:
        """The road of one picture: (H, W, 3) uint8 RGB to bool (H, W).

        points, negative_points: relative (x, y) in 0..1 on the road and off it. The same network pass as a clip's
        first frame; sam2's own image predictor is not used, because it only knows models of 1024 pixels.
        """
        state, first = self._prompt(iter([frame]), 1, points, negative_points)
        del state
        return next(clean([(first > 0).cpu().numpy()], points, cleaning))

    def video(
        self,
        frames: Iterable[np.ndarray],
        points: Sequence[Point] = POINTS,
        negative_points: Sequence[Point] = (),
        cleaning: Sam2 | None = CLEANING,
        count: int | None = None,
    ) -> Iterator[np.ndarray]:
        """The road of a clip: yields bool (H, W) for each frame (H, W, 3) uint8 RGB, in order.

        frames is read once, in a thread, a few frames ahead of what has been yielded at most, and memory does not grow
        with their number. An iterator without a length needs `count`. With `cleaning` None the masks are SAM2's own.
        Raises InputError when fewer frames come.
        """
        count = len(frames) if count is None else count
        found = self._masks(frames, count, points, negative_points)
        return found if cleaning is None else clean(found, points, cleaning)

    def _masks(self, frames, count, points, negative_points) -> Iterator[np.ndarray]:
        state, _ = self._prompt(iter(frames), count, points, negative_points)
        for logits in self._sam2.propagate(self.predictor, state, self.dtype):
            yield (logits > 0).cpu().numpy()

    def _prompt(self, frames, count, points, negative_points):
        images = self._sam2.FrameStream(frames, count, self.predictor.image_size)
        state, first = self._ask(images, points, negative_points)
        self.points_used = list(points)
        if [tuple(point) for point in points] == list(POINTS):
            # The default points know nothing of this picture: those that hit a vehicle are left out.
            guess = (first > 0).cpu().numpy()
            self.points_used = on_road(self._sam2.picture(images[0]), guess, POINTS)
            if len(self.points_used) < len(points):
                state, first = self._ask(images, self.points_used, negative_points)
        return state, first

    def _ask(self, images, points, negative_points):
        state = self._sam2.new_state(self.predictor, images)
        where = np.array([*points, *negative_points], np.float32)
        labels = np.array([1] * len(points) + [0] * len(negative_points), np.int32)
        with self._sam2.autocast(self.device, self.dtype):
            return state, self._sam2.prompt(self.predictor, state, where, labels)
