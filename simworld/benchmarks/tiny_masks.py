"""Is the mask the road? SAM2's masks of held-out clips against the road that the world rendered.

    .venv/bin/python simworld/benchmarks/tiny_masks.py [--checkpoints resources/tiny] [--clips 20] [--frames 33]

Each clip goes through H.264 and through the pipeline's own segmenter: nine points in the first frame, then memory.
Intersection over union with the true road, of the first frame, of all that follow, and of the last; a row each for
clips with and without a slower car ahead. "worst" is the lowest IoU of any single frame.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import cv2
import numpy as np

from relane import cli
from relane.io.masks import overlay
from relane.io.video import read_frames, write_video
from relane.noise import seed_of
from relane.road.segmentation import RoadSegmenter
from simworld.learning.pictures import any_attributes, rng_of
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene

FPS = 10


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--checkpoints", type=Path, default=Path(__file__).parents[2] / "resources/tiny", help="with sam2/ in it")
    add("--clips", type=int, default=20)
    add("--frames", type=int, default=33, help="frames a clip (default: %(default)s)")
    add("--picture", help="PNG: first, middle and last frame of six clips under their masks")
    add("--device", default="cpu")
    return options


def iou(mask: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) bool."""
    return float((mask & true).sum() / max((mask | true).sum(), 1))


def main(argv: list[str] | None = None) -> None:
    """Render, segment, compare, print."""
    args = parser().parse_args(argv)
    segmenter = RoadSegmenter(args.checkpoints / "sam2", args.device, "float32", False)
    found: dict[bool, list[list[float]]] = {True: [], False: []}
    rows = []
    for number in range(args.clips):
        rng, slower = rng_of("judge", "masks", number), number % 2 == 0
        scene = Scene(seed_of("judge", "masks", number), any_attributes(rng), slower_car=slower)
        start = float(rng.uniform(0, 13.5 - args.frames / FPS))
        true = [scene.render(FRONT_WIDE, start + index / FPS) for index in range(args.frames)]
        with tempfile.TemporaryDirectory() as folder:
            write_video(Path(folder) / "clip.mp4", (frame.image for frame in true), FPS)
            frames = read_frames(Path(folder) / "clip.mp4")
        masks = list(segmenter.video(frames))
        found[slower].append([iou(mask, frame.road_mask) for mask, frame in zip(masks, true, strict=True)])
        if len(rows) < 6:
            rows.append(np.hstack([overlay(frames[at], masks[at]) for at in (0, args.frames // 2, -1)]))
    print(f"{args.clips} held-out clips of {args.frames} frames, IoU with the true road")
    print(f"{'':20}{'first':>8}{'after':>8}{'last':>8}{'worst':>8}{'clips':>7}")
    for name, part in (("slower car", found[True]), ("free road", found[False]), ("all", found[True] + found[False])):
        if part:
            each = np.array(part)
            cells = each[:, 0].mean(), each[:, 1:].mean(), each[:, -1].mean(), each.min()
            print(f"{name:20}" + "".join(f"{value:8.3f}" for value in cells) + f"{len(part):7}")
    if args.picture:
        cv2.imwrite(args.picture, np.vstack(rows)[..., ::-1])


if __name__ == "__main__":
    cli.run(main)
