"""Make dataset items of one video's frames: the picture, SAM2's road mask of it, and a record.

Reads the folder of scripts/take_frames.py. Each frame becomes a folder `<video>_frame<n>` with `record.json` and, when
the frame is kept, `image.png` and `mask.png`. A frame past the video's end, of a source that could not be used, or one
that shows too little road, is no error: its record says so, and the dataset counts it.
"""

import argparse
from pathlib import Path
from typing import Any

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.sam2 import Sam2

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.workers).
LOADS = ("checkpoint", "device", "dtype")
LESS_MEMORY = "sam2.dtype: bfloat16"


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--frames", type=Path, required=True, help="folder with frames.json and frame<n>.png of one video")
    add("--numbers", type=int, nargs="+", required=True, help="numbers of the frames, from 1")
    # A few pictures a job: compiling the model would cost more than it saves.
    add_options(options, Sam2, leave_out=("vos_optimized",))
    add("--checkpoint", required=True, help="folder of a SAM2 checkpoint")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--output", required=True, type=Path, help="folder for the items' folders; others in it are left alone")
    return options


def load(args: argparse.Namespace):
    """The road segmenter."""
    from relane.road.segmentation import RoadSegmenter

    return RoadSegmenter(args.checkpoint, args.device, args.dtype, vos_optimized=False)


def run(args: argparse.Namespace, segmenter) -> None:
    """Write the items' folders. Raises InputError on a broken folder of frames or a bad flag, before the first."""
    from relane.io.files import read_json

    settings = Sam2.of(args)
    taken = read_json(args.frames / "frames.json")
    for number in args.numbers:
        record = {key: taken[key] for key in ("video", "uri", "chunk")} | {"frame": number}
        write_item(args, record, taken, lambda image: segmenter.image(image, *settings.prompts(), settings))


def write_item(args: argparse.Namespace, record: dict[str, Any], taken: dict[str, Any], road_of) -> None:
    """One frame's folder: `road_of` gives the mask (H, W) bool of a picture (H, W, 3) uint8 RGB."""
    from relane.io.files import atomic_folder, write_json
    from relane.io.masks import coverage
    from relane.training.dataset import place, read_image, write_picture

    facts = taken["frames"].get(str(record["frame"]))
    picture = args.frames / f"frame{record['frame']}.png"
    with atomic_folder(args.output / f"{record['video']}_frame{record['frame']}") as partial:
        if facts is None and taken["status"] == "skipped":
            record |= {"status": "dropped", "reason": "unusable_source", "error": taken["reason"]}
        elif facts is None:
            record |= {"status": "dropped", "reason": "past_end", "frames": taken["decoded"]}
        else:
            mask = road_of(read_image(picture))
            kept = coverage(mask) >= args.min_coverage
            record |= {"status": "kept" if kept else "dropped", "reason": "" if kept else "coverage"}
            record |= {**facts, "coverage": round(coverage(mask), 6)}
            if kept:
                place(picture, partial / "image.png", "hardlink")
                write_picture(partial / "mask.png", mask)
        write_json(partial / "record.json", record)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
