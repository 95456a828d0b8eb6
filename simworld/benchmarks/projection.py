"""How far a path drawn on a picture is from where it lies: the clip's f-theta calibration against a pinhole.

    python simworld/benchmarks/projection.py [--width 1920] [--height 1080]

A scene of the synthetic world is rendered through the f-theta camera of a PhysicalAI-AV clip. Points of the lane line
5 to 30 m ahead, whose place in the world is known, are projected by the code that draws the overlays, and looked for in
the rendered picture: is there a pixel of the line within 2 pixels? The pinhole is the fallback of clips without
calibration (120 degrees by the camera's name, on the true mount).
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import numpy as np

from relane.data import open_clip
from relane.data.camera import RigCamera, uncalibrated
from simworld.world.dataset import parse_slug, plan_clips, write_dataset
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene

AT_S = 0.5  # instant of the picture, seconds from the clip's start
REACH = 2  # pixels


def lane_points(scene: Scene) -> np.ndarray:
    """30 points of the lane line 5 to 30 m ahead of the rig, (30, 3) metres in the rig frame at AT_S."""
    s, x, y, heading = scene.drive.at(AT_S)
    line_x, line_y, _ = scene.road.pose(s + np.linspace(5.0, 30.0, 30), 0.0)
    c, n = np.cos(heading), np.sin(heading)
    ahead, left = (line_x - x) * c + (line_y - y) * n, (line_y - y) * c - (line_x - x) * n
    return np.stack([ahead, left, 0 * ahead], -1)


def on_paint(mask: np.ndarray, pixels: np.ndarray) -> int:
    """How many pixels (N, 2) have paint, mask (H, W) bool, within REACH."""
    hits = 0
    for u, v in np.rint(pixels).astype(int):
        hits += bool(mask[max(v - REACH, 0) : v + REACH + 1, max(u - REACH, 0) : u + REACH + 1].any())
    return hits


def to_paint(mask: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Distance in pixels (N,) from each pixel to the nearest paint."""
    paint = np.argwhere(mask)[:, ::-1]
    return np.array([np.linalg.norm(paint - pixel, axis=1).min() for pixel in pixels])


def main(argv: list[str] | None = None) -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=1920, help="picture width in pixels")
    parser.add_argument("--height", type=int, default=1080, help="picture height in pixels")
    parser.add_argument("--seed", type=int, default=0, help="of the world")
    args = parser.parse_args(argv)
    size = {"width": args.width, "height": args.height}
    (plan,) = plan_clips(1, args.seed, 0, [parse_slug("single-white-solid")])
    scene = Scene(plan.seed, plan.attributes, seconds=1.0, **size)
    mask, points = scene.render(FRONT_WIDE, AT_S).marking_mask, lane_points(scene)
    with tempfile.TemporaryDirectory() as folder:
        write_dataset(Path(folder) / "world", [plan], [FRONT_WIDE], seconds=0.1, **size)
        camera = open_clip(Path(folder) / "world", plan.clip_id).camera(FRONT_WIDE)
    fallback = uncalibrated(FRONT_WIDE, args.width, args.height).model
    pinhole = RigCamera(fallback, camera.rotation, camera.position)
    truth, _ = camera.project(points)
    print(f"{args.width}x{args.height}, {len(points)} points of the lane line, 5 to 30 m ahead")
    for name, one in (("f-theta, the clip's own", camera), ("pinhole, 120 degrees", pinhole)):
        pixels, _ = one.project(points)
        off, moved = to_paint(mask, pixels), np.linalg.norm(pixels - truth, axis=1)
        print(
            f"{name:24s} on the rendered line within {REACH} px: {on_paint(mask, pixels)} of {len(points)}; "
            f"from the paint: median {np.median(off):.1f}, largest {off.max():.1f} px; "
            f"from the f-theta pixel: median {np.median(moved):.1f}, largest {moved.max():.1f} px"
        )


if __name__ == "__main__":
    main()
