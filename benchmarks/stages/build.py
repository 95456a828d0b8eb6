"""Networks with random weights, made where they will run: nothing is read, and nothing passes through the CPU."""

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import init_empty_weights
from torch import nn

# Small checkpoints in the released formats: their tokenizers, templates and schedules serve networks of any size.
RESOURCES = Path(__file__).parents[2] / "resources/tiny"


def on_device(make: Callable[[], nn.Module], device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The network that `make` builds, in eval mode, its weights drawn on `device` in `dtype`.

    Matrices and kernels keep the size of what passes through (standard deviation 1 / sqrt(fan in)), biases are 0,
    other vectors 1. Buffers keep what the class computed; those that a checkpoint holds have its dtype.
    """
    with init_empty_weights(include_buffers=False):
        network = make()
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            module._parameters[name] = nn.Parameter(_draw(name, parameter.shape, device, dtype), requires_grad=False)
        for name, buffer in module.named_buffers(recurse=False):
            keeps = name in module._non_persistent_buffers_set or not buffer.is_floating_point()
            module._buffers[name] = buffer.to(device, buffer.dtype if keeps else dtype)
    return network.eval()


def _draw(name: str, shape: torch.Size, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    if len(shape) > 1:
        fan_in = shape[1:].numel()
        return torch.empty(shape, device=device, dtype=dtype).normal_(0, fan_in**-0.5)
    return torch.full(shape, 0.0 if name.endswith("bias") else 1.0, device=device, dtype=dtype)


def count(network: nn.Module) -> str:
    """Parameters in words, such as 5.6 B."""
    return f"{sum(parameter.numel() for parameter in network.parameters()) / 1e9:.2f} B"
