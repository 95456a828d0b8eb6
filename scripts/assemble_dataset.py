"""Assemble a dataset from the frames and captions of its videos.

Frames come from scripts/dataset_frames.py, captions from scripts/caption_frames.py. A video all of whose frames are
those of an earlier one, pixel for pixel, is dropped as a duplicate, whatever its file is called. Writes train.csv,
images/, masks/, captions/, stats.json (kept and dropped, with reasons, by chunk) and two pictures.
"""

import argparse
from collections import Counter, defaultdict
from pathlib import Path

from relane import cli
from relane.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = cli.ListParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--items", nargs="+", type=Path, required=True, help="folders of dataset_frames.py; @FILE reads a list")
    add("--captions", nargs="+", type=Path, required=True, help="files of caption_frames.py; @FILE reads a list")
    add("--mode", default="hardlink", choices=("copy", "hardlink", "symlink"), help="how pictures get into the dataset")
    add("--output", required=True, type=Path, help="the dataset's folder")
    return options


def duplicates(records: list[dict]) -> dict[str, str]:
    """Videos that repeat an earlier one (by name), with the name of that one.

    Two videos are the same when they have the same decoded frames at the same numbers; a video without any decoded
    frame repeats nothing.
    """
    frames: dict[str, dict[int, str]] = defaultdict(dict)
    for record in records:
        if "pixels_sha256" in record:
            frames[record["video"]][record["frame"]] = record["pixels_sha256"]
    first: dict[tuple, str] = {}
    found = {}
    for video in sorted(frames):
        content = tuple(sorted(frames[video].items()))
        if first.setdefault(content, video) != video:
            found[video] = first[content]
    return found


def read_items(folders: list[Path], caption_files: list[Path]) -> tuple[list[tuple[Path, dict]], dict[str, dict]]:
    """(folder, record) of each item, sorted by video and frame, and the captions by item name.

    Raises InputError for a missing record, an item named twice, and a kept item without a caption.
    """
    from relane.io.files import read_json

    captions: dict[str, dict] = {}
    for path in caption_files:
        captions |= read_json(path)["captions"]
    items = [(folder, read_json(folder / "record.json")) for folder in folders]
    items.sort(key=lambda item: (item[1]["video"], item[1]["frame"]))
    for name, number in Counter(folder.name for folder, _ in items).items():
        if number > 1:
            raise InputError(f"{name}: given {number} times in --items; give each frame once")
    for folder, record in items:
        if record["status"] == "kept" and folder.name not in captions:
            raise InputError(f"{folder}: kept, but none of --captions has a caption for it")
    return items, captions


def statistics(records: list[dict], copies: dict[str, str]) -> dict:
    """Frames kept and dropped, with reasons, in all and by chunk; and the duplicate videos."""
    chunks: dict[str, dict] = {}
    for record in records:
        chunk = chunks.setdefault(record["chunk"], {"videos": set(), "kept": 0, "dropped": Counter()})
        chunk["videos"].add(record["video"])
        if record["status"] == "kept":
            chunk["kept"] += 1
        else:
            chunk["dropped"][record["reason"]] += 1
    for chunk in chunks.values():
        chunk["videos"] = len(chunk["videos"])
        chunk["dropped"] = dict(sorted(chunk["dropped"].items()))
    dropped = Counter(record["reason"] for record in records if record["status"] == "dropped")
    return {
        "videos": len({record["video"] for record in records}),
        "frames": len(records),
        "dropped": dict(sorted(dropped.items())),
        "chunks": dict(sorted(chunks.items())),
        "duplicate_videos": copies,
    }


def run(args: argparse.Namespace) -> None:
    """Write the dataset. Raises InputError when no frame was kept, saying why each was dropped."""
    from relane.training.dataset import Row
    from relane.training.dataset_writer import Writer

    items, captions = read_items(args.items, args.captions)
    copies = duplicates([record for _, record in items])
    for _, record in items:
        if record["video"] in copies and record["status"] == "kept":
            record |= {"status": "dropped", "reason": "duplicate_video"}
    stats = statistics([record for _, record in items], copies)
    if not any(record["status"] == "kept" for _, record in items):
        raise InputError(f"{args.output}: no frame was kept of {len(items)}; dropped: {stats['dropped']}")
    with Writer(args.output, args.mode) as writer:
        for folder, record in items:
            if record["status"] != "kept":
                continue
            caption = captions[folder.name]
            about = {key: record[key] for key in ("video", "frame", "uri", "chunk", "coverage")}
            row = Row("image.png", "mask.png", caption["prompt"])
            writer.add(row, folder, caption | about, name=f"{record['video']}_frame{record['frame']}")
        writer.finish(stats)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
