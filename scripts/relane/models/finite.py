"""What a network says is checked where it enters our code, and its weights where they are read.

NaN cast to 8 bits is black, and the largest of NaN logits is a token like any other: unchecked, one damaged weight
becomes a picture, a path, and in the end a measured effect.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from relane.errors import InputError

# No trained network has a weight beyond this; of random bits read as float32 or bfloat16 two in five are.
LARGEST_WEIGHT = 1e10


def check_finite(
    value: "torch.Tensor | np.ndarray", what: str, checkpoint: str | Path, dtype: object, options: str = ""
) -> None:
    """Raise InputError when any of `value`, of any shape and dtype, is NaN or infinite.

    The message names `what` it is ("painted frames"), the `checkpoint` folder that gave it, the `dtype` that it was
    computed in, and `options` that may help besides ("fp8: false, compile: false").
    """
    finite = torch.isfinite(value) if isinstance(value, torch.Tensor) else np.isfinite(value)
    if bool(finite.all()):
        return
    count, dtype = int(np.prod(finite.shape)), str(dtype).removeprefix("torch.")
    wrong = count - int(finite.sum())
    ways = [option for option in ("" if dtype == "float32" else "dtype: float32", options) if option]
    advice = f", or compute otherwise ({', '.join(ways)})" if ways else ""
    raise InputError(
        f"{checkpoint}: {what}: {wrong} of {count} numbers that the network "
        f"gave are NaN or infinite (computed in {dtype}); nothing was written. Fetch the checkpoint again{advice}"
    )


def check_weights(network: torch.nn.Module, checkpoint: str | Path) -> None:
    """Raise InputError that names the first parameter with NaN, infinity or a value beyond LARGEST_WEIGHT.

    One pass over the weights, where they are: far less than reading them took.
    """
    check_tensors({name: tensor.detach() for name, tensor in network.named_parameters()}, checkpoint)


def check_tensors(tensors: dict[str, torch.Tensor], checkpoint: str | Path) -> None:
    """As `check_weights`, for tensors by name, as a weights file has them."""
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = (float(end) for end in tensor.aminmax())  # of NaN both are NaN
        if not (low > -LARGEST_WEIGHT and high < LARGEST_WEIGHT):
            found = "NaN" if low != low else f"{low if -low > high else high:.3g}"
            raise InputError(
                f"{checkpoint}: tensor {name} holds {found}, which no trained network has: the file is damaged; "
                "fetch it again"
            )


def origin(network: Any) -> str:
    """The folder that a network was loaded from, as its library remembers it, or else the network's class."""
    config = network.config
    # transformers keeps it in an attribute, diffusers in an entry.
    name = getattr(config, "name_or_path", None) or getattr(config, "_name_or_path", None)
    return str(name or type(network).__name__)
