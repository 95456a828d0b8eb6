"""Seconds by phase of an item's work."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator


class Timer:
    """`with timer("paint"):` adds to `timer.seconds["paint"]`.

    A GPU is waited for at both ends of a phase, so that work counts where it is done; torch is never imported for it.
    """

    def __init__(self, device: object = "cpu") -> None:
        """device: a torch device or its name."""
        self.device = device
        self.seconds: dict[str, float] = {}
        self.started = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def each(self, phase: str, items: Iterable) -> Iterator:
        """The same items; the time that each takes to come counts for the phase."""
        remaining = iter(items)
        while True:
            with self(phase):
                item = next(remaining, _END)
            if item is _END:
                return
            yield item

    @property
    def total(self) -> float:
        """Seconds since the timer was made."""
        return time.perf_counter() - self.started

    def _wait(self) -> None:
        if str(self.device).startswith("cuda"):
            sys.modules["torch"].cuda.synchronize(self.device)


_END = object()
