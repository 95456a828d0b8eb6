"""Carry an edited first frame through a clip: VideoPainter on CogVideoX, window by window, pasted back at native size.

Reads the clip, the masks of what may change, the edited first frame and its caption. Writes the clean result (the
source's own pixels outside the feathered mask), the model's raw video, optionally the four-panel video (original |
masked | mask | generated), and a JSON record. Memory does not grow with the clip's length.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relane import cli, memory
from relane.beside import feeding
from relane.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from relane.compose import Region
    from relane.maskfile import MaskFile
    from relane.timer import Timer
    from relane.videopainter.options import Options
    from relane.videopainter.pipeline import VideoPainter
    from relane.videopainter.sharing import Posteriors
    from relane.videopainter.windows import Plan

# Flags that go to `Options` by the same name.
OPTIONS = ("num_inference_steps", "guidance_scale", "strength", "stride", "conditioning_scale", "prev_clip_weight")
OPTIONS += ("replace_gt", "mask_add", "first_frame_gt", "hole_value", "sampler", "first_block_cache", "guidance_skip")
OPTIONS += ("background_refresh", "vae_tiling")
# Flags of `relane.speed.Speed`: how the networks are run.
SPEED = ("compile", "attention_backend", "fuse_projections", "channels_last", "fp8")
# Flags of this script alone that decide what the result looks like, recorded beside the options.
OWN = ("mode", "seed", "negative_prompt", "fit", "mask_feather", "color_match", "id_lora_scale", "dtype", "crf")
# What `load` reads: a warm worker keeps the models for items that agree in these (relane.warm).
LOADS = (
    "cogvideox",
    "videopainter",
    "videopainter_id",
    "id_lora_scale",
    *SPEED,
    "offload",
    "device",
    "dtype",
)
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
    files("--cogvideox", required=True, help="CogVideoX image-to-video checkpoint folder")
    files("--videopainter", required=True, help="VideoPainter branch folder")
    files("--videopainter-id", default="", help="VideoPainterID LoRA, folder or file; blank: not used")
    files("--output", required=True, help="the clean result at the clip's size, MP4")
    files("--generated", required=True, help="the model's own video at its size, MP4")
    files("--panels", default="", help="original | masked | mask | generated side by side, MP4; blank: not written")
    files("--sidecar", required=True, help="parameters, prompt, windows, seconds and memory, JSON")
    files("--text-cache", default="", help="folder of prompt embeddings, shared between runs; blank: none")
    files("--posterior-cache", default="", help="folder of the VAE's statistics of source windows; blank: none")

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


def load(args: argparse.Namespace) -> "VideoPainter":
    """The checkpoints' models, which serve any clip."""
    import torch

    from relane.device import choose_device
    from relane.speed import Speed, channels_last, speed_up
    from relane.videopainter.loading import load_videopainter

    models = load_videopainter(
        args.cogvideox,
        args.videopainter,
        choose_device(args.device),
        getattr(torch, args.dtype),
        args.videopainter_id,
        args.offload,
        args.id_lora_scale,
    )
    if args.channels_last:
        channels_last(models.vae)
    for network in (models.transformer, models.branch):
        speed_up(network, Speed(**{name: getattr(args, name) for name in SPEED}), models.device)
    return models


def check(args: argparse.Namespace) -> None:
    """Raise InputError for a value that does not serve."""
    options_of(args)


def run(args: argparse.Namespace, models: "VideoPainter") -> None:
    """Edit one clip. Raises InputError on bad input, before anything is painted."""
    from relane.compose import choose_region
    from relane.files import write_json
    from relane.timer import Timer

    item = read_item(args)
    options = options_of(args)
    try:
        plan = models.plan(item["frames"], options)
    except InputError as error:
        raise InputError(f"{args.clip}: {error}") from None
    memory.reset_gpu_peaks()
    timer = Timer(models.device)
    with timer("mask"):
        union, coverage = survey(item["masks"])
    if not union.any():
        raise InputError(f"{args.inpaint_masks}: no pixel of any frame is masked; there is nothing to edit")
    region = choose_region(union, models.size, args.fit, args.mask_feather)
    shared = posteriors(args)
    with contextlib.ExitStack() as writing:
        feeds = [writing.enter_context(feeding(write)) for write in writers(args, item, region)]
        paint(args, models, item, options, region, timer, shared, feeds)
        with timer("write"):  # what is left to do: most was written while the next window was painted
            writing.close()
    counts = {"read": shared.read, "computed": shared.computed} if shared else None
    seconds = {phase: round(value, 3) for phase, value in timer.seconds.items()}
    cost = {"posteriors": counts, "seconds": seconds, **memory.peaks()}
    write_json(args.sidecar, record(args, item, options, plan, region, coverage, cost))


