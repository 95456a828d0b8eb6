"""What is common to all video editors: the files, the part of the frame that is painted, pasting, the record."""

import contextlib
import functools
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from relane import noise
from relane.config.sections.speed import Speed
from relane.config.sections.video import Video
from relane.editors import Caches, Canvas, VideoEditor
from relane.editors.frames import SlidingReader
from relane.errors import InputError
from relane.io.colour import Colour
from relane.io.compose import Region, choose_region, paste
from relane.io.files import read_json, sha256_file, write_json
from relane.io.mask_stream import MaskFile
from relane.io.prefetch import feeding
from relane.io.tensor_cache import TensorFolder
from relane.io.timer import Timer
from relane.io.video import iter_frames, probe, write_video
from relane.models import memory_stats

INPUTS = ("clip", "clip_json", "inpaint_masks", "first_frame", "first_frame_json", "region_json")
# Options that are recorded as how the networks were run, not as what decides what the result looks like.
EXECUTION = ("offload", *Speed.model_fields)
DECISIVE = [name for name in Video.model_fields if name not in (*EXECUTION, "share_posteriors")]


@dataclass(frozen=True)
class Item:
    """One clip and what is to become of it. `first_frame` (H, W, 3) uint8 RGB; `t_us`: time of each frame, if known."""

    video: str
    fps: float
    shape: tuple[int, int, int]  # frames, height, width
    colour: Colour
    t_us: list[int] | None
    masks: MaskFile
    caption: str
    first_frame: np.ndarray
    region: dict | None  # the record of the masks


def edit_clip(args: Namespace, editor: VideoEditor, checkpoints: Iterable[str]) -> None:
    """Edit one clip, by the flags of scripts/edit_video.py; `checkpoints` are those that name the editor's folders.

    Raises InputError on bad input, before anything is painted.
    """
    item, options = read_item(args), vars(args)
    try:
        canvas = editor.canvas(item.shape, options)
    except InputError as error:
        raise InputError(f"{args.clip}: {error}") from None
    memory_stats.reset_gpu_peaks()
    timer = Timer(editor.device)
    with timer("mask"):
        union, coverage = survey(item.masks)
    if not union.any():
        raise InputError(f"{args.inpaint_masks}: no pixel of any frame is masked; there is nothing to edit")
    region = choose_region(union, canvas.size, args.fit, args.mask_feather)
    caches = caches_of(args)
    of_frame, of_mask = (region.cut, region.cut) if canvas.resizes else (region.to_model, region.mask_to_model)
    with contextlib.ExitStack() as writing:
        feeds = [writing.enter_context(feeding(write)) for write in writers(args, item, region)]
        pieces = editor.edit(
            SlidingReader(iter_frames(args.clip), item.masks, lambda frame, mask: (of_frame(frame), of_mask(mask))),
            item.shape,
            of_frame(item.first_frame),
            item.caption,
            # Not keyed by the instruction: all arms of a clip share their noise.
            functools.partial(noise.generator, args.seed, item.video, "edit"),
            options,
            timer,
            caches,
        )
        hand_over(pieces, feeds, item.video)
        with timer("write"):  # what is left to do: most was written while the next window was painted
            writing.close()
    made_of = {name: options[name] for name in checkpoints}
    cost = {"posteriors": counts(caches), "seconds": {phase: round(s, 3) for phase, s in timer.seconds.items()}}
    write_json(args.sidecar, record(args, item, canvas, region, coverage, made_of) | cost | memory_stats.peaks())


def caches_of(args: Namespace) -> Caches:
    """The folders that instructions share, as far as they are asked for."""
    latents = args.posterior_cache if args.share_posteriors else ""
    return Caches(*(TensorFolder(folder) if folder else None for folder in (args.text_cache, latents)))


def counts(caches: Caches) -> dict[str, int] | None:
    """How many windows were read from the cache, and how many had to be encoded."""
    return caches.latents and {"read": caches.latents.hits, "computed": caches.latents.misses}


