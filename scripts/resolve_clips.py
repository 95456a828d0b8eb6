"""List sources of clips and lock them into a clip sheet (CSV), the only thing about clips that planning reads.

A source is a local MP4 or folder, gs://... or another fsspec URL, a PhysicalAI-AV dataset (folder, pai://folder?..., or
hf://repo@revision?... with HF_TOKEN in the environment), a folder of MP4s with their ego motion (mp4://folder,
docs/own_drives.md), or chunks://root?start=N&end=M&per_chunk=K with the end included. Videos that are no data set of
their own are driven when --pai-root, or an option pai_root=ROOT of a source, says where their clips' ego motion,
calibration and other cameras lie. Quote sources in the shell: they hold `?` and `&`. Details: the head of
scripts/relane/data/sources.py.
"""

import argparse
import sys
from pathlib import Path

from relane import cli
from relane.addresses import redact
from relane.data.sheet import not_driven, write_sheet
from relane.data.sources import resolve
from relane.errors import InputError
from relane.names import CAMERAS


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("sources", nargs="+", metavar="SOURCE")
    p.add_argument("--output", default="config/clips.csv", help="the clip sheet (default: %(default)s)")
    p.add_argument(
        "--pai-root",
        default="",
        help="PhysicalAI-AV folder, hub cache folder or hf://owner/name@revision, or folder of MP4s, with the "
        "ego motion of videos named <clip_id>.<camera>.mp4; a source may name its own by pai_root=",
    )
    p.add_argument("--refresh", action="store_true", help="list again and replace a sheet that exists")
    return p


def run(args: argparse.Namespace) -> None:
    """Resolve and write. Raises InputError on a bad source, and when the sheet exists and --refresh is not given."""
    if Path(args.output).exists() and not args.refresh:
        raise InputError(f"{args.output}: this clip sheet exists; add --refresh to list the sources again")
    clips = []
    for source in args.sources:
        found = resolve(source, args.pai_root)
        print(f"{redact(source)}: {len(found)} clips", file=sys.stderr)
        clips += found
    write_sheet(args.output, clips)
    for left_out in not_driven(clips, CAMERAS):
        print(f"not driven: {left_out}", file=sys.stderr)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