def posteriors(args: argparse.Namespace) -> "Posteriors | None":
    """What instructions on one clip share of the VAE's work, or None."""
    from relane.digest import weights_digest
    from relane.videopainter.sharing import Posteriors

    if not (args.posterior_cache and args.share_posteriors):
        return None
    return Posteriors(args.posterior_cache, weights_digest(Path(args.cogvideox) / "vae"))


def options_of(args: argparse.Namespace) -> "Options":
    """The pipeline's options; raises InputError for a value that does not serve."""
    from relane.videopainter.options import Options

    if args.fp8 and (args.mode == "exact" or args.offload != "none"):
        raise InputError(
            "fp8: not in mode exact, whose result it changes, and not with offload; switch one of them off"
        )
    if args.fuse_projections and args.videopainter_id:
        raise InputError("fuse_projections: VideoPainterID's LoRA sits on the projections; switch one of them off")
    if args.background_refresh and args.videopainter_id:
        raise InputError("background_refresh: not with VideoPainterID, which has a memory of its own; set one to 0")
    given = {name: getattr(args, name) for name in OPTIONS}
    return Options.exact(**given) if args.mode == "exact" else Options(**given)


def read_item(args: argparse.Namespace) -> dict[str, Any]:
    """The clip's files, checked against each other; frames themselves are read later, one at a time."""
    from relane.files import read_json
    from relane.maskfile import MaskFile
    from relane.video import probe

    clip, masks, info = read_json(args.clip_json), MaskFile(args.inpaint_masks), probe(args.clip)
    for name in ("video", "fps"):
        if name not in clip:
            raise InputError(f"{args.clip_json}: no key {name!r}; prepare_clip.py writes it")
    expected = (info.frames, info.height, info.width)
    if masks.shape != expected:
        raise InputError(
            f"{args.inpaint_masks}: masks are (frames, height, width) {masks.shape}, the clip {args.clip} is"
            f" {expected}; make the masks from this clip"
        )
    caption = read_json(args.first_frame_json).get("caption")
    if not isinstance(caption, str) or not caption.strip():
        raise InputError(f"{args.first_frame_json}: no `caption` in it; first_frame.py writes it")
    return {
        "video": clip["video"],
        "fps": float(clip["fps"]),
        "frames": info.frames,
        "colour": info.colour,
        "t_us": clip.get("t_us"),
        "masks": masks,
        "caption": caption,
        "first_frame": read_first_frame(args.first_frame, info.height, info.width),
        "region": read_json(args.region_json) if args.region_json else None,
    }


def read_first_frame(path: str, height: int, width: int) -> "np.ndarray":
    """The edited first frame, (H, W, 3) uint8; InputError when it is not an image of the clip's size."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            frame = np.asarray(image.convert("RGB"))
    except (FileNotFoundError, UnidentifiedImageError, OSError):
        raise InputError(f"{path}: no readable image") from None
    if frame.shape[:2] != (height, width):
        raise InputError(
            f"{path}: the first frame is {frame.shape[1]}x{frame.shape[0]}, the clip is {width}x{height}; "
            "it must be edited at the clip's size"
        )
    return frame


def survey(masks: "MaskFile") -> tuple["np.ndarray", float]:
    """Where any frame is masked, (H, W) bool, and the masked share of all pixels."""
    import numpy as np

    union, masked = np.zeros(masks.shape[1:], bool), 0
    for mask in masks:
        union |= mask
        masked += int(mask.sum())
    return union, masked / max(1, masks.shape[0] * union.size)


def paint(
    args: argparse.Namespace,
    models: "VideoPainter",
    item: dict,
    options: "Options",
    region: "Region",
    timer: "Timer",
    shared: "Posteriors | None",
    feeds: list[Callable],
) -> None:
    """Run the models over the clip; each of `feeds` gets every painted frame (h, w, 3) uint8, at the models' size."""
    import numpy as np
    import torch

    from relane import noise
    from relane.video import iter_frames
    from relane.videopainter.frames import SlidingReader
    from relane.videopainter.text import prompt_embeddings

    # The original resizes inside its own pre-processing, and by another filter.
    exact = args.mode == "exact"
    of_frame, of_mask = (region.cut, region.cut) if exact else (region.to_model, region.mask_to_model)

    texts = [item["caption"], *([args.negative_prompt] if options.guided else [])]
    length = models.transformer.config.max_text_seq_length
    with timer("text"):
        embeddings = prompt_embeddings(
            args.cogvideox, texts, length, models.device, models.transformer.dtype, args.text_cache
        )
    single = torch.Generator("cpu").manual_seed(args.seed)

    def draws(start: int, purpose: str) -> "torch.Generator":
        # Not keyed by the instruction: all arms of a clip share their noise.
        return single if exact else noise.generator(args.seed, item["video"], "edit", start, purpose)

    pieces = models.edit(
        SlidingReader(iter_frames(args.clip), item["masks"], lambda frame, mask: (of_frame(frame), of_mask(mask))),
        item["frames"],
        of_frame(item["first_frame"]),
        embeddings[0],
        embeddings[1] if options.guided else None,
        options,
        draws,
        timer=timer,
        shared=shared,
    )
    painted = 0
    for piece in pieces:
        for frame in np.rint(piece * 255).astype(np.uint8):
            for feed in feeds:
                feed(frame)
        painted += len(piece)
        print(f"{item['video']}: {painted} frames painted", file=sys.stderr, flush=True)


