"""How well the pixel judge reads lane lines: true pictures of unseen scenes, all eight markings, sharp and softened.

python simworld/benchmarks/judge.py --scenes 100
"""

import argparse
import collections
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

from relane import noise
from simworld.learning.pictures import ALL, rendered, repainted, rng_of
from simworld.world.judge import read_line
from simworld.world.rig import CAMERAS, FRONT_WIDE
from simworld.world.scene import Scene

NAMES = ("count", "color", "pattern")


def softened(image: np.ndarray, scale: float) -> np.ndarray:
    """A picture scaled down and up again."""
    height, width = image.shape[:2]
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def read_scene(key: tuple) -> collections.Counter:
    """Counts of one scene at one moment: (version, what) -> how often, over the eight markings."""
    camera = key[-1]
    rng = rng_of(*key)
    scene = Scene(noise.seed_of(*key), ALL[0], slower_car=bool(rng.random() < 0.5))
    t, counts = float(rng.uniform(0, 13)), collections.Counter()
    for painted in ALL:
        frame = repainted(scene, painted).render(camera, t)
        blurred = cv2.GaussianBlur(frame.image, (0, 0), 0.8)
        versions = {"true": frame.image, "blurred": blurred, "softened": softened(frame.image, 0.6)}
        for name, image in versions.items():
            seen = read_line(image, scene, camera, t, frame.road_mask)
            counts[name, "pictures"] += 1
            if seen is None:
                counts[name, "not in sight"] += 1
                continue
            for what in NAMES:
                counts[name, what] += getattr(seen, what) == getattr(painted, what)
            counts[name, "all"] += seen == painted
    return counts


def main(argv: list[str] | None = None) -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--scenes", type=int, default=100)
    options.add_argument("--camera", default=FRONT_WIDE, choices=CAMERAS)
    options.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    args = options.parse_args(argv)
    keys = [("judge", "benchmark", number, args.camera) for number in range(args.scenes)]
    total = sum(rendered(read_scene, keys, args.workers), collections.Counter())
    print(f"{args.scenes} scenes x {len(ALL)} markings, {args.camera}; per cent right where a line is found")
    columns = (*NAMES, "all")
    print(f"{'pictures':10}{'number':>8}{'no line':>9}" + "".join(f"{name:>9}" for name in columns))
    for version in ("true", "blurred", "softened"):
        number, absent = total[version, "pictures"], total[version, "not in sight"]
        shares = "".join(f"{100 * total[version, name] / max(number - absent, 1):9.1f}" for name in columns)
        print(f"{version:10}{number:8}{absent:9}{shares}")


if __name__ == "__main__":
    main()
