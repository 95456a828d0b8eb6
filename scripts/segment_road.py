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

from relane import __version__, cli, memory
from relane.beside import feeding
from relane.errors import InputError
from relane.files import atomic_folder, skipped_reason, write_json, write_text
from relane.road_settings import POINTS, Cleaning, parse_points
from relane.timer import Timer

if TYPE_CHECKING:
    from relane.segmentation import RoadSegmenter

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.warm).
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
    p.add_argument(
        "--points", default=str([list(point) for point in POINTS]), help="JSON [[x, y], ...] on the road, 0..1"
    )
    p.add_argument("--negative-points", default="[]", help="JSON [[x, y], ...] off the road, 0..1")
    p.add_argument("--close-holes", type=int, default=15, help="fill gaps up to this many pixels wide (%(default)s)")
    p.add_argument(
        "--dilate", type=int, default=0, help="grow the mask by a square of this side in pixels (%(default)s)"
    )
    p.add_argument(
        "--bonnet", type=float, default=0.0, help="bottom fraction of the picture that is no road (%(default)s)"
    )
    p.add_argument("--min-coverage", type=float, default=0.01, help="fraction of the picture, below it: skipped")
    p.add_argument("--vos-optimized", default="false", help="compile SAM2's parts: auto, true or false (%(default)s)")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (%(default)s)")
    p.add_argument("--dtype", default="bfloat16", help="float32 or bfloat16, under autocast (%(default)s)")
    return p


def settings_of(args: argparse.Namespace) -> tuple[list, list, Cleaning]:
    """Points on the road, points off it, and what is done to the masks. Raises InputError for values that cannot be."""
    points = parse_points(args.points, "sam2.points")
    negative = parse_points(args.negative_points, "sam2.negative_points")
    if not points:
        raise InputError("sam2.points: at least one point on the road is needed")
    return points, negative, Cleaning(args.close_holes, args.dilate, args.bonnet)


def check(args: argparse.Namespace) -> None:
    """Raise InputError for settings that no clip can be segmented with."""
    settings_of(args)


def load(args: argparse.Namespace) -> "RoadSegmenter":
    from relane.segmentation import RoadSegmenter

    return RoadSegmenter(args.checkpoint, args.device, args.dtype, args.vos_optimized)


def segment(args: argparse.Namespace, models: "RoadSegmenter", timer: Timer) -> dict:
    """Write masks and overlay in one pass over the clip; returns the facts about them for timing.json."""
    import cv2

    from relane.masks import coverage, mask_writer, overlay
    from relane.segmentation import clean
    from relane.video import iter_frames, probe, write_video

    points, negative, cleaning = settings_of(args)
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
        for index, mask in enumerate(clean(raw, points, cleaning)):
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
    points, negative, _ = settings_of(args)
    return facts | {"points": points, "negative_points": negative}


def run(args: argparse.Namespace, models: "RoadSegmenter") -> None:
    """Segment one clip. Raises InputError on a bad clip or setting, before anything is written."""
    unusable = skipped_reason(args.clip_json) if args.clip_json else ""
    # What stands for all of a clip's masks goes first: cut off, no new masks stand beside an old record.
    (args.output / "timing.json").unlink(missing_ok=True)
    memory.reset_gpu_peaks()
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
            **memory.peaks(),
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
