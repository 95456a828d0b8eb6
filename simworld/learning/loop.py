"""The training loop that all tiny models share: warm-up and cosine, averaged weights, a budget, resuming."""

import argparse
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from relane.io.files import atomic_file

WARM_UP = 100  # steps


def add_flags(parser: argparse.ArgumentParser, samples: int) -> None:
    """The flags that every training script has."""
    add = parser.add_argument
    add("--output", required=True, type=Path, help="checkpoint folder to write")
    add("--work", required=True, type=Path, help="folder for the state of training; started again, it goes on there")
    add("--steps", type=int, default=100_000, help="most steps")
    add(
        "--seconds", type=float, default=240.0, help="most seconds of training, over all starts (rendering not counted)"
    )
    add("--samples", type=int, default=samples, help="scenes to render (default: %(default)s)")
    add("--batch-size", type=int, default=0, help="0: the script's own choice")
    add("--workers", type=int, default=0, help="processes that render; 0: one a core")
    add("--seed", type=int, default=0, help="of weights, data and order")
    add("--device", default="auto", help="auto, cpu or cuda")


def device_of(name: str) -> torch.device:
    """auto: CUDA where there is one. Attention runs in its plain form: fused backwards crash at these widths."""
    device = torch.device(name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cuda":
        torch.backends.cuda.enable_flash_sdp(False)
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    return device


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 arithmetic on a GPU, float32 elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


class Averaged:
    """An exponential moving average of a model's parameters."""

    def __init__(self, model: nn.Module, decay: float = 0.998) -> None:
        self.decay, self.model = decay, model
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the present weights; the first steps weigh more, so that the start is forgotten."""
        keep = min(self.decay, (1 + step) / (10 + step))
        own = [value.detach() for _, value in self.model.named_parameters()]
        torch._foreach_lerp_(list(self.values.values()), own, 1 - keep)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average into the model."""
        for name, value in self.model.named_parameters():
            value.copy_(self.values[name])


def train(
    model: nn.Module,
    loss_of: Callable[[int], tuple[torch.Tensor, dict[str, float | torch.Tensor]]],
    args: argparse.Namespace,
    *,
    name: str,
    rate: float,
    weight_decay: float = 0.01,
) -> int:
    """Train in place until the budget is spent, then put the averaged weights in; returns the steps done.

    loss_of: number of the step -> (loss, figures to print). The state is kept in <work>/<name>.pt every half minute:
    started again with a larger budget, training goes on from there.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=weight_decay)
    average, step, spent = Averaged(model), 0, 0.0
    path = args.work / f"{name}.pt"
    if path.is_file():
        state = torch.load(path, map_location=next(model.parameters()).device, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average.values, step, spent = state["average"], state["step"], state["spent"]
        print(f"{name}: goes on at step {step} after {spent:.0f} s", file=sys.stderr, flush=True)
    model.train()
    started, saved, told = time.monotonic() - spent, time.monotonic(), time.monotonic()
    while step < args.steps and (spent := time.monotonic() - started) < args.seconds:
        done = max(step / args.steps, spent / args.seconds)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1, (step + 1) / WARM_UP) * (0.5 * (1 + math.cos(math.pi * done)) + 0.01)
        loss, figures = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update(step)
        step += 1
        if time.monotonic() - told > 10 or step == 1:
            told = time.monotonic()
            text = " ".join(f"{key} {float(value):.4f}" for key, value in figures.items())
            print(f"{name}: step {step} {spent:.0f} s loss {loss.item():.4f} {text}", file=sys.stderr, flush=True)
        if time.monotonic() - saved > 30:
            saved = time.monotonic()
            _save(path, model, optimizer, average, step, spent)
    _save(path, model, optimizer, average, step, spent)
    average.apply()
    model.eval()
    return step


def _save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: Averaged, step: int, spent: float):
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average.values}
        torch.save(state | {"step": step, "spent": spent}, partial)
