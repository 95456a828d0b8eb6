"""Repaint the lane markings of a clip's first frame: a painter paints, Qwen2.5-VL judges and rewrites the caption.

Paints inside the mask only. Tries again with the critic's caption until a try passes or the tries are used up; then
the best try by the critic's own score is taken, and the sidecar says so. Every try is kept in the refine folder.
"""

import argparse
from typing import TYPE_CHECKING

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.first_frame import FirstFrame
from relane.config.sections.speed import Speed
from relane.painters import PAINTERS, painter_module

if TYPE_CHECKING:
    from relane.painters.run import Models

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.workers).
LOADS = ("painter", "flux_fill", "lora", "lora_scale", "qwen", "editor_device", "critic_device", "device", "offload")
LOADS += ("dtype", *Speed.model_fields)
LESS_MEMORY = "a smaller first_frame.paint_size, first_frame.offload: model, then sequential"


def parser() -> argparse.ArgumentParser:
    """The command line; every flag is a config key with dashes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--clip", required=True, help="MP4; its frame 0 is repainted")
    add("--inpaint-masks", required=True, help="NPZ, arr_0 (T, H, W) uint8, not 0 = inpaint, already dilated")
    add("--instruction", required=True, help="sentence or 'lane <count> <color> <pattern>'; 'sham' = as they are")
    add("--video", required=True, help="name of the clip; with instruction, seed and try it decides the noise")
    add("--painter", choices=PAINTERS, default=next(iter(PAINTERS)), help="which painter")
    add("--flux-fill", default="", help="FLUX.1-Fill folder")
    add("--qwen", default="", help="Qwen2.5-VL folder; may be blank when --caption-refine-iters is 0")
    add_options(options, FirstFrame)
    add("--editor-device", default="auto", help="device of FLUX Fill; auto = --device")
    add("--critic-device", default="auto", help="device of Qwen2.5-VL; auto = a second GPU, else the editor's; all")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--output", required=True, help="PNG: the repainted first frame")
    add("--sidecar", required=True, help="JSON: caption, verdict, tries, seconds, memory")
    add("--refine-folder", required=True, help="folder: every try's pictures and verdict, and qwen_eval.json")
    return options


def load(args: argparse.Namespace) -> "Models":
    """The models of a job, not yet loaded; their folders are checked now, before any work is done."""
    from relane.painters.run import Models

    return Models(args)


def check(args: argparse.Namespace) -> None:
    """Raise InputError for settings that no models can carry out."""
    FirstFrame.of(args).check_critic(args.qwen)
    painter_module(args.painter).settings(vars(args))


def run(args: argparse.Namespace, models: "Models") -> None:
    """Repaint one clip's first frame and write picture, sidecar and refine folder."""
    from relane.painters.run import paint_first_frame

    check(args)
    paint_first_frame(args, models)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    check(args)  # before minutes of loading
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
