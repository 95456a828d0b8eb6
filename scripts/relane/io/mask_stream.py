"""Masks of a clip out of their NPZ file, one frame at a time."""

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from relane.errors import InputError


class MaskFile:
    """The masks of a clip, read frame by frame from an NPZ with the array `arr_0` (T, H, W), not 0 = inpaint.

    Raises InputError when the file is missing or damaged or holds something else. `shape` is (T, H, W).
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such file")
        with self._open() as member:
            self.shape, self._dtype = self._header(member)

    def __iter__(self) -> Iterator[np.ndarray]:
        """The masks in order, (H, W) bool, True = inpaint."""
        frames, height, width = self.shape
        with self._open() as member:
            self._header(member)
            for index in range(frames):
                data = self._read(member, height * width * self._dtype.itemsize)
                if len(data) < height * width * self._dtype.itemsize:
                    raise InputError(f"{self.path}: arr_0 ends in frame {index} of {frames}; the file is cut short")
                yield np.frombuffer(data, self._dtype).reshape(height, width) != 0

    def _read(self, member: zipfile.ZipExtFile, count: int) -> bytes:
        try:
            return member.read(count)
        except (zlib.error, zipfile.BadZipFile, EOFError) as error:
            raise InputError(f"{self.path}: arr_0 is damaged ({error}); make the masks again") from None

    def _open(self) -> zipfile.ZipExtFile:
        try:
            # The member keeps the archive open for as long as it is read.
            return zipfile.ZipFile(self.path).open("arr_0.npy")
        except zipfile.BadZipFile:
            raise InputError(f"{self.path}: not an NPZ file") from None
        except KeyError:
            raise InputError(f"{self.path}: no array arr_0 in it; masks are kept under that key") from None

    def _header(self, member: zipfile.ZipExtFile) -> tuple[tuple[int, ...], np.dtype]:
        try:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(member)
        except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: arr_0 is damaged ({error})") from None
        if len(shape) != 3 or fortran or dtype.kind not in "buif":
            raise InputError(f"{self.path}: arr_0 must be (T, H, W) numbers, row by row; found {shape} {dtype}")
        return shape, dtype
