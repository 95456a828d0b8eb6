"""Take one video that was edited elsewhere into a run, with the time of each of its frames.

The video is decoded whole and held against its clip. The file is kept as it is, or written anew where it must be
turned, made square, stretched back, or brought to 8-bit yuv420p; `changes` in the record says what was done. The times
come from the JSON of the same name beside the video (its key `t_us`, as Relane's own editor writes it), or, where there
is none, from the video's own times and the time of its first frame; the record says which.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from relane import cli
from relane.addresses import hide, reveal
from relane.config.arguments import add_options
from relane.config.sections.encoding import Encoding
from relane.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--uri", type=hide, required=True, help="the edited video: a path, or any address that fsspec knows")
    p.add_argument("--checksum", default="", help="<algorithm>:<value> that the video must have; blank: not checked")
    p.add_argument(
        "--video-json", type=hide, default="", help="the JSON beside it, path or address; blank: times are assumed"
    )
    p.add_argument("--clip-id", required=True, help="clip that the video shows")
    p.add_argument("--camera", required=True, help="camera that the video shows")
    p.add_argument("--start-us", type=int, default=0, help="time of the first frame where no JSON says it")
    p.add_argument("--clip-json", default="", help="sidecar of the clip that the video shows; blank: not compared")
    add_options(p, Encoding)
    p.add_argument("--output", required=True, help="the video, MP4")
    p.add_argument("--sidecar", required=True, help="clip, camera, times, source, SHA-256, JSON")
    return p


def run(args: argparse.Namespace) -> None:
    """Fetch, decode, compare, copy. Raises InputError when the video is missing, damaged, or does not fit its clip."""
    import shutil

    from relane.data import clips, external_video
    from relane.io.files import atomic_file, read_json, sha256_file, write_json
    from relane.io.video import write_video

    clip = read_json(args.clip_json) if args.clip_json else None
    with tempfile.TemporaryDirectory(prefix="relane-video-") as folder:
        source = clips.fetch(args.uri, "", args.clip_id, args.camera, args.checksum, Path(folder))
        seen = external_video.look(source)
        if clip is not None:
            external_video.fit(seen, clip)
        times, times_from = external_video.place(seen, clip, _times(args.video_json), args.start_us)
        if seen.rewrite:
            write_video(args.output, seen.images(), seen.fps or 10, args.crf, seen.colour)
        else:
            with atomic_file(args.output) as partial:
                shutil.copyfile(source.path, partial)
    record = {
        "clip_id": args.clip_id,
        "camera": args.camera,
        "times_from": times_from,
        "source": {"uri": args.uri, "video_json": args.video_json, "checksum": args.checksum},
        "sha256": sha256_file(args.output),
        "fps": seen.fps,
        "frames": len(times),
        "width": seen.width,
        "height": seen.height,
        "changes": seen.changes,
        "t_us": times,
    }
    write_json(args.sidecar, record)


def _times(address: str) -> list[int] | None:
    """The times that a JSON beside the video gives its frames, or None."""
    known = _record(address).get("t_us") if address else None
    if known is None:
        return None
    if not isinstance(known, list) or not all(type(time) in (int, float) for time in known):
        raise InputError(f"{address}: t_us is no list of times in microseconds")
    return [round(time) for time in known]


def _record(address: str) -> dict[str, Any]:
    import json

    import fsspec

    try:
        with fsspec.open(reveal(address), "r", encoding="utf-8") as file:
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
