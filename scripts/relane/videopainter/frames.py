"""Frames and masks in and out by window: nothing here holds more than one window of a clip."""

import tempfile
import zipfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
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
                data = member.read(height * width * self._dtype.itemsize)
                if len(data) < height * width * self._dtype.itemsize:
                    raise InputError(f"{self.path}: arr_0 ends in frame {index} of {frames}; the file is cut short")
                yield np.frombuffer(data, self._dtype).reshape(height, width) != 0

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
        except (ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: arr_0 is damaged ({error})") from None
        if len(shape) != 3 or fortran or dtype.kind not in "buif":
            raise InputError(f"{self.path}: arr_0 must be (T, H, W) numbers, row by row; found {shape} {dtype}")
        return shape, dtype


class SlidingReader:
    """`read(start, stop)` of frames and masks out of one pass over both; only the last window asked for is held.

    `frames` and `masks` are iterated in step; `prepare` is applied to each pair once.
    """

    def __init__(
        self,
        frames: Iterable[np.ndarray],
        masks: Iterable[np.ndarray],
        prepare: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    ):
        self._source = iter(zip(frames, masks, strict=False))
        self._prepare = prepare
        self._held: deque[tuple[np.ndarray, np.ndarray]] = deque()
        self._first = 0

    def __call__(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Frames (F, h, w, 3) uint8 and masks (F, h, w) bool from `start` to `stop`; starts must not go back."""
        if start < self._first:
            raise ValueError(f"frame {start} was let go; windows must be read in order")
        while self._first + len(self._held) < stop:
            frame, mask = next(self._source)
            self._held.append(self._prepare(frame, mask))
            self._let_go(start)
        self._let_go(start)
        frames, masks = zip(*(self._held[index] for index in range(stop - start)), strict=True)
        return np.stack(frames), np.stack(masks)

    def _let_go(self, start: int) -> None:
        while self._held and self._first < start:
            self._held.popleft()
            self._first += 1


class Spool:
    """Painted frames on disk, uint8, until every output has been written from them; removed when closed."""

    def __init__(self, height: int, width: int):
        self._shape = (height, width, 3)
        self._file = tempfile.TemporaryFile(prefix="relane-edit-")  # noqa: SIM115 - closed by __exit__
        self.frames = 0

    def add(self, piece: np.ndarray) -> None:
        """Append frames (n, height, width, 3), float in [0, 1]."""
        if piece.shape[1:] != self._shape:
            raise ValueError(f"expected frames of {self._shape}, got {piece.shape[1:]}")
        self._file.write(np.rint(piece * 255).astype(np.uint8).tobytes())
        self.frames += len(piece)

    def __iter__(self) -> Iterator[np.ndarray]:
        """All frames from the start, (height, width, 3) uint8."""
        size = int(np.prod(self._shape))
        for index in range(self.frames):
            self._file.seek(index * size)
            yield np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)
        self._file.seek(0, 2)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
