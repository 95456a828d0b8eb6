"""Seconds by phase, with the GPU's queue emptied at the ends of each phase so that work is counted where it is done."""

import contextlib
import time
from collections.abc import Iterator

import torch

from relane import memory


class Stopwatch:
    """`with watch("denoise"):` adds to `watch.seconds["denoise"]`."""

    def __init__(self, device: torch.device | str = "cpu"):
        self.device = torch.device(device)
        self.seconds: dict[str, float] = {}
        memory.reset_gpu_peaks()

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._wait()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start

    def report(self) -> dict:
        """Seconds by phase, and the peaks of GPU memory (of this run, 0 on the CPU) and of the process, in bytes."""
        seconds = {phase: round(value, 3) for phase, value in self.seconds.items()}
        return {"seconds": seconds, **memory.peaks()}

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
