"""Pictures of the synthetic world to learn from, rendered by all cores.

Training scenes are keyed by ("learning", what, seed, number), held-out ones by ("judge", ...): they never meet.
"""

import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from PIL import Image

from relane import noise
from relane.lanes import Attributes
from relane.world.rig import FRONT_TELE, FRONT_WIDE
from relane.world.scene import Scene

ALL = [
    Attributes(*values) for values in itertools.product(("single", "double"), ("white", "yellow"), ("solid", "dashed"))
]
ROAD_FRAMES = 6


def rendered(function: Callable[[tuple], Any], keys: list[tuple], workers: int = 0) -> Iterator[Any]:
    """function(key) for every key, in order, by `workers` processes (0: one a core)."""
    workers = workers or os.cpu_count() or 1
    if workers == 1:
        yield from map(function, keys)
        return
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_one_thread) as pool:
        yield from pool.imap(function, keys, chunksize=8)


def _one_thread() -> None:
    cv2.setNumThreads(1)


def rng_of(*key: object) -> np.random.Generator:
    """A numpy generator keyed by what it is for."""
    return np.random.default_rng(noise.seed_of(*key))


def any_attributes(rng: np.random.Generator) -> Attributes:
    """One of the eight."""
    return ALL[rng.integers(len(ALL))]


def repainted(scene: Scene, attributes: Attributes) -> Scene:
    """`scene.repainted`, sharing the sky, the scenery and the traffic, which take the longest to make."""
    other = scene.repainted(attributes)
    for name in ("_panorama", "_scenery", "traffic"):
        other.__dict__[name] = getattr(scene, name)
    return other


def resized(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """(H, W, 3) uint8 to another size as the models' image processors do it: bicubic with antialiasing."""
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def road_clip(key: tuple) -> tuple[np.ndarray, np.ndarray]:
    """A short clip for SAM2: pictures (6, 256, 256, 3) uint8 and the true road (6, 256, 256) bool.

    Frames are 0.1 to 0.9 s apart, so that six of them also teach what 33 frames bring.
    """
    rng = rng_of(*key)
    slower = bool(rng.random() < 0.5)
    scene = Scene(noise.seed_of(*key, "scene"), any_attributes(rng), slower_car=slower, bonnet=bool(rng.random() < 0.1))
    camera = FRONT_TELE if rng.random() < 0.2 else FRONT_WIDE
    start, step = rng.uniform(0, 8.5), rng.choice([0.1, 0.1, 0.2, 0.4, 0.9])
    images, roads = [], []
    for number in range(ROAD_FRAMES):
        frame = scene.render(camera, start + number * step)
        images.append(resized(frame.image, 256, 256))
        road = cv2.resize(frame.road_mask.astype(np.float32), (256, 256), interpolation=cv2.INTER_LINEAR)
        roads.append(road > 0.5)
    return np.stack(images), np.stack(roads)
