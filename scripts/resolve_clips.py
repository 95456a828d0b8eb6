"""List sources of clips and lock them into a clip sheet (CSV), the only thing about clips that planning reads.

A source is a local MP4 or folder, gs://... or another fsspec URL, a PhysicalAI-AV dataset (folder, pai://folder?..., or
hf://repo@revision?... with HF_TOKEN in the environment), or chunks://root?start=N&end=M&per_chunk=K with the end
included. Quote sources in the shell: they hold `?` and `&`. Details: the head of scripts/relane/sources.py.
"""

import argparse
import sys
from pathlib import Path

from relane import cli
from relane.addresses import redact
from relane.errors import InputError
from relane.sheet import write_sheet
from relane.sources import resolve


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("sources", nargs="+", metavar="SOURCE")
    p.add_argument("--output", default="config/clips.csv", help="the clip sheet (default: %(default)s)")
    p.add_argument("--refresh", action="store_true", help="list again and replace a sheet that exists")
    return p


def run(args: argparse.Namespace) -> None:
    """Resolve and write. Raises InputError on a bad source, and when the sheet exists and --refresh is not given."""
    if Path(args.output).exists() and not args.refresh:
        raise InputError(f"{args.output}: this clip sheet exists; add --refresh to list the sources again")
    clips = []
    for source in args.sources:
        found = resolve(source)
        print(f"{redact(source)}: {len(found)} clips", file=sys.stderr)
        clips += found
    write_sheet(args.output, clips)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
