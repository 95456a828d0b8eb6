"""Which device a model runs on, by the words of the configuration: `auto`, `cpu`, `cuda` or `cuda:N`."""

from typing import TYPE_CHECKING

from relane.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str) -> "torch.device":
    """The device of that name: `auto` is the first GPU where there is one, else the CPU; `cuda` is the first.

    Raises InputError for another word, and for a GPU that is not visible here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device: {name!r} is none of auto, cpu, cuda, cuda:N") from None
    if device.type != "cuda":
        return device
    device = torch.device("cuda", device.index or 0)
    if device.index >= torch.cuda.device_count():
        raise InputError(f"device: {name!r} asked for, but {torch.cuda.device_count()} CUDA devices are here; use auto")
    return device
