"""VideoPainter (video inpainting on CogVideoX) on stock diffusers: the original's network, bit for bit, for any length.

- `networks`: the branch, the transformer that takes its samples, and their attention;
- `options`: every choice of a run with its reason; `original`: what mode exact runs in place of ours;
- `windows`: which frames each window paints and how windows are joined, as pure functions;
- `pipeline`: the loop that encodes, denoises, decodes and joins window by window;
- `loading`: released checkpoints by their own names; `text`: prompt embeddings, computed once a prompt;
- `editor`: all of it as an editor (`relane.editors.VideoEditor`).
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from relane.editors.videopainter.editor import Editor

CHECKPOINTS = ("cogvideox", "videopainter", "videopainter_id")


def check(options: Mapping[str, Any]) -> None:
    """Raise InputError for a value that does not serve."""
    from relane.editors.videopainter.options import options_of

    options_of(options)


def load(options: Mapping[str, Any]) -> "Editor":
    """The checkpoints' models, which serve any clip (see `editor.load_editor`)."""
    from relane.editors.videopainter.editor import load_editor

    return load_editor(options)
