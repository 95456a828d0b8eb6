"""Carry an edited first frame through a clip by a video editor, and paste the result back at native size.

Reads the clip, the masks of what may change, the edited first frame and its caption. Writes the clean result (the
source's own pixels outside the feathered mask), the editor's raw video, optionally the four-panel video (original |
masked | mask | generated), and a JSON record. Memory does not grow with the clip's length.
"""

import argparse
from typing import TYPE_CHECKING

from relane import cli
from relane.editors import EDITORS, editor_module

if TYPE_CHECKING:
    from relane.editors import VideoEditor

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.warm).
LOADS = ("editor", "cogvideox", "videopainter", "videopainter_id", "id_lora_scale", "offload", "device", "dtype")
LOADS += ("compile", "attention_backend", "fuse_projections", "channels_last", "fp8")
LESS_MEMORY = "video.background_refresh: 0, video.vae_tiling: true, video.offload: model, then sequential"


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
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

    add("--editor", choices=EDITORS, default=next(iter(EDITORS)), help="which video editor")
    add("--mode", choices=("ours", "exact"), default="ours", help="ours: with the repairs; exact: the original's ways")
    add("--num-inference-steps", type=int, default=70, help="denoising steps a window")
    add("--guidance-scale", type=float, default=6.0, help="classifier-free guidance; at most 1: off")
    add("--strength", type=float, default=1.0, help="below 1: start from the noised source, with that share of steps")
    add("--seed", type=int, default=42, help="noise is keyed by it and the clip, not by the instruction")
    add("--stride", type=int, default=40, help="frames from window to window at most; a multiple of 4 in mode ours")
    add("--conditioning-scale", type=float, default=1.0, help="weight of the branch")
    add("--prev-clip-weight", type=float, default=0.0, help="0 to 1: attention to the previous window's last step")
    add("--replace-gt", type=cli.true_or_false, default=True, help="paste the source's background latents each step")
    add("--mask-add", type=cli.true_or_false, default=True, help="the branch acts on the background's tokens only")
    add("--first-frame-gt", type=cli.true_or_false, default=True, help="keep the given first frame as it is")
    add("--hole-value", type=float, default=0.0, help="what the branch sees in the hole: 0 grey, -1 black")
    add("--sampler", choices=("dpm", "ddim"), default="dpm", help="CogVideoX's DPM or DDIM scheduler")
    add("--negative-prompt", default="", help="what guidance leads away from")
    add("--id-lora-scale", type=float, default=1.0, help="scale of the VideoPainterID LoRA")
    add("--fit", choices=("crop", "letterbox", "squash"), default="crop", help="what of the frame the model sees")
    add("--mask-feather", type=int, default=8, help="pixels over which the result fades into the source")
    add("--color-match", type=cli.true_or_false, default=False, help="shift the result's colour to meet at the seam")
    add("--share-posteriors", type=cli.true_or_false, default=True, help="use --posterior-cache; same result")
    add("--crf", type=int, default=18, help="H.264 quality of the videos, 0 (lossless) to 51")
    add("--first-block-cache", type=float, default=0.0, help="threshold of diffusers' FirstBlockCache; 0: off")
    add("--guidance-skip", type=float, default=0.0, help="share of the steps that leave out the negative prompt")
    add("--background-refresh", type=int, default=0, help="steps from one look at the background to the next; 0: all")
    add("--vae-tiling", type=cli.true_or_false, default=False, help="run the VAE in tiles, for less memory")
    add("--compile", type=cli.true_or_false, default=False, help="torch.compile the transformers' blocks")
    add("--attention-backend", default="", help="flash_4, or of diffusers' dispatcher; blank: PyTorch's own")
    add("--fuse-projections", type=cli.true_or_false, default=False, help="one product for query, key and value")
    add("--channels-last", type=cli.true_or_false, default=False, help="the VAE's weights with channels innermost")
    add("--fp8", type=cli.true_or_false, default=False, help="the blocks' products in 8-bit floats (needs torchao)")
    add("--offload", choices=("none", "model", "sequential"), default="none", help="what waits in host memory")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", choices=("float32", "bfloat16"), default="bfloat16", help="of weights and activations")
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
