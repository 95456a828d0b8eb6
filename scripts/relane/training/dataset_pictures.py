"""Pictures that show a dataset at a glance: how its attributes are distributed, and some of its rows."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from relane.prompts import lanes
from relane.training.dataset import Row, read_image, read_mask

COLUMNS, SHOWN = 4, 16
MASK_COLOUR = np.array([255, 60, 60])


def attributes(path: Path, rows: Sequence[Row]) -> None:
    """Draw a bar chart of count, color and pattern over the rows, as PNG."""
    seen = [lanes.parse_prompt(row.prompt) for row in rows]
    figure, axes = plt.subplots(1, len(lanes.ALLOWED), figsize=(10, 3.2), sharey=True, layout="constrained")
    for axis, (name, allowed) in zip(axes, lanes.ALLOWED.items(), strict=True):
        heights = [sum(getattr(one, name) == value for one in seen) for value in allowed]
        bars = axis.bar(allowed, heights, color="#4472c4")
        axis.bar_label(bars)
        axis.set_title(name)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("frames")
    figure.suptitle(f"{len(rows)} frames")
    figure.savefig(path, dpi=100)
    plt.close(figure)


def samples(path: Path, rows: Sequence[Row], sources: Sequence[tuple[Path, Path]]) -> None:
    """Draw up to 16 rows, evenly spaced, each with its mask in red and its prompt, as PNG.

    sources: the (image, mask) files of each row.
    """
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(SHOWN, len(rows))).round().astype(int))
    height = -(-len(chosen) // COLUMNS)
    figure, axes = plt.subplots(height, COLUMNS, figsize=(14, 2.6 * height), squeeze=False, layout="constrained")
    for axis in axes.flat:
        axis.axis("off")
    for axis, number in zip(axes.flat, chosen, strict=False):
        image, mask = read_image(sources[number][0]), read_mask(sources[number][1])
        image = np.where(mask[..., None], 0.65 * image + 0.35 * MASK_COLOUR, image).astype(np.uint8)
        axis.imshow(image)
        prompt = rows[number].prompt.removeprefix("road with ").removesuffix(" lane markings")
        axis.set_title(f"{prompt}\n{rows[number].name[-48:]}", fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)
