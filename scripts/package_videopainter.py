"""One clip and its road masks in the layout that the original VideoPainter scripts read.

    meta.csv                                path, fps, mask_id, start_frame, end_frame, caption; frames, width, height
    raw_videos/<name[:-3]>/<name>.0.mp4     the clip
    mask_root/<name>/all_masks.npz          arr_0, (T, H, W) uint8 label map: 1 where the road is

Those scripts take everything before the first dot of `path` for the video's name, so <name> is the video's name with
each dot turned into an underscore. Their own six columns come first, in their order.
"""

import argparse
import csv
import shutil
from pathlib import Path

from relane import cli
from relane.errors import InputError
from relane.io.files import atomic_folder, read_json, safe_join, skipped_reason

COLUMNS = ("path", "fps", "mask_id", "start_frame", "end_frame", "caption", "frames", "width", "height")
MASK_ID = 1


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clip", type=Path, required=True, help="MP4")
    p.add_argument("--clip-json", type=Path, required=True, help="its JSON: fps, frames, width, height")
    p.add_argument("--masks", type=Path, required=True, help="its masks, NPZ with arr_0")
    p.add_argument("--video", required=True, help="name of the video, <clip id>.<camera>")
    p.add_argument(
        "--caption", default="A drive along a road, seen through the windscreen.", help="what the clip shows"
    )
    p.add_argument("--output", type=Path, required=True, help="folder; replaced whole")
    return p


def package_name(video: str) -> str:
    """The video's name as the original's path formula can carry it: without dots."""
    name = video.replace(".", "_")
    if not name or "/" in name or "\\" in name:
        raise InputError(f"--video {video!r}: must be a plain name, without slashes")
    return name


def run(args: argparse.Namespace, models: None = None) -> None:
    from relane.io.masks import mask_writer, read_masks
    from relane.io.video import probe

    name = package_name(args.video)
    facts, skipped = read_json(args.clip_json), skipped_reason(args.clip_json)
    if skipped:
        raise InputError(f"{args.clip_json}: {args.video} was skipped, so there is nothing to package: {skipped}")
    info = probe(args.clip)
    for key in ("frames", "width", "height"):
        if facts.get(key) != getattr(info, key):
            raise InputError(
                f"{args.clip_json}: says {key} {facts.get(key)}, but {args.clip} has {getattr(info, key)}; "
                "prepare the clip again"
            )
    masks = read_masks(args.masks, (info.frames, info.height, info.width))
    fps = facts.get("fps", info.fps)
    values = (f"{name}.0.mp4", int(fps) if fps == int(fps) else fps, MASK_ID, 0, info.frames, args.caption)
    with atomic_folder(args.output) as folder:
        video = safe_join(folder / "raw_videos", f"{name[:-3] or '.'}/{name}.0.mp4")
        video.parent.mkdir(parents=True)
        shutil.copyfile(args.clip, video)
        with mask_writer(folder / "mask_root" / name / "all_masks.npz", masks.shape) as append:
            for mask in masks:
                append(mask * MASK_ID)
        with open(folder / "meta.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            # end_frame is exclusive and written out: the original reads -1 as "all but the last".
            writer.writerow((*values, info.frames, info.width, info.height))


def main(argv: list[str] | None = None) -> None:
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
