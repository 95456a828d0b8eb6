"""Several models and few GPUs: each is loaded at its first use, and where memory is short they take turns."""

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from relane.models.device import choose_device

GIB = 2**30


class Slot:
    """A model that is loaded at its first use, and waits in host memory while another one needs its device."""

    def __init__(self, load: Callable[[], Any], device: str, weights: int) -> None:
        """load: makes the model on `device`; weights: its size there in bytes, with room to work."""
        self.load, self.device, self.weights = load, device, weights
        self.model: Any = None
        self.seconds = 0.0

    def use(self, *others: "Slot") -> Any:
        """The model on its device. Where memory is short there, the others on that device are parked first."""
        started = time.perf_counter()
        if self.model is None or self.model.device != self.device:
            for other in others:
                if other.device == self.device and free_bytes(self.device) < self.weights:
                    other.park()
            if self.model is None:
                self.model = self.load()
            else:
                self.model.to(self.device)
        self.seconds += time.perf_counter() - started
        return self.model

    def park(self) -> None:
        """Leave the device for host memory; a model that is spread over devices is dropped instead."""
        if self.model is not None and self.device == "all":
            self.model = None
        elif self.model is not None:
            self.model.to("cpu")
        release_memory()

    def drop(self) -> None:
        """Forget the model."""
        self.model = None
        release_memory()


def second_device(name: str, first: str) -> str:
    """Where a second model goes: `auto` is the second GPU where the first model has the first one, else its device.

    `all`: the model is spread over every GPU.
    """
    if name != "auto":
        return name if name == "all" else str(choose_device(name))
    return "cuda:1" if first == "cuda:0" and torch.cuda.device_count() > 1 else first


def free_bytes(device: str) -> float:
    """Free memory of a GPU in bytes; host memory counts as endless."""
    return torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else float("inf")


def weights_bytes(*folders: str) -> int:
    """Bytes of checkpoints' safetensors, and 4 GiB to work in."""
    files = [file for folder in folders if folder for file in Path(folder).rglob("*.safetensors")]
    return sum(file.stat().st_size for file in files) + 4 * GIB


def release_memory() -> None:
    """Give the GPU memory of models that are gone back to the driver."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
