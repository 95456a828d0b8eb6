"""Carry an edited first frame through a clip by a video editor, and paste the result back at native size.

Reads the clip, the masks of what may change, the edited first frame and its caption. Writes the clean result (the
source's own pixels outside the feathered mask), the editor's raw video, optionally the four-panel video (original |
masked | mask | generated), and a JSON record. Memory does not grow with the clip's length.
"""

import argparse
from typing import TYPE_CHECKING

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.speed import Speed
from relane.config.sections.video import Video
from relane.editors import EDITORS, editor_module

if TYPE_CHECKING:
    from relane.editors import VideoEditor

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.workers).
LOADS = ("editor", "cogvideox", "videopainter", "videopainter_id", "id_lora_scale", "offload", "device", "dtype")
LOADS += tuple(Speed.model_fields)
LESS_MEMORY = "video.background_refresh: 0, video.vae_tiling: true, video.offload: model, then sequential"


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    files = p.add_argument_group("files").add_argument
    files("--clip", required=True, help="the clip, MP4")
    files("--clip-json", required=True, help="its record (video, fps, frames, width, height)")
    files("--inpaint-masks", required=True, help="NPZ, arr_0 (T, H, W) uint8, not 0 = may change; already dilated")
    files("--region-json", default="", help="record of the masks (which region), copied into --sidecar; blank: none")
    files("--first-frame", required=True, help="the edited first frame at the clip's size, PNG")
    files("--first-frame-json", required=True, help="its record; `caption` is the prompt")
    files("--cogvideox", default="", help="CogVideoX image-to-video checkpoint folder")
    files("--videopainter", default="", help="VideoPainter branch folder")
    files("--videopainter-id", default="", help="VideoPainterID LoRA, folder or file; blank: not used")
    files("--output", required=True, help="the clean result at the clip's size, MP4")
    files("--generated", required=True, help="the model's own video at its size, MP4")
    files("--panels", default="", help="original | masked | mask | generated side by side, MP4; blank: not written")
    files("--sidecar", required=True, help="parameters, prompt, windows, seconds and memory, JSON")
    files("--text-cache", default="", help="folder of prompt embeddings, shared between runs; blank: none")
    files("--posterior-cache", default="", help="folder of the VAE's statistics of source windows; blank: none")

    add = p.add_argument
    add("--editor", choices=EDITORS, default=next(iter(EDITORS)), help="which video editor")
    add_options(p, Video)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return p


def load(args: argparse.Namespace) -> "VideoEditor":
    """The editor's models, which serve any clip."""
    return editor_module(args.editor).load(vars(args))


def check(args: argparse.Namespace) -> None:
    """Raise InputError for a value that does not serve."""
    editor_module(args.editor).check(vars(args))


def run(args: argparse.Namespace, editor: "VideoEditor") -> None:
    """Edit one clip. Raises InputError on bad input, before anything is painted."""
    from relane.editors.run import edit_clip

    edit_clip(args, editor, editor_module(args.editor).CHECKPOINTS)


def main(argv: list[str] | None = None) -> None:
    """Load the models and edit one clip."""
    args = parser().parse_args(argv)
    check(args)  # a wrong value is found before gigabytes are loaded
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
