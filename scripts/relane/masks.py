"""Road masks: SAM2 prompted with points on the road, what is kept of its answer, and mask files.

Masks are bool arrays (H, W), True = road = to be inpainted. In files: PNG 0 keep / 255 inpaint, and npz with one
array `arr_0` (T, H, W) uint8, 0 keep / 1 inpaint.
"""

import contextlib
import math
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from relane.config.sections.sam2 import POINTS, Point, Sam2
from relane.errors import InputError
from relane.files import atomic_file
from relane.road_points import on_road

if TYPE_CHECKING:
    import torch
    from sam2.sam2_video_predictor import SAM2VideoPredictor

CLEANING = Sam2()


def grow(mask: np.ndarray, size: int) -> np.ndarray:
    """Dilate a bool mask (H, W) by a square of `size` pixels, centred, as VideoPainter does (cv2, ones(d, d))."""
    if size < 1:
        return mask
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)


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

    folder: see `relane.sam2_video.load_predictor`. device: auto, cpu, cuda, cuda:N. dtype: float32 or bfloat16
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

        from relane import sam2_video

        start = time.monotonic()
        if dtype not in ("float32", "bfloat16"):
            raise InputError(f"dtype: expected float32 or bfloat16, got {dtype!r}")
        where = sam2_video.torch_device(device)
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
        from relane import sam2_video

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


# Fixed, because zip members carry a time and the same masks should give the same bytes.
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@contextlib.contextmanager
def mask_writer(path: str | Path, shape: tuple[int, int, int]) -> Iterator["_Appender"]:
    """Write masks one at a time: `with mask_writer(path, (T, H, W)) as write: write(mask)`, T times.

    The file is what `np.savez_compressed(path, masks)` would hold (`arr_0`, uint8), appears whole or not at all,
    and keeps no more than one frame in memory. A mask may be bool or an integer label map below 256.
    """
    member = zipfile.ZipInfo("arr_0.npy", _ZIP_EPOCH)
    member.compress_type = zipfile.ZIP_DEFLATED
    with atomic_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        with archive.open(member, "w", force_zip64=True) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            append = _Appender(file, shape)
            yield append
        if append.count != shape[0]:
            raise ValueError(f"{path}: {append.count} masks written, {shape[0]} announced")


class _Appender:
    def __init__(self, file, shape: tuple[int, int, int]):
        self.file, self.shape, self.count = file, shape, 0

    def __call__(self, mask: np.ndarray) -> None:
        if mask.shape != self.shape[1:]:
            raise ValueError(f"mask {self.count}: expected {self.shape[1:]}, got {mask.shape}")
        self.file.write(np.ascontiguousarray(mask, np.uint8).tobytes())
        self.count += 1


def read_masks(path: str | Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Masks from an npz file, key `arr_0`: (T, H, W) bool, True where the label is not 0.

    shape: the (T, H, W) of the clip that they belong to. Raises InputError when the file is missing, damaged, of
    another kind, or of another shape.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            masks = archive["arr_0"]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except KeyError:
        raise InputError(f"{path}: no array arr_0 in it; masks are kept under that key") from None
    except Exception as error:  # zip, zlib, header and end-of-file errors have no common class
        raise InputError(f"{path}: not a readable npz file ({error}); make it again") from None
    if masks.ndim != 3 or masks.dtype.kind not in "biu":
        raise InputError(f"{path}: arr_0 must be (T, H, W) integers, found {masks.shape} {masks.dtype}")
    if shape is not None and masks.shape != tuple(shape):
        raise InputError(
            f"{path}: masks of {_size(masks.shape)}, but the clip has {_size(shape)}; make the masks from this clip"
        )
    return masks != 0


def _size(shape: Sequence[int]) -> str:
    frames, height, width = shape
    return f"{frames} frames of {width}x{height}"


def coverage(mask: np.ndarray) -> float:
    """Fraction of the picture's pixels that are mask."""
    return float(np.count_nonzero(mask) / mask.size)


def overlay(frame: np.ndarray, mask: np.ndarray, colour: Sequence[int] = (0, 200, 90)) -> np.ndarray:
    """The frame (H, W, 3) uint8 RGB with the mask tinted and outlined; H and W cut to even numbers for yuv420p."""
    picture = frame.copy()
    picture[mask] = (0.6 * frame[mask] + 0.4 * np.array(colour)).astype(np.uint8)
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, outline, -1, tuple(colour), max(1, frame.shape[0] // 360))
    height, width = (side // 2 * 2 for side in frame.shape[:2])
    return picture[:height, :width]
