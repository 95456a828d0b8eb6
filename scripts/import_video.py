"""Take one video that was edited elsewhere into a run: the file as it is, and the time of each of its frames.

The times come from the JSON of the same name beside the video (its key `t_us`, as Relane's own editor writes it), or,
where there is none, from the video's rate and the time of its first frame; the record says which.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from relane import cli
from relane.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--uri", required=True, help="the edited video: a path, or any address that fsspec knows")
    p.add_argument("--checksum", default="", help="<algorithm>:<value> that the video must have; blank: not checked")
    p.add_argument("--video-json", default="", help="the JSON beside it, path or address; blank: times are assumed")
    p.add_argument("--clip-id", required=True, help="clip that the video shows")
    p.add_argument("--camera", required=True, help="camera that the video shows")
    p.add_argument("--start-us", type=int, default=0, help="time of the first frame where no JSON says it")
    p.add_argument("--output", required=True, help="the video, MP4")
    p.add_argument("--sidecar", required=True, help="clip, camera, times, source, SHA-256, JSON")
    return p


def run(args: argparse.Namespace) -> None:
    """Fetch, check, copy. Raises InputError when the video is missing, damaged, or longer than its JSON says."""
    import shutil

    from relane import clips
    from relane.files import atomic_file, sha256_file, write_json
    from relane.video import probe

    with tempfile.TemporaryDirectory(prefix="relane-video-") as folder:
        path = clips.fetch(args.uri, "", args.clip_id, args.camera, args.checksum, Path(folder)).path
        info = probe(path)
        if info.frames < 1 or info.fps <= 0:
            raise InputError(f"{args.uri}: holds no frames, or states no rate; export it again")
        times, source = _times(args, info.frames, info.fps)
        with atomic_file(args.output) as partial:
            shutil.copyfile(path, partial)
    record = {
        "clip_id": args.clip_id,
        "camera": args.camera,
        "times_from": source,
        "source": {"uri": args.uri, "video_json": args.video_json, "checksum": args.checksum},
        "sha256": sha256_file(args.output),
        "fps": info.fps,
        "frames": info.frames,
        "width": info.width,
        "height": info.height,
        "t_us": times,
    }
    write_json(args.sidecar, record)


def _times(args: argparse.Namespace, frames: int, fps: float) -> tuple[list[int], str]:
    """Microseconds of each frame on the data set's clock, and where they come from."""
    known = _record(args.video_json).get("t_us") if args.video_json else None
    if known is None:
        return [args.start_us + round(n * 1e6 / fps) for n in range(frames)], "assumed"
    if len(known) < frames:
        raise InputError(f"{args.uri}: {frames} frames, but {args.video_json} has the times of {len(known)} only")
    return [int(t) for t in known[:frames]], "sidecar"


def _record(address: str) -> dict[str, Any]:
    import json

    import fsspec

    try:
        with fsspec.open(address, "r", encoding="utf-8") as file:
            record = json.load(file)
    except Exception as error:  # every store has its own errors; all of them mean "cannot read"
        raise InputError(f"{address}: cannot be read as JSON ({type(error).__name__})") from None
    if not isinstance(record, dict):
        raise InputError(f"{address}: expected a JSON object")
    return record


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
