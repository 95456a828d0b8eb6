"""Say whether two result folders are equal to the digit: python tests/compare_results.py OLD NEW

A line for each difference, exit status 1 if there is one. What says when, where and by whom a result was made does not
count (the lists below). A new layout can be told: --moved alpamayo=drive/alpamayo_r1 looks for what stood below
OLD/alpamayo below NEW/drive/alpamayo_r1.
"""

import argparse
import csv
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

# Keys of JSON objects and columns of CSV tables that do not count, with all that stands below them.
WHEN_AND_WHERE = {"seconds", "worker", "execution", "devices", "device", "hardware", "platform", "gpu", "host"}
BY_WHOM = {"made_by", "commit", "clean", "why", "versions"}
# `inputs` are digests of files that are compared themselves; `posteriors` counts what a cache already held.
TOLD_ELSEWHERE = {"inputs", "posteriors"}
IGNORED_KEYS = WHEN_AND_WHERE | BY_WHOM | TOLD_ELSEWHERE
IGNORED_ENDINGS = ("_seconds", "_bytes", "_gb", "_mb")
# Seconds of the phases of a first frame and an edit, in a report's columns and lines: first_frame_paint_s.
PHASE = re.compile(r"\s*(?:first_frame|edit)_\w+?(?:_s| +[\d.]+)")
# Snakemake's own mark in a folder, and TensorBoard's logs, whose names hold the time and the host.
IGNORED_FILES = (".snakemake_timestamp", "events.out.tfevents.*")
# Of texts for people: durations, sizes in memory, digests of code and commits, days; of the page, its provenance.
IGNORED_TEXT = re.compile(
    r"\b\d+(?:\.\d+)? (?:s|min|h|[KMG]iB)\b|\b[0-9a-f]{16}\b|\b[0-9a-f]{40}\b|\b\d{4}-\d\d-\d\d(?:[T ][\d:.]+)?\b"
    r"|\bmemory, GiB +[\d.]+|(?<=[A-Z])(?: +\d+\.\d\d){4}$"  # of an instruction's report: seconds and GiB of a video
    r'|<section id="provenance">.*?</section>',
    re.DOTALL | re.MULTILINE,
)
ABSOLUTE_PATH = re.compile(r"(?<![\w./<])/(?:[\w.@+-]+/)+")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--moved", action="append", default=[], metavar="OLD_PREFIX=NEW_PREFIX")
    args = parser.parse_args(argv)
    moved = [tuple(item.split("=", 1)) for item in args.moved]
    if any(len(pair) != 2 for pair in moved):
        parser.error("--moved: write OLD_PREFIX=NEW_PREFIX")
    if missing := [folder for folder in (args.old, args.new) if not folder.is_dir()]:
        parser.error(f"{missing[0]} is no folder")
    found = 0
    for difference in compare_folders(args.old, args.new, moved):
        print(difference)
        found += 1
    print(f"{found} differences" if found else f"equal: {len(files_of(args.new))} files", file=sys.stderr)
    return int(found > 0)


def files_of(folder: Path) -> set[str]:
    """Names, relative to the folder, of the files below it that count."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix() for path in files if not any(path.match(name) for name in IGNORED_FILES)
    }


def new_name(name: str, moved: list[tuple[str, str]]) -> str:
    for old, new in moved:
        if name == old or name.startswith(old.rstrip("/") + "/"):
            return new.rstrip("/") + name[len(old.rstrip("/")) :]
    return name


def compare_folders(old: Path, new: Path, moved: list[tuple[str, str]] = ()) -> Iterator[str]:
    """One line a difference, each opening with the file's name (in the old folder, where it is there)."""
    there = {new_name(name, moved): name for name in files_of(old)}
    here = files_of(new)
    for name in sorted(there.keys() | here):
        if name not in here:
            yield f"{there[name]}: missing in {new}"
        elif name not in there:
            yield f"{name}: not in {old}"
        else:
            compare = COMPARE.get(Path(name).suffix.lower(), same_bytes)
            for words in compare(old / there[name], new / name):
                yield f"{there[name]}: {words}"


