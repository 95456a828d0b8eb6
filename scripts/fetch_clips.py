"""Fetch driving clips from the Hugging Face hub: PhysicalAI-AV chunks or clips, or files of VideoPainter's VPData.

    HF_TOKEN=... python scripts/fetch_clips.py --output data/pai --chunks 0-1
    HF_TOKEN=... python scripts/fetch_clips.py --output data/pai --clip-ids 030c760c-ae38-49aa-9ad8-f5650a545d26
    python scripts/fetch_clips.py --source vpdata --output data/vpdata --files '*.csv' --list

PhysicalAI-AV (gated, NVIDIA AV Dataset License) is packed in chunks of about 100 clips, and a clip comes with its
whole chunk: about 5 GB for four cameras and ego motion. The folder that results is a dataset folder as the pipeline
reads it, zips unopened; --unpack also lays the clips' videos beside them as plain files. The zips are what
`clips: data/pai` in the configuration wants. VPData (TencentARC/VPData, research only, about 1.9 TB) is chosen by
file patterns; --list shows what there is; --unpack opens each zip into a folder of its name.

The commit fetched first is written with every file's SHA-256 into `clips.lock.json` in the output folder, and later
fetches into that folder stay at it. The token is taken from HF_TOKEN in the environment only.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from relane import cli
from relane.data.fetch import (
    Hub,
    HuggingFace,
    RemoteFile,
    Repo,
    add_to_lock,
    choose,
    fetch_files,
    forget_bookkeeping,
    gigabytes,
    locked_commit,
    read_lock,
    unzip,
)
from relane.data.physical_ai_av.index import pai_features
from relane.errors import InputError
from relane.names import CAMERAS

LOCK = "clips.lock.json"
REPOS = {
    "pai": Repo("nvidia/PhysicalAI-Autonomous-Vehicles", "dataset"),
    "vpdata": Repo("TencentARC/VPData", "dataset"),
}
# What a reader of the dataset opens first. Before release 26.03 the presence table had the other name.
PAI_TABLES = (
    "features.csv",
    "clip_index.parquet",
    "metadata/data_collection.parquet",
    "metadata/feature_presence.parquet",
    "metadata/sensor_presence.parquet",
)
# The four cameras that Alpamayo-R1 was trained on.
DRIVER_CAMERAS = (
    "camera_cross_left_120fov",
    "camera_front_wide_120fov",
    "camera_cross_right_120fov",
    "camera_front_tele_30fov",
)
DRIVER_LABELS = ("egomotion", "camera_intrinsics", "sensor_extrinsics", "vehicle_dimensions")


def parser() -> argparse.ArgumentParser:
    """The script's flags."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--source", choices=list(REPOS), default="pai", help="which dataset (default: pai)")
    result.add_argument("--output", type=Path, required=True, help="folder of the dataset")
    result.add_argument("--chunks", help="pai: chunk numbers, as 0-19 (the end included) or 3,7")
    result.add_argument("--clip-ids", nargs="+", default=[], metavar="ID", help="pai: clips; their chunks are fetched")
    result.add_argument("--cameras", nargs="+", default=list(DRIVER_CAMERAS), choices=CAMERAS, help="pai: cameras")
    result.add_argument("--files", nargs="+", default=[], metavar="PATTERN", help="vpdata: file patterns, as '*.csv'")
    result.add_argument("--unpack", type=cli.true_or_false, default=False, help="true: unpack zips (default: false)")
    result.add_argument("--workers", type=int, default=4, help="files fetched at once")
    result.add_argument("--list", action="store_true", help="print what would be fetched, with sizes, and stop")
    return result


def chunk_numbers(text: str) -> list[int]:
    """`0-3,7` as [0, 1, 2, 3, 7]. Raises InputError for anything else."""
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        if not match or int(match[2] or match[1]) < int(match[1]):
            raise InputError(f"--chunks {text!r}: write 0-19 (the end included) or 3,7")
        numbers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(numbers)


def chunks_of(clip_index: Path, clip_ids: list[str]) -> list[int]:
    """The chunks that hold the clips, by the dataset's index. Raises InputError for an unknown clip."""
    import pandas as pd

    index = pd.read_parquet(clip_index)
    unknown = [clip for clip in clip_ids if clip not in index.index]
    if unknown:
        raise InputError(f"--clip-ids: no clip {unknown[0]!r} in the dataset's {len(index)} clips")
    return sorted({int(chunk) for chunk in index.loc[clip_ids, "chunk"]})


