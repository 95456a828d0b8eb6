"""Write a clip once more by the same encoder: the `original` arm, through the codec as often as an edit."""

import argparse

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.encoding import Encoding
from relane.io.video import iter_frames, probe, write_video


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--clip", required=True, help="the clip, MP4")
    add_options(p, Encoding)
    p.add_argument("--output", required=True, help="the clip decoded and encoded once more, MP4")
    return p


def run(args: argparse.Namespace) -> None:
    """Decode and encode, frame by frame. Raises InputError when the clip is missing or damaged."""
    info = probe(args.clip)
    write_video(args.output, iter_frames(args.clip), info.fps, args.crf, info.colour)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