def ignored(key: str) -> bool:
    return key in IGNORED_KEYS or key.endswith(IGNORED_ENDINGS) or PHASE.fullmatch(key) is not None


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def same_values(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """JSON values: the order of keys does not count; 1 and 1.0 differ, and NaN equals NaN."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{where}.{key}" if where else key
            if ignored(key):
                continue
            if key not in new or key not in old:
                yield f"{place}: only in the {'old' if key in old else 'new'} one"
            else:
                yield from same_values(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from same_values(a, b, f"{where}[{index}]")
    elif isinstance(old, str) and isinstance(new, str):
        if ABSOLUTE_PATH.sub("/", old) != ABSOLUTE_PATH.sub("/", new):
            yield f"{where}: {short(old)} became {short(new)}"
    elif repr(old) != repr(new):
        yield f"{where}: {short(old)} became {short(new)}"


def same_json(old: Path, new: Path) -> Iterator[str]:
    yield from same_values(json.loads(old.read_bytes()), json.loads(new.read_bytes()))


def same_csv(old: Path, new: Path) -> Iterator[str]:
    tables = []
    for path in (old, new):
        with path.open(newline="", encoding="utf-8") as file:
            tables.append(list(csv.DictReader(file)))
    yield from same_values(tables[0], tables[1], "row")


def same_array(old: np.ndarray, new: np.ndarray) -> str:
    """Words for how two arrays differ, "" if they do not. NaN equals NaN."""
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return f"{old.dtype} {old.shape} became {new.dtype} {new.shape}"
    if old.tobytes() == new.tobytes():
        return ""
    return f"{np.count_nonzero(old != new)} of {old.size} values differ"


def same_npz(old: Path, new: Path) -> Iterator[str]:
    with np.load(old) as there, np.load(new) as here:
        if set(there) != set(here):
            yield f"arrays {sorted(there)} became {sorted(here)}"
            return
        for key in there:
            if words := same_array(there[key], here[key]):
                yield f"{key}: {words}"


def same_picture(old: Path, new: Path) -> Iterator[str]:
    there, here = (cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (old, new))
    if there is None or here is None:
        yield f"cannot be read in the {'old' if there is None else 'new'} one"
    elif words := same_array(there, here):
        yield words


def frames_of(path: Path) -> Iterator[tuple[Any, np.ndarray]]:
    """Time in seconds and decoded planes of every frame, one at a time."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.time, frame.to_ndarray()


def same_film(old: Path, new: Path) -> Iterator[str]:
    for index, (there, here) in enumerate(itertools.zip_longest(frames_of(old), frames_of(new))):
        if there is None or here is None:
            yield f"the {'old' if there is None else 'new'} one ends before frame {index}"
            return
        if there[0] != here[0]:
            yield f"frame {index}: time {there[0]} became {here[0]}"
        if words := same_array(there[1], here[1]):
            yield f"frame {index}: {words}"
            return  # what follows in a film depends on it


def same_text(old: Path, new: Path) -> Iterator[str]:
    there, here = (
        [line for line in ABSOLUTE_PATH.sub("/", IGNORED_TEXT.sub("#", text)).splitlines() if not PHASE.fullmatch(line)]
        for text in (path.read_text(encoding="utf-8") for path in (old, new))
    )
    for a, b in itertools.zip_longest(there, here):
        if a != b:
            yield f"line {short(a)} became {short(b)}"


def same_bytes(old: Path, new: Path) -> Iterator[str]:
    if old.read_bytes() != new.read_bytes():
        yield "other bytes"


COMPARE = {
    ".json": same_json,
    ".csv": same_csv,
    ".npz": same_npz,
    ".png": same_picture,
    ".jpg": same_picture,
    ".mp4": same_film,
    ".html": same_text,
    ".txt": same_text,
}

if __name__ == "__main__":
    sys.exit(main())