def read_item(args: Namespace) -> Item:
    """The clip's files, checked against each other; frames themselves are read later, one at a time."""
    clip, masks, info = read_json(args.clip_json), MaskFile(args.inpaint_masks), probe(args.clip)
    for name in ("video", "fps"):
        if name not in clip:
            raise InputError(f"{args.clip_json}: no key {name!r}; prepare_clip.py writes it")
    shape = (info.frames, info.height, info.width)
    if masks.shape != shape:
        raise InputError(
            f"{args.inpaint_masks}: masks are (frames, height, width) {masks.shape}, the clip {args.clip} is"
            f" {shape}; make the masks from this clip"
        )
    caption = read_json(args.first_frame_json).get("caption")
    if not isinstance(caption, str) or not caption.strip():
        raise InputError(f"{args.first_frame_json}: no `caption` in it; first_frame.py writes it")
    first_frame = read_first_frame(args.first_frame, info.height, info.width)
    region = read_json(args.region_json) if args.region_json else None
    t_us = clip.get("t_us")
    return Item(
        clip["video"], float(clip["fps"]), shape, info.colour, t_us, masks, caption, first_frame, region
    )  # fmt: skip


def read_first_frame(path: str | Path, height: int, width: int) -> np.ndarray:
    """The edited first frame, (H, W, 3) uint8; InputError when it is not an image of the clip's size."""
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


def survey(masks: MaskFile) -> tuple[np.ndarray, float]:
    """Where any frame is masked, (H, W) bool, and the masked share of all pixels."""
    union, masked = np.zeros(masks.shape[1:], bool), 0
    for mask in masks:
        union |= mask
        masked += int(mask.sum())
    return union, masked / max(1, masks.shape[0] * union.size)


def hand_over(pieces: Iterator[np.ndarray], feeds: list[Callable], video: str) -> None:
    """Each of `feeds` gets every painted frame (h, w, 3) uint8, at the editor's size."""
    painted = 0
    for piece in pieces:
        for frame in np.rint(piece * 255).astype(np.uint8):
            for feed in feeds:
                feed(frame)
        painted += len(piece)
        print(f"{video}: {painted} frames painted", file=sys.stderr, flush=True)


def writers(args: Namespace, item: Item, region: Region) -> list[Callable[[Iterator[np.ndarray]], object]]:
    """A function an output, which writes it from the painted frames as they come; the clean result's first.

    Streams end in the reverse order, so that it appears last, because it stands for all.
    """

    def clean(painted: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        for source, mask, frame in zip(iter_frames(args.clip), item.masks, painted, strict=False):
            yield paste(source, frame, mask, region, args.mask_feather, args.color_match)

    made = {args.output: clean, args.generated: lambda painted: painted}
    if args.panels:
        made[args.panels] = lambda painted: panels(args, item, region, painted)
    return [
        lambda painted, path=path, frames=frames: write_video(path, frames(painted), item.fps, args.crf, item.colour)
        for path, frames in made.items()
    ]


def panels(args: Namespace, item: Item, region: Region, frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Frames of the original's picture video: original | masked | mask | generated, at the editor's size."""
    for source, mask, painted in zip(iter_frames(args.clip), item.masks, frames, strict=False):
        frame, hole = region.to_model(source), region.mask_to_model(mask)[..., None]
        white = np.broadcast_to(np.where(hole, np.uint8(255), np.uint8(0)), frame.shape)
        yield np.concatenate([frame, np.where(hole, np.uint8(0), frame), white, painted], axis=1)


def record(
    args: Namespace, item: Item, canvas: Canvas, region: Region, coverage: float, checkpoints: dict[str, str]
) -> dict[str, Any]:
    """The sidecar, but for its cost: all that decided the result, and what it was made from."""
    return {
        "video": item.video,
        # The times of its own frames, so that another run can drive this video (drive.videos).
        "t_us": item.t_us and item.t_us[: canvas.frames],
        "prompt": item.caption,
        "editor": args.editor,
        "parameters": {name: getattr(args, name) for name in DECISIVE} | canvas.parameters,
        "checkpoints": checkpoints,
        "windows": {"length": canvas.length, "starts": list(canvas.starts), "frames": canvas.frames},
        "picture": asdict(region),
        "mask": {"coverage": round(coverage, 6), "region": item.region},
        "inputs": {name: sha256_file(getattr(args, name)) for name in INPUTS if getattr(args, name)},
        "execution": {name: getattr(args, name) for name in ("device", *EXECUTION)},
    }
