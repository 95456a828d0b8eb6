"""Painters of first frames: what one is given, what it paints, and which there are.

A painter is a module (or package) of its own, named in PAINTERS and imported only where it is needed: a change of one
leaves alone what the others made. Importing it loads neither torch nor a network. At its top it has

    CHECKPOINTS        the keys of `checkpoints` in the configuration that name its folders
    settings(options)  what its `paint` takes beside picture, mask and prompt; raises InputError for what does not serve
    find(options)      raises InputError where its folders are missing or incomplete; loads nothing
    load(options, device) -> FirstFramePainter; the only place that may take minutes

`options` are the flags of scripts/first_frame.py by name, the configuration's `first_frame` among them. What surrounds
a painter is common to all: the critic's loop, taking turns on a GPU, records and files (`relane.painters.run`).
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

# Name in records -> module.
PAINTERS = {"flux_fill": "relane.painters.flux_fill"}

# The CPU generator of a draw, by what it is for: rng("noise"). Each try of a frame has a family of its own.
Rng = Callable[..., "torch.Generator"]


class FirstFramePainter(Protocol):
    """A painter in memory, on `device`."""

    device: str

    def paint(self, image: "np.ndarray", mask: "np.ndarray", prompt: str, rng: Rng, **settings: Any) -> "np.ndarray":
        """Repaint a picture (H, W, 3) uint8 RGB where mask (H, W) bool is True; returns the same shape.

        Outside the mask the result equals the picture. prompt: what the picture is to show. settings: the module's
        `settings(options)`. Raises InputError where a size does not fit and for numbers that are not finite.
        """
        ...

    def describe(self, mask: "np.ndarray", **settings: Any) -> dict[str, Any]:
        """What the record says of how such a mask is painted; `warning` is said on stderr too, None for none."""
        ...

    def to(self, device: str) -> None:
        """Move the weights, for instance to host memory while another model needs the GPU."""
        ...


def painter_module(name: str) -> ModuleType:
    """The module of a painter, by its name in PAINTERS."""
    return importlib.import_module(PAINTERS[name])
