"""The loss curve of a training, drawn from its history: apart, so that another chart is no reason to train again."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from relane.io.files import atomic_file


def smoothed(values: Sequence[float], window: int) -> np.ndarray:
    """The mean of each value and the ones before it, at most `window` in all."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def draw_loss(path: str | Path, history: list[dict], validation: list[dict]) -> None:
    """Draw the training loss (each step and its running mean) and the validation loss over steps, as PNG."""
    steps, losses = [one["step"] for one in history], [one["loss"] for one in history]
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    axis.plot(steps, losses, color="#b4c7e7", linewidth=0.8, label="training, each step")
    window = max(len(losses) // 20, 1)
    axis.plot(steps, smoothed(losses, window), color="#2f5597", label=f"training, mean of {window}")
    if validation:
        steps, losses = [one["step"] for one in validation], [one["loss"] for one in validation]
        axis.plot(steps, losses, "o-", color="#c55a11", label="validation")
    axis.set(xlabel="step", ylabel="flow-matching loss", ylim=(0, None))
    axis.legend()
    with atomic_file(path) as partial:
        figure.savefig(partial, dpi=100)
    plt.close(figure)
