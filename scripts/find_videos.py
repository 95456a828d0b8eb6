"""Write the sheet of videos that were edited elsewhere, for `drive.videos`, and say which arms they make.

    find_videos.py gs://bucket/outputs/vp --output config/edited.csv

`drive.videos` may name the folder or bucket prefix itself; it is then listed at every planning. A sheet locks what was
found, with the stores' checksums. Found are files `<clip_id>.<camera>_vp_edit_sample0.mp4`. In the original
VideoPainter these are four pictures side by side; take the edits themselves:

    find_videos.py outputs/vp --take generated --output config/edited.csv
"""

import argparse
from collections import Counter

from relane import cli
from relane.data import external


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("source", help="folder, bucket prefix, or a sheet to check")
    p.add_argument("--video-name", default="auto", help="one video's stem, or auto: all (default: auto)")
    p.add_argument("--take", choices=("pasted", "generated"), default="pasted", help="which file of each video: "
                   "<video>_vp_edit_sample0.mp4, or <video>_generated.mp4 (default: pasted)")  # fmt: skip
    p.add_argument("--output", help="sheet to write (CSV); without it, only the arms are printed")
    return p


def main(argv: list[str] | None = None) -> None:
    """Entry point. Raises InputError when nothing is found or two files are one video of one arm."""
    args = parser().parse_args(argv)
    suffix = external.GENERATED if args.take == "generated" else external.SUFFIX
    found = external.load(args.source, args.video_name, suffix)
    external.check_sizes(found, remote=True)
    for arm, count in sorted(Counter(file.arm for file in found).items()):
        print(f"{arm}: {count} video{'s' if count > 1 else ''}")
    if args.output:
        external.write_sheet(args.output, found)


if __name__ == "__main__":
    cli.run(main)
