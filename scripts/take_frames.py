"""Take frames of one source video for a dataset: fetched once, decoded once, each frame a PNG beside one record.

Frames are counted from 1 and found by decoding from the start, so that frame n is exactly the n-th. The output is a
folder with `frames.json` and `frame<n>.png`. A frame past the video's end is no error: the record says so, and the
dataset counts it. With --record-failures a source that cannot be used is recorded in the same way.
"""

import argparse
import re
import tempfile
from pathlib import Path
from typing import Any

from relane import cli
from relane.addresses import hide
from relane.config.arguments import add_options
from relane.config.sections.clip import Clip
from relane.errors import FetchError, InputError


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add(
        "--uri",
        type=hide,
        default="",
        help="the MP4 (path or URL) or a PhysicalAI-AV camera chunk zip, as in the sheet",
    )
    add("--pai-root", default="", help="PhysicalAI-AV folder or hf://repo@revision; blank: none")
    add("--clip-id", required=True)
    add("--camera", required=True)
    add("--checksum", default="", help="<algorithm>:<value> of the clip sheet; blank: not checked")
    add("--frames", type=int, nargs="+", required=True, help="numbers of the frames, from 1")
    add_options(options, Clip, only=("record_failures",))
    options.set_defaults(record_failures=False)  # by hand a failure is a failure
    add("--last-attempt", type=cli.true_or_false, default=True, help="false: what may pass is not recorded yet")
    add("--output", required=True, type=Path, help="folder for frames.json and frame<n>.png")
    return options


def chunk_of(uri: str) -> str:
    """The chunk that a source belongs to, such as `chunk_0007`; `-` for a source that is in none."""
    found = re.findall(r"chunk_\d+", uri)
    return found[-1] if found else "-"


def take(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Write the frames' pictures; what frames.json says of them. Raises InputError on a source that cannot be used."""
    import hashlib

    from relane.data import clips, timed_video
    from relane.training.dataset import write_picture

    taken: dict[str, dict] = {}
    count = 0
    with tempfile.TemporaryDirectory(prefix="relane-frames-") as fetched:
        source = clips.fetch(args.uri, args.pai_root, args.clip_id, args.camera, args.checksum, Path(fetched))
        for count, (_, frame) in enumerate(timed_video.timed_frames(source), 1):
            if count in args.frames:
                image = timed_video.to_rgb(frame)
                write_picture(folder / f"frame{count}.png", image)
                # Of the decoded pixels: a copy of the video in another container has the same.
                digest = hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()
                taken[str(count)] = {"width": image.shape[1], "height": image.shape[0], "pixels_sha256": digest}
            if count >= max(args.frames):
                break
    return {"status": "ok", "reason": "", "decoded": count, "frames": taken}


def run(args: argparse.Namespace) -> None:
    """Write the folder. Raises InputError on a bad source, unless it is to be recorded; then nothing is written."""
    from relane.io.files import atomic_folder, write_json

    if min(args.frames) < 1:
        raise InputError(f"frame {min(args.frames)}: frames are counted from 1")
    record = {
        "video": f"{args.clip_id}.{args.camera}",
        "uri": args.uri or args.pai_root,
        "chunk": chunk_of(args.uri),
    }
    with atomic_folder(args.output) as folder:
        try:
            record |= take(args, folder)
        except InputError as error:
            passing = isinstance(error, FetchError) and not args.last_attempt
            if passing or not args.record_failures:
                raise
            for picture in folder.iterdir():
                picture.unlink()
            record |= {"status": "skipped", "reason": str(error), "decoded": 0, "frames": {}}
        write_json(folder / "frames.json", record)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