class Fetcher:
    """One dataset at one commit, fetched into one folder under one lock file."""

    def __init__(self, hub: Hub, repo: Repo, folder: Path, workers: int) -> None:
        self.hub, self.repo, self.folder, self.workers = hub, repo, folder, workers
        self.lock_path = folder / LOCK
        self.entry = read_lock(self.lock_path).get(repo.id)
        self.commit = locked_commit(hub, repo, self.entry, self.lock_path)
        self.locked = dict(self.entry["files"]) if self.entry else {}

    def fetch(self, files: list[RemoteFile]) -> None:
        """Fetch the files and add them to the lock. Raises InputError as `fetch_files`."""
        self.locked |= fetch_files(self.hub, self.repo, self.commit, files, self.folder, self.workers, self.locked)
        add_to_lock(self.lock_path, self.repo.id, self.repo, self.commit, self.locked)
        forget_bookkeeping(self.folder)

    def find(self, paths: list[str]) -> list[RemoteFile]:
        """The files of these paths that the dataset has."""
        return sorted(self.hub.files(self.repo, self.commit, paths), key=lambda file: file.path)


def pai_files(fetcher: Fetcher, args: argparse.Namespace) -> list[RemoteFile]:
    """The chunk files of the clips or chunks asked for; the dataset's tables are fetched first, to know them.

    Raises InputError when neither is asked for, a clip or chunk does not exist, or the dataset lacks a feature.
    """
    if bool(args.chunks) == bool(args.clip_ids):
        raise InputError("say which clips: either --chunks 0-19 or --clip-ids ID ...")
    fetcher.fetch(fetcher.find(list(PAI_TABLES)))
    root = fetcher.folder
    if not (root / "features.csv").is_file() or not (root / "clip_index.parquet").is_file():
        raise InputError(f"{fetcher.repo.id}: no features.csv or clip_index.parquet at {fetcher.commit[:12]}")
    features = pai_features(root)
    chunks = chunk_numbers(args.chunks) if args.chunks else chunks_of(root / "clip_index.parquet", args.clip_ids)
    wanted = (*args.cameras, *DRIVER_LABELS)
    for feature in wanted:
        if feature not in features:
            raise InputError(f"{fetcher.repo.id}: no feature {feature!r} in features.csv")
    paths = {chunk: [features[name]["chunk_path"].format(chunk_id=chunk) for name in wanted] for chunk in chunks}
    files = fetcher.find([path for of_chunk in paths.values() for path in of_chunk])
    found = {file.path for file in files}
    # A chunk may lack a sensor, but a chunk without any file does not exist.
    for chunk, of_chunk in paths.items():
        if found.isdisjoint(of_chunk):
            raise InputError(f"{fetcher.repo.id}: no chunk {chunk} at {fetcher.commit[:12]}")
    return files


def vpdata_files(fetcher: Fetcher, args: argparse.Namespace) -> list[RemoteFile]:
    """The files that match --files (with --list and no pattern: all). Raises InputError when none does."""
    if not args.files and not args.list:
        raise InputError("say which files: --files PATTERN ...; --list shows them with sizes")
    files = choose(fetcher.hub.files(fetcher.repo, fetcher.commit), args.files or ["*"])
    if not files:
        raise InputError(f"{fetcher.repo.id}: no file matches {', '.join(args.files)}")
    return files


def unpack(files: list[RemoteFile], args: argparse.Namespace) -> None:
    """Unpack the zips among the files; of PhysicalAI-AV the videos of the clips asked for (all, with --chunks)."""
    for file in files:
        if not file.path.endswith(".zip"):
            continue
        archive = args.output / file.path
        if args.source == "vpdata":
            written = unzip(archive, archive.with_suffix(""))
        else:
            clips = set(args.clip_ids)
            written = unzip(
                archive,
                args.output / "videos",
                lambda name: name.endswith(".mp4") and (not clips or name.partition(".")[0] in clips),  # noqa: B023
            )
        _say(f"{file.path}: {len(written)} files unpacked")


def fetch(args: argparse.Namespace, hub: Hub) -> None:
    """Fetch, or list, what the flags ask for. Raises InputError for flags that ask for nothing or what is not there."""
    fetcher = Fetcher(hub, REPOS[args.source], args.output, args.workers)
    files = (pai_files if args.source == "pai" else vpdata_files)(fetcher, args)
    if args.list:
        for file in files:
            print(f"{gigabytes(file.bytes):>10}  {file.path}")
        print(f"{gigabytes(sum(file.bytes for file in files)):>10}  in {len(files)} files at {fetcher.commit}")
        return
    fetcher.fetch(files)
    if args.unpack:
        unpack(files, args)


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def main(argv: list[str] | None = None) -> None:
    """Fetch what the command line asks for."""
    fetch(parser().parse_args(argv), HuggingFace())


if __name__ == "__main__":
    # This script means to download, where cli.run would otherwise keep every library off the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "0")
    cli.run(main)
