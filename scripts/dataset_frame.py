"""Take one frame of a source video for a dataset: the picture, SAM2's road mask of it, and a record.

Frames are counted from 1 and found by decoding from the start, so that frame n is exactly the n-th. The output is a
folder with `record.json` and, when the frame is kept, `image.png` and `mask.png`. A frame past the video's end, or one
that shows too little road, is no error: its record says so, and the dataset counts it.
"""

import argparse
import re
import tempfile
from pathlib import Path

from relane import cli
from relane.addresses import hide
from relane.errors import InputError
from relane.road_points import POINTS

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.warm).
LOADS = ("checkpoint", "device", "dtype")
LESS_MEMORY = "sam2.dtype: bfloat16"


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add(
        "--uri",
        type=hide,
        default="",
        help="the MP4 (path or URL) or a PhysicalAI-AV camera chunk zip, as in the clip sheet",
    )
    add("--pai-root", default="", help="PhysicalAI-AV folder or hf://repo@revision; blank: none")
    add("--clip-id", required=True)
    add("--camera", required=True)
    add("--checksum", default="", help="<algorithm>:<value> of the clip sheet; blank: not checked")
    add("--frame", type=int, required=True, help="number of the frame, from 1")
    add(
        "--points",
        default=str([list(point) for point in POINTS]),
        help="JSON list of [x, y] on the road, fractions of the picture",
    )
    add("--negative-points", default="[]", help="JSON list of [x, y] off the road")
    add("--close-holes", type=int, default=15, help="fill holes in the mask up to this many pixels wide")
    add("--dilate", type=int, default=0, help="grow the mask by a square of this many pixels")
    add("--bonnet", type=float, default=0.0, help="fraction of the height, at the bottom, that is never road")
    add("--min-coverage", type=float, default=0.01, help="drop a frame whose mask covers less of it than this")
    add("--checkpoint", required=True, help="folder of a SAM2 checkpoint")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", default="float32", choices=("float32", "bfloat16"))
    add("--output", required=True, type=Path, help="folder for record.json, image.png and mask.png")
    return options


def load(args: argparse.Namespace):
    """The road segmenter."""
    from relane.masks import RoadSegmenter

    # One picture a job: compiling the model would cost more than it saves.
    return RoadSegmenter(args.checkpoint, args.device, args.dtype, vos_optimized=False)


def find_frame(source, number: int):
    """The `number`-th frame (from 1) as (H, W, 3) uint8 RGB, or None past the end; and how many frames were decoded.

    `source` is a `relane.clips.Source`. Raises InputError when the video is missing or damaged.
    """
    from relane import clips

    count = 0
    for count, (_, frame) in enumerate(clips.timed_frames(source), 1):
        if count == number:
            return clips.to_rgb(frame), count
    return None, count


def chunk_of(uri: str) -> str:
    """The chunk that a source belongs to, such as `chunk_0007`; `-` for a source that is in none."""
    found = re.findall(r"chunk_\d+", uri)
    return found[-1] if found else "-"


def run(args: argparse.Namespace, segmenter) -> None:
    """Write one frame's folder. Raises InputError on a bad source or flag; then nothing is written."""
    import hashlib

    from relane import clips
    from relane.dataset import write_picture
    from relane.files import atomic_folder, write_json
    from relane.masks import Cleaning, coverage, parse_points

    if args.frame < 1:
        raise InputError(f"frame {args.frame}: frames are counted from 1")
    points = parse_points(args.points, "points"), parse_points(args.negative_points, "negative_points")
    cleaning = Cleaning(args.close_holes, args.dilate, args.bonnet)
    with tempfile.TemporaryDirectory(prefix="relane-frame-") as folder:
        source = clips.fetch(args.uri, args.pai_root, args.clip_id, args.camera, args.checksum, Path(folder))
        image, count = find_frame(source, args.frame)
    record = {
        "video": f"{args.clip_id}.{args.camera}",
        "frame": args.frame,
        "uri": args.uri or args.pai_root,
        "chunk": chunk_of(args.uri),
    }
    mask = None
    if image is None:
        record |= {"status": "dropped", "reason": "past_end", "frames": count}
    else:
        mask = segmenter.image(image, *points, cleaning)
        record |= {
            "status": "kept" if coverage(mask) >= args.min_coverage else "dropped",
            "reason": "" if coverage(mask) >= args.min_coverage else "coverage",
            "width": image.shape[1],
            "height": image.shape[0],
            "coverage": round(coverage(mask), 6),
            # Of the decoded pixels: a copy of the video in another container has the same.
            "pixels_sha256": hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest(),
        }
    with atomic_folder(args.output) as partial:
        if record["status"] == "kept":
            write_picture(partial / "image.png", image)
            write_picture(partial / "mask.png", mask)
        write_json(partial / "record.json", record)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
