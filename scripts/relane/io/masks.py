"""Mask files, and what is done with masks.

Masks are bool arrays (H, W), True = road = to be inpainted. In files: PNG 0 keep / 255 inpaint, and npz with one
array `arr_0` (T, H, W) uint8, 0 keep / 1 inpaint.
"""

import contextlib
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from relane.errors import InputError
from relane.io.files import atomic_file
from relane.io.npz import load_npz


def grow(mask: np.ndarray, size: int) -> np.ndarray:
    """Dilate a bool mask (H, W) by a square of `size` pixels, centred, as VideoPainter does (cv2, ones(d, d))."""
    if size < 1:
        return mask
    return cv2.dilate(mask.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)


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
    masks = load_npz(path, ("arr_0",))["arr_0"]
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
