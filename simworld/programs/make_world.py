"""Write a small synthetic driving world as a PhysicalAI-AV dataset: seeded drives, cameras, calibration, ground truth.

The result is a folder that relane and physical-ai-av read like the real dataset, with truth/<clip_id>.json beside it.
"""

import argparse
import sys
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

from relane import cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--output", "--out", required=True, help="folder to write (a world written before is replaced)")
    p.add_argument("--clips", type=int, default=2, help="how many clips (default: %(default)s)")
    p.add_argument("--seed", type=int, default=0, help="another seed is another world (default: %(default)s)")
    p.add_argument("--width", type=int, default=320, help="picture width in pixels (default: %(default)s)")
    p.add_argument("--height", type=int, default=180, help="picture height in pixels (default: %(default)s)")
    p.add_argument("--fps", type=float, default=30.0, help="frames a second of every camera (default: %(default)s)")
    p.add_argument("--seconds", type=float, default=14.0, help="length of a clip (default: %(default)s)")
    p.add_argument("--cameras", type=int, choices=(4, 7), default=4, help="the driving model's 4, or all 7")
    p.add_argument(
        "--slower-car", type=int, default=1, help="in how many clips a slower car drives ahead (default: %(default)s)"
    )
    p.add_argument(
        "--attributes",
        nargs="*",
        default=[],
        metavar="COUNT-COLOR-PATTERN",
        help="markings of the clips, used in turn (default: single-white-solid behind a slower car, else drawn)",
    )
    p.add_argument("--bonnet", type=cli.true_or_false, default=False, help="show the car's own bonnet (default: false)")
    return p


def run(args: argparse.Namespace) -> None:
    """Write the world. Raises InputError on markings or numbers that make no world."""
    import cv2

    from simworld.world.dataset import parse_slug, plan_clips, write_dataset
    from simworld.world.rig import CAMERAS, FOUR_CAMERAS

    cv2.setNumThreads(1)  # pictures this small are slower with more
    wanted = [parse_slug(text) for text in args.attributes]
    plans = plan_clips(args.clips, args.seed, args.slower_car, wanted)
    cameras = FOUR_CAMERAS if args.cameras == 4 else tuple(CAMERAS)
    size = {"width": args.width, "height": args.height, "fps": args.fps, "seconds": args.seconds}
    write_dataset(args.output, plans, cameras, bonnet=args.bonnet, **size)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
