"""Road masks of one clip: SAM2 prompted with points on the road, propagated through the frames.

Writes into the folder --output: masks/000000.png ... (0 keep, 255 inpaint), masks.npz (arr_0, (T, H, W) uint8 0/1),
overlay.mp4 and timing.json. Each of the four appears whole or not at all; other files in the folder are left alone.
A clip whose road covers less than --min-coverage of the picture, in its first frame or on average, gets status
"skipped" with the reason in timing.json, and later stages refuse it by name: a first frame without a road gives the
painter nothing to start from, and a low average means that the road was lost. A clip whose source could not be used, as
--clip-json says, is skipped for that reason; masks.npz and overlay.mp4 are then empty files.
"""

import argparse
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from relane import __version__, cli
from relane.config.arguments import add_options
from relane.config.sections.sam2 import Sam2
from relane.errors import InputError
from relane.io.files import atomic_folder, skipped_reason, write_json, write_text
from relane.io.prefetch import feeding
from relane.io.timer import Timer
from relane.models import memory_stats

if TYPE_CHECKING:
    from relane.road.segmentation import RoadSegmenter

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.workers).
LOADS = ("checkpoint", "device", "dtype", "vos_optimized")
LESS_MEMORY = "sam2.dtype: bfloat16"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clip", type=Path, required=True, help="MP4; its name without .mp4 is the video's name")
    p.add_argument("--clip-json", type=Path, help="its record, which says where its source could not be used")
    p.add_argument("--output", type=Path, required=True, help="folder for masks/, masks.npz, overlay.mp4, timing.json")
    p.add_argument(
        "--checkpoint", type=Path, required=True, help="SAM2 folder: weights, and config.yaml if not released"
    )
    add_options(p, Sam2)
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    return p


def check(args: argparse.Namespace) -> None:
    """Raise InputError for settings that no clip can be segmented with."""
    Sam2.of(args)


def load(args: argparse.Namespace) -> "RoadSegmenter":
    from relane.road.segmentation import RoadSegmenter

    return RoadSegmenter(args.checkpoint, args.device, args.dtype, args.vos_optimized)


def segment(args: argparse.Namespace, models: "RoadSegmenter", timer: Timer) -> dict:
    """Write masks and overlay in one pass over the clip; returns the facts about them for timing.json."""
    import cv2

    from relane.io.masks import coverage, mask_writer, overlay
    from relane.io.video import iter_frames, probe, write_video
    from relane.road.segmentation import clean

    settings = Sam2.of(args)
    points, negative = settings.prompts()
    info = probe(args.clip)
    count = info.frames
    frames = timer.each("decode", islice(iter_frames(args.clip), count))
    covered: list[float] = []

    waiting: deque = deque()  # frames that the segmenter has read and whose masks are still to come: a few at most

    def remembered() -> Iterator:
        read = 0
        for frame in frames:
            read += 1
            waiting.append(frame)
            yield frame
        if read < count:
            raise InputError(f"{args.clip}: {read} frames could be read of {count}; the file is damaged")

    def pictures(folder: Path, append: Callable, found: Iterator) -> Iterator:
        shown: deque = deque()
        raw = (shown.append(frame) or mask for frame, mask in found)
        for index, mask in enumerate(clean(raw, points, settings)):
            with timer("write"):
                if not cv2.imwrite(str(folder / f"{index:06d}.png"), mask.astype("uint8") * 255):
                    raise OSError(f"{folder}: could not write mask {index}")
                append(mask)
            covered.append(coverage(mask))
            yield overlay(shown.popleft(), mask)

    with (
        atomic_folder(args.output / "masks") as folder,
        mask_writer(args.output / "masks.npz", (count, info.height, info.width)) as append,
        feeding(
            lambda found: write_video(
                args.output / "overlay.mp4", pictures(folder, append, found), info.fps, colour=info.colour
            ),
            ahead=16,
        ) as feed,
    ):
        for mask in timer.each("segment", models.video(remembered(), points, negative, None, count)):
            feed((waiting.popleft(), mask))
    facts = {"frames": count, "width": info.width, "height": info.height, "fps": info.fps}
    facts["coverage"] = {"mean": sum(covered) / count, "min": min(covered), "first": covered[0]}
    dropped = [point for point in points if point not in models.points_used]
    return facts | {"points": points, "points_dropped": dropped, "negative_points": negative}


def skip(args: argparse.Namespace, reason: str) -> dict:
    """Put something in the place of each output of a clip whose source could not be used; the facts for timing.json."""
    with atomic_folder(args.output / "masks") as folder:  # not empty, because object stores keep no empty folders
        write_text(folder / "skipped.txt", reason + "\n")
    for name in ("masks.npz", "overlay.mp4"):
        write_text(args.output / name, "")
    facts = {"frames": 0, "width": 0, "height": 0, "fps": 0, "coverage": {"mean": 0.0, "min": 0.0, "first": 0.0}}
    points, negative = Sam2.of(args).prompts()
    return facts | {"points": points, "negative_points": negative}


def run(args: argparse.Namespace, models: "RoadSegmenter") -> None:
    """Segment one clip. Raises InputError on a bad clip or setting, before anything is written."""
    unusable = skipped_reason(args.clip_json) if args.clip_json else ""
    # What stands for all of a clip's masks goes first: cut off, no new masks stand beside an old record.
    (args.output / "timing.json").unlink(missing_ok=True)
    memory_stats.reset_gpu_peaks()
    timer = Timer()
    with timer("total"):
        facts = skip(args, unusable) if unusable else segment(args, models, timer)
    reasons = [
        f"the road covers {facts['coverage'][key]:.2%} of {where}, less than {args.min_coverage:.2%}"
        for key, where in (("first", "the first frame"), ("mean", "the picture on average"))
        if facts["coverage"][key] < args.min_coverage
    ]
    # Frames are read, masks cleaned and written and the overlay encoded in threads beside SAM2.
    seconds = dict(timer.seconds)
    write_json(
        args.output / "timing.json",
        {
            "video": args.clip.stem,
            "status": "skipped" if unusable or reasons else "ok",
            "reason": unusable or "; ".join(reasons),
            **facts,
            "min_coverage": args.min_coverage,
            "close_holes": args.close_holes,
            "dilate": args.dilate,
            "bonnet": args.bonnet,
            "checkpoint": str(args.checkpoint),
            "backend": models.backend,
            "device": str(models.device),
            "dtype": args.dtype,
            "seconds": {"load": round(models.load_seconds, 3)} | {k: round(v, 3) for k, v in seconds.items()},
            **memory_stats.peaks(),
            "versions": versions(),
        },
    )


def versions() -> dict[str, str]:
    """Versions of the code that made the masks."""
    from importlib.metadata import version

    return {"relane": __version__} | {name: version(name) for name in ("sam2", "torch", "opencv-python-headless")}


def main(argv: list[str] | None = None) -> None:
    args = parser().parse_args(argv)
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
