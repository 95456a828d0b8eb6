"""Seconds, peak memory and operations of a piece of work, written as one JSON line a row."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.utils import flop_counter

GIB = 2**30
TERA = 1e12

_count_attention = flop_counter.sdpa_flop_count


def _grouped(query: tuple, key: tuple, value: tuple) -> int:
    """Operations of attention in which several query heads share a key's; torch before 2.12 refuses to count them."""
    heads = query[1]
    return _count_attention(query, (key[0], heads, *key[2:]), (value[0], heads, *value[2:]))


@dataclass(frozen=True)
class Measured:
    """Mean seconds of a call, the most device memory held during it (bytes, weights included), its operations."""

    seconds: float
    peak: int
    operations: int = 0

    def each(self, units: int) -> "Measured":
        """The same for one of `units` equal parts of the call."""
        return Measured(self.seconds / units, self.peak, self.operations // units)


@dataclass
class Bench:
    """One stage's run: where and how large, and the file that its rows go to.

    `tiny` runs the same code with networks of a few layers. `card` is the measured matrix rate in operations a second,
    0 where it is not known.
    """

    stage: str
    tiny: bool
    device: torch.device
    output: Path
    card: float = 0.0

    @property
    def dtype(self) -> torch.dtype:
        """Of weights and activations: bfloat16 at full size."""
        return torch.float32 if self.tiny else torch.bfloat16

    def pick(self, full: Any, tiny: Any) -> Any:
        """The value for this size."""
        return tiny if self.tiny else full

    def wait(self) -> float:
        """The time, once the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def forget_peak(self) -> None:
        """Count peak memory anew."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def peak(self) -> int:
        """Most bytes of device memory since `forget_peak`; 0 on a CPU."""
        return torch.cuda.max_memory_allocated(self.device) if self.device.type == "cuda" else 0

    def time(self, call: Callable[[], Any], repeats: int = 2, count: bool = True) -> Measured:
        """Mean of `repeats` calls after one to warm up; with `count` that one's operations are counted."""
        operations = self.count(call) if count else (call(), 0)[1]
        self.forget_peak()
        start = self.wait()
        for _ in range(repeats):
            call()
        return Measured((self.wait() - start) / repeats, self.peak(), operations)

    def count(self, call: Callable[[], Any]) -> int:
        """Floating-point operations (2 a multiply-add) of the matrix products, convolutions and attention of a call."""
        counter = flop_counter.FlopCounterMode(display=False)
        with patch.object(flop_counter, "sdpa_flop_count", _grouped), counter:
            call()
        return counter.get_total_flops()

    def row(self, what: str, unit: str, measured: Measured, against: Measured | None = None, **more: Any) -> None:
        """Write a row: `what` was measured, per `unit`; `against` is what it is compared with.

        `more` may hold `setting` (which options), `baseline` (what `against` is), `goal` (the ratio aimed at), `note`.
        """
        share = measured.operations / measured.seconds / self.card if self.card and measured.operations else None
        figures = {
            "seconds": measured.seconds,
            "peak_gb": measured.peak / GIB if measured.peak else None,
            "operations": measured.operations / TERA or None,
            "share_of_card": share,
            "ratio": against.seconds / measured.seconds if against else None,
        }
        self._write({"what": what, "unit": unit, **figures, **more})

    def skip(self, what: str, reason: str) -> None:
        """Write a row that says why something was not measured."""
        self._write({"what": what, "skipped": reason})

    def _write(self, row: dict[str, Any]) -> None:
        row = {"stage": self.stage, "size": "tiny" if self.tiny else "full", **row, **surroundings(self.device)}
        with self.output.open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: value for key, value in row.items() if value is not None}) + "\n")

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Go on with the next piece when this one fails, and write down why it did."""
        try:
            yield
        except Exception as error:
            import traceback

            traceback.print_exc()
            self.skip(what, f"{type(error).__name__}: {str(error).strip()[:300]}")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def surroundings(device: torch.device) -> dict[str, str]:
    """The hardware and the code that a row comes from."""
    git = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"device": name, "torch": torch.__version__, "commit": git.stdout.strip() or None}


def card_rate(bench: Bench) -> float:
    """Operations a second of a large matrix product in the stages' dtype: what the card can do at best."""
    size = bench.pick(8192, 512)
    one, other = (torch.randn(size, size, device=bench.device, dtype=bench.dtype) for _ in range(2))
    measured = bench.time(lambda: [one @ other for _ in range(20)], repeats=3, count=False).each(20)
    operations = 2 * size**3
    measured = Measured(measured.seconds, measured.peak, operations)
    bench.card = operations / measured.seconds
    bench.row(f"matrix product {size}x{size}", "product", measured, rate=bench.card)
    return bench.card
