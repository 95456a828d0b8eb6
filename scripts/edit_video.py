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
from relane.config.arguments import add_options
from relane.config.sections.speed import Speed
from relane.config.sections.video import Video
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

# Options that are recorded as how the networks were run, not as what decides what the result looks like.
EXECUTION = ("offload", *Speed.model_fields)
# What `load` reads: a warm worker keeps the models for items that agree in these (relane.warm).
LOADS = (
    "cogvideox",
    "videopainter",
    "videopainter_id",
    "id_lora_scale",
    *EXECUTION,
    "device",
    "dtype",
)
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
    files("--cogvideox", required=True, help="CogVideoX image-to-video checkpoint folder")
    files("--videopainter", required=True, help="VideoPainter branch folder")
    files("--videopainter-id", default="", help="VideoPainterID LoRA, folder or file; blank: not used")
    files("--output", required=True, help="the clean result at the clip's size, MP4")
    files("--generated", required=True, help="the model's own video at its size, MP4")
    files("--panels", default="", help="original | masked | mask | generated side by side, MP4; blank: not written")
    files("--sidecar", required=True, help="parameters, prompt, windows, seconds and memory, JSON")
    files("--text-cache", default="", help="folder of prompt embeddings, shared between runs; blank: none")
    files("--posterior-cache", default="", help="folder of the VAE's statistics of source windows; blank: none")

    add_options(p, Video)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return p


def load(args: argparse.Namespace) -> "VideoPainter":
    """The checkpoints' models, which serve any clip."""
    import torch

    from relane.device import choose_device
    from relane.speed import channels_last, speed_up
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
        speed_up(network, Speed.of(args), models.device)
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

    video = Video.of(args)
    video.check_id_lora(args.videopainter_id)
    return Options.of_video(video)


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

    decisive = [name for name in Video.model_fields if name not in (*EXECUTION, "share_posteriors")]

    inputs = ("clip", "clip_json", "inpaint_masks", "first_frame", "first_frame_json", "region_json")
    return {
        "video": item["video"],
        # The times of its own frames, so that another run can drive this video (drive.videos).
        "t_us": item["t_us"] and item["t_us"][: plan.frames],
        "prompt": item["caption"],
        "parameters": {**{name: getattr(args, name) for name in decisive}, **options.model_dump()},
        "checkpoints": {name: getattr(args, name) for name in ("cogvideox", "videopainter", "videopainter_id")},
        "windows": {"length": plan.length, "starts": list(plan.starts), "frames": plan.frames},
        "picture": asdict(region),
        "mask": {"coverage": round(coverage, 6), "region": item["region"]},
        "inputs": {name: sha256_file(getattr(args, name)) for name in inputs if getattr(args, name)},
        "execution": {name: getattr(args, name) for name in ("device", *EXECUTION)},
        **cost,
    }


def main(argv: list[str] | None = None) -> None:
    """Load the models and edit one clip."""
    args = parser().parse_args(argv)
    check(args)  # a wrong value is found before gigabytes are loaded
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
