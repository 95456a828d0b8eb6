"""What is repainted in one clip: the whole road mask, dilated, or a corridor around the lane lines found inside it.

Reads the clip, its road masks and their timing.json; writes masks (arr_0, (T, H, W) uint8 0/1) and a JSON sidecar
that says what was chosen, what was found and, where nothing was found, what was done instead.
"""

import argparse
import sys
from pathlib import Path

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.region import Region
from relane.errors import InputError
from relane.io.files import read_json, skipped_reason, write_json


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clip", type=Path, required=True, help="MP4")
    p.add_argument("--masks", type=Path, required=True, help="its road masks, masks.npz of segment_road.py")
    p.add_argument(
        "--timing", type=Path, required=True, help="timing.json of segment_road.py; a skipped clip is refused"
    )
    add_options(p, Region)
    p.add_argument("--output", type=Path, required=True, help="NPZ of the region's masks")
    p.add_argument("--sidecar", type=Path, required=True, help="JSON about them")
    return p


def run(args: argparse.Namespace, models: None = None) -> None:
    from relane.io.masks import coverage, grow, mask_writer, read_masks
    from relane.io.video import iter_frames, probe
    from relane.road.regions import corridor_region

    settings = Region.of(args)
    refuse_skipped(args.timing)
    info = probe(args.clip)
    masks = read_masks(args.masks, (info.frames, info.height, info.width))
    report, region = {"fallback": None}, (grow(mask, settings.dilate_size) for mask in masks)
    if settings.region == "corridor":
        report, region = corridor_region(iter_frames(args.clip), masks, settings, settings.dilate_size)
    covered = []
    with mask_writer(args.output, masks.shape) as append:
        for mask in region:
            append(mask)
            covered.append(coverage(mask))
    if report.get("reason"):
        print(f"{args.clip}: {report['reason']}; instead: {report['fallback']}", file=sys.stderr)
    write_json(
        args.sidecar,
        {
            "video": args.clip.stem,
            **settings.model_dump(),
            "coverage": {"mean": sum(covered) / len(covered), "min": min(covered), "first": covered[0]},
            **report,
        },
    )


def refuse_skipped(timing: Path) -> None:
    """Raise InputError when segment_road.py has set this clip aside."""
    reason, facts = skipped_reason(timing), read_json(timing)
    if reason:
        # Without frames it is the source that could not be used, and the reason says so.
        what = "move sam2.points onto the road, lower sam2.min_coverage" if facts.get("frames") else "mend the source"
        raise InputError(
            f"{timing}: {facts.get('video')} was skipped: {reason}; {what}, or take the clip out of the sheet"
        )


def main(argv: list[str] | None = None) -> None:
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
