"""Repaint the lane markings of a clip's first frame: a painter paints, Qwen2.5-VL judges and rewrites the caption.

Paints inside the mask only. Tries again with the critic's caption until a try passes or the tries are used up; then
the best try by the critic's own score is taken, and the sidecar says so. Every try is kept in the refine folder.
"""

import argparse
from typing import TYPE_CHECKING

from relane import cli
from relane.errors import InputError
from relane.painters import PAINTERS, painter_module

if TYPE_CHECKING:
    from relane.painters.run import Models

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.warm).
LOADS = ("painter", "flux_fill", "lora", "lora_scale", "qwen", "editor_device", "critic_device", "device", "offload")
LOADS += ("dtype", "compile", "attention_backend", "fuse_projections", "channels_last", "fp8")
LESS_MEMORY = "a smaller first_frame.paint_size, first_frame.offload: model, then sequential"


def parser() -> argparse.ArgumentParser:
    """The command line; every flag is a config key with dashes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, yes_no = options.add_argument, cli.true_or_false
    add("--clip", required=True, help="MP4; its frame 0 is repainted")
    add("--inpaint-masks", required=True, help="NPZ, arr_0 (T, H, W) uint8, not 0 = inpaint, already dilated")
    add("--instruction", required=True, help="sentence or 'lane <count> <color> <pattern>'; 'sham' = as they are")
    add("--video", required=True, help="name of the clip; with instruction, seed and try it decides the noise")
    add("--painter", choices=PAINTERS, default=next(iter(PAINTERS)), help="which painter")
    add("--flux-fill", default="", help="FLUX.1-Fill folder")
    add("--qwen", default="", help="Qwen2.5-VL folder; may be blank when --caption-refine-iters is 0")
    add("--lora", default="", help="LoRA for FLUX Fill: a safetensors file or a folder with one")
    add("--lora-scale", type=float, default=0.0, help="weight of the LoRA; 0 loads none")
    add("--num-inference-steps", type=int, default=50, help="denoising steps of FLUX Fill")
    add("--guidance-scale", type=float, default=30.0, help="guidance of FLUX Fill")
    add("--strength", type=float, default=1.0, help="1 starts from noise, less from the noised source")
    add("--max-sequence-length", type=int, default=512, help="T5 tokens of the caption (what the model was trained on)")
    add("--paint-size", default="", help="HEIGHTxWIDTH; blank = the clip's own, at most one megapixel")
    add("--mask-feather", type=int, default=8, help="pixels inside the mask over which the edit fades in")
    add("--keep-masked-pixels", type=yes_no, default=False, help="model sees the old road under the mask, not a hole")
    add("--caption-refine-iters", type=int, default=10, help="most tries under the critic; 0 = no critic, one try")
    add("--caption-refine-batch", type=int, default=1, help="tries of one caption that are judged in one batch")
    add("--caption-refine-temperature", type=float, default=0.1, help="temperature of the critic's replies")
    add("--caption-max-tokens", type=int, default=512, help="longest reply of the critic")
    add("--seed", type=int, default=42)
    add("--unload-critic-after-use", type=yes_no, default=True, help="drop the critic when the item is done")
    add("--compile", type=yes_no, default=False, help="torch.compile the transformer's blocks")
    add("--attention-backend", default="", help="flash_4, or of diffusers' dispatcher; blank: PyTorch's own")
    add("--fuse-projections", type=yes_no, default=False, help="one product for query, key and value; merges the LoRA")
    add("--channels-last", type=yes_no, default=False, help="the VAE's weights with channels innermost")
    add("--fp8", type=yes_no, default=False, help="the blocks' products in 8-bit floats (needs torchao)")
    add("--offload", choices=("none", "model", "sequential"), default="none", help="parts of FLUX Fill off the GPU")
    add("--editor-device", default="auto", help="device of FLUX Fill; auto = --device")
    add("--critic-device", default="auto", help="device of Qwen2.5-VL; auto = a second GPU, else the editor's; all")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
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
    if args.caption_refine_iters < 0:
        raise InputError(f"--caption-refine-iters is {args.caption_refine_iters}: use 0 (no critic) or more")
    if args.caption_refine_iters and not args.qwen:
        raise InputError("--qwen is blank: name a Qwen2.5-VL folder, or set --caption-refine-iters 0 for no critic")
    if args.caption_refine_batch < 1:
        raise InputError(f"--caption-refine-batch is {args.caption_refine_batch}: at least one try is judged at a time")
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