def writers(args: argparse.Namespace, item: dict, region: "Region") -> list[Callable[[Iterator["np.ndarray"]], object]]:
    """A function an output, which writes it from the painted frames as they come; the clean result's first.

    Streams end in the reverse order, so that it appears last, because it stands for all.
    """
    from relane.compose import paste
    from relane.video import iter_frames, write_video

    def clean(painted: Iterator["np.ndarray"]) -> Iterator["np.ndarray"]:
        for source, mask, frame in zip(iter_frames(args.clip), item["masks"], painted, strict=False):
            yield paste(source, frame, mask, region, args.mask_feather, args.color_match)

    made = {args.output: clean, args.generated: lambda painted: painted}
    if args.panels:
        made[args.panels] = lambda painted: panels(args, item, region, painted)
    return [
        lambda painted, path=path, frames=frames: write_video(
            path, frames(painted), item["fps"], args.crf, item["colour"]
        )
        for path, frames in made.items()
    ]


def panels(
    args: argparse.Namespace, item: dict, region: "Region", frames: Iterator["np.ndarray"]
) -> Iterator["np.ndarray"]:
    """Frames of the original's picture video: original | masked | mask | generated, at the models' size."""
    import numpy as np

    from relane.video import iter_frames

    for source, mask, painted in zip(iter_frames(args.clip), item["masks"], frames, strict=False):
        frame, hole = region.to_model(source), region.mask_to_model(mask)[..., None]
        white = np.broadcast_to(np.where(hole, np.uint8(255), np.uint8(0)), frame.shape)
        yield np.concatenate([frame, np.where(hole, np.uint8(0), frame), white, painted], axis=1)


def record(
    args: argparse.Namespace,
    item: dict,
    options: "Options",
    plan: "Plan",
    region: "Region",
    coverage: float,
    cost: dict,
) -> dict:
    """The sidecar: all that decided the result, what it was made from, and what it cost."""
    from dataclasses import asdict

    from relane.files import sha256_file

    inputs = ("clip", "clip_json", "inpaint_masks", "first_frame", "first_frame_json", "region_json")
    return {
        "video": item["video"],
        # The times of its own frames, so that another run can drive this video (drive.videos).
        "t_us": item["t_us"] and item["t_us"][: plan.frames],
        "prompt": item["caption"],
        "parameters": {**{name: getattr(args, name) for name in OWN}, **asdict(options)},
        "checkpoints": {name: getattr(args, name) for name in ("cogvideox", "videopainter", "videopainter_id")},
        "windows": {"length": plan.length, "starts": list(plan.starts), "frames": plan.frames},
        "picture": asdict(region),
        "mask": {"coverage": round(coverage, 6), "region": item["region"]},
        "inputs": {name: sha256_file(getattr(args, name)) for name in inputs if getattr(args, name)},
        "execution": {name: getattr(args, name) for name in ("device", "offload", *SPEED)},
        **cost,
    }


def main(argv: list[str] | None = None) -> None:
    """Load the models and edit one clip."""
    args = parser().parse_args(argv)
    check(args)  # a wrong value is found before gigabytes are loaded
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
