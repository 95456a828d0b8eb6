"""The clips that could not be made from their sources, a line each: the video's name and why. Empty where all could."""

import argparse
from pathlib import Path

from relane import cli
from relane.errors import InputError
from relane.io.files import read_json, skipped_reason, write_text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = cli.ListParser(description=__doc__)
    p.add_argument(
        "--sidecars", type=Path, nargs="*", default=[], help="prepare_clip.py's JSON files; @FILE reads a list"
    )
    p.add_argument("--output", type=Path, required=True, help="text file, a line a skipped clip")
    return p


def run(args: argparse.Namespace) -> None:
    """Write the list. Raises InputError when not one source could be used: that is no clip's own fault."""
    reasons = {read_json(path)["video"]: skipped_reason(path) for path in args.sidecars}
    lines = [f"{video}: {' '.join(reason.split())}" for video, reason in reasons.items() if reason]
    if lines and len(lines) == len(reasons):
        raise InputError(
            f"none of the {len(lines)} clips could be made from its source; the first, {lines[0]}; "
            "mend that and run again with --forcerun prepare_clip"
        )
    write_text(args.output, "".join(f"{line}\n" for line in lines))


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
