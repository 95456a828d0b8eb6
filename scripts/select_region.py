"""What is repainted in one clip: the whole road mask, dilated, or a corridor around the lane lines found inside it.

Reads the clip, its road masks and their timing.json; writes masks (arr_0, (T, H, W) uint8 0/1) and a JSON sidecar
that says what was chosen, what was found and, where nothing was found, what was done instead.
"""

import argparse
import sys
from pathlib import Path

from relane import cli
from relane.errors import InputError
from relane.files import read_json, skipped_reason, write_json


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clip", type=Path, required=True, help="MP4")
    p.add_argument("--masks", type=Path, required=True, help="its road masks, masks.npz of segment_road.py")
    p.add_argument(
        "--timing", type=Path, required=True, help="timing.json of segment_road.py; a skipped clip is refused"
    )
    p.add_argument("--region", choices=("road", "corridor"), default="corridor", help="default %(default)s")
    p.add_argument("--dilate-size", type=int, default=24, help="grow by a square of this side in pixels (%(default)s)")
    p.add_argument("--corridor-width", type=float, default=1.0, help="around each line's middle (%(default)s)")
    p.add_argument(
        "--corridor-unit", choices=("m", "px"), default="m", help="metres, or pixels of the clip (%(default)s)"
    )
    p.add_argument(
        "--camera-height", type=float, default=1.5, help="metres above the road; sets the scale (%(default)s)"
    )
    p.add_argument("--output", type=Path, required=True, help="NPZ of the region's masks")
    p.add_argument("--sidecar", type=Path, required=True, help="JSON about them")
    return p


def run(args: argparse.Namespace, models: None = None) -> None:
    from relane.masks import coverage, grow, mask_writer, read_masks
    from relane.regions import Corridor, corridor_region
    from relane.video import iter_frames, probe

    if args.dilate_size < 0:
        raise InputError(f"region.dilate_size: must be 0 or more pixels, got {args.dilate_size}")
    settings = Corridor(args.corridor_width, args.corridor_unit, args.camera_height)
    refuse_skipped(args.timing)
    info = probe(args.clip)
    masks = read_masks(args.masks, (info.frames, info.height, info.width))
    report, region = {"fallback": None}, (grow(mask, args.dilate_size) for mask in masks)
    if args.region == "corridor":
        report, region = corridor_region(iter_frames(args.clip), masks, settings, args.dilate_size)
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
            "region": args.region,
            "dilate_size": args.dilate_size,
            "corridor_width": args.corridor_width,
            "corridor_unit": args.corridor_unit,
            "camera_height": args.camera_height,
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
