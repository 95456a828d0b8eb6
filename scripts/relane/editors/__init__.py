"""Video editors: what one is given, what it paints, and which there are.

An editor is a module (or package) of its own, named in EDITORS and imported only where it is needed: a change of one
leaves alone what the others made. Importing it loads neither torch nor a network. At its top it has

    CHECKPOINTS    the keys of `checkpoints` in the configuration that name its folders
    check(options) raises InputError for values that do not serve, before anything is loaded
    load(options) -> VideoEditor; the only place that may take minutes

`options` are the flags of scripts/edit_video.py by name, the configuration's `video` among them. What surrounds an
editor is common to all: the part of the frame that it sees, pasting, feathering, caches, records and files
(`relane.editors.run`).
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    import torch

    from relane.io.tensor_cache import TensorFolder
    from relane.io.timer import Timer

# Name in records -> module.
EDITORS = {"videopainter": "relane.editors.videopainter"}

# Frames (F, h, w, 3) uint8 RGB and masks (F, h, w) bool, True = inpaint, of the frames from `start` to `stop`. Starts
# must not go back; at most one window is asked for at a time.
Reader = Callable[[int, int], "tuple[np.ndarray, np.ndarray]"]
# The CPU generator of a draw, by what it is for: rng(start, "noise"). All arms of a clip share its draws.
Rng = Callable[..., "torch.Generator"]


@dataclass(frozen=True)
class Canvas:
    """What an editor paints of a clip.

    size: (height, width) of its pictures in pixels. frames: how many it paints, the clip's or the first ones of it.
    length: frames of one window; starts: the first frame of each. resizes: it wants the pictures that it reads at the
    source's own scale and resizes them itself. parameters: how it is run, all defaults filled in, for the record.
    """

    size: tuple[int, int]
    frames: int
    length: int
    starts: tuple[int, ...]
    resizes: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Caches:
    """Folders that all edits of all runs may share, None where there is none: of prompts and of encoded windows.

    What is read back is exactly what computing it again would give.
    """

    text: "TensorFolder | None" = None
    latents: "TensorFolder | None" = None


class VideoEditor(Protocol):
    """A video editor in memory, on `device`."""

    device: "torch.device"

    def canvas(self, shape: tuple[int, int, int], options: Mapping[str, Any]) -> Canvas:
        """What it would paint of a clip of this shape (frames, height, width).

        Raises InputError for a clip that it cannot paint, and for options that do not serve.
        """
        ...

    def edit(
        self,
        read: Reader,
        shape: tuple[int, int, int],
        first_frame: "np.ndarray",
        prompt: str,
        rng: Rng,
        options: Mapping[str, Any],
        timer: "Timer",
        caches: Caches,
    ) -> "Iterator[np.ndarray]":
        """Paint a clip: pieces (n, *size, 3) float32 RGB in [0, 1], in order, `Canvas.frames` frames in all.

        read: the source, already at `size` (see `Canvas.resizes`). shape: as of `canvas`. first_frame (h, w, 3) uint8
        RGB: frame 0, edited, as `read` gives frames. prompt: what the edited video shows. timer: its phases go into the
        record. Memory must not grow with the clip's length. Raises InputError for numbers that are not finite.
        """
        ...


def editor_module(name: str) -> ModuleType:
    """The module of an editor, by its name in EDITORS."""
    return importlib.import_module(EDITORS[name])
