"""Frames and masks in by window: nothing here holds more than one window of a clip."""

from collections import deque
from collections.abc import Callable, Iterable

import numpy as np

from relane.errors import InputError


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
            pair = next(self._source, None)
            if pair is None:
                count = self._first + len(self._held)
                raise InputError(f"the clip ends after {count} frames, frame {stop} was announced; prepare it again")
            self._held.append(self._prepare(*pair))
            self._let_go(start)
        self._let_go(start)
        frames, masks = zip(*(self._held[index] for index in range(stop - start)), strict=True)
        return np.stack(frames), np.stack(masks)

    def _let_go(self, start: int) -> None:
        while self._held and self._first < start:
            self._held.popleft()
            self._first += 1
