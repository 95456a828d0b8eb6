"""Pictures of the synthetic world to learn from, rendered by all cores.

Training scenes are keyed by ("learning", what, seed, number), held-out ones by ("judge", ...): they never meet.
"""

import itertools
import math
import multiprocessing
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from relane import noise
from relane.io.masks import grow
from relane.prompts.lanes import Attributes
from simworld.world.rig import FRONT_TELE, FRONT_WIDE
from simworld.world.scene import Scene

ALL = [
    Attributes(*values) for values in itertools.product(("single", "double"), ("white", "yellow"), ("solid", "dashed"))
]
ROAD_FRAMES = 6
VERSIONS = 4  # markings under which each of `marked_moments` is seen
PAINT_SIZE = (160, 240)  # height and width that the painter and the video model paint
CLIP_FRAMES = 17  # a window of the video model
CLIP_STEP = 0.1  # seconds


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


class Crop:
    """A part of the frame at PAINT_SIZE, as the pipeline's boxes lie: mostly full width, more sky than there is."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.width = int(rng.uniform(0.9, 1.0) * width if rng.random() < 0.85 else rng.uniform(0.75, 0.9) * width)
        if rng.random() < 0.4:
            self.width = width
        self.height = math.ceil(self.width * PAINT_SIZE[0] / PAINT_SIZE[1])
        self.left = int(rng.integers(width - self.width + 1))
        # The road reaches the frame's lower edge, so the box does; what it has too much repeats the sky's edge.
        self.above = max(self.height - height, 0)
        self.top = height - self.height + self.above

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The part of a picture (H, W[, 3]) uint8, averaged down to PAINT_SIZE."""
        part = image[self.top :, self.left : self.left + self.width]
        part = cv2.copyMakeBorder(part, self.above, 0, 0, 0, cv2.BORDER_REPLICATE)
        return cv2.resize(part, PAINT_SIZE[::-1], interpolation=cv2.INTER_AREA)

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """The part of a mask (H, W) bool, True where any of its pixels is."""
        part = mask[self.top :, self.left : self.left + self.width].astype(np.uint8) * 255
        part = cv2.copyMakeBorder(part, self.above, 0, 0, 0, cv2.BORDER_CONSTANT, value=0)
        return cv2.resize(part, PAINT_SIZE[::-1], interpolation=cv2.INTER_AREA) > 0


def lines_to_cover(rng: np.random.Generator, scene: Scene) -> list[tuple[float, float]]:
    """Corridors (d of the middle, width, metres) over a road's lines, about as wide and as exact as ours are found.

    The line at d = 0 is always covered, one of the others sometimes not.
    """
    lanes = scene.road.lanes
    inner = [k * lanes.width for k in range(-(lanes.right - 1), lanes.left)]
    width = rng.uniform(0.9, 1.6)
    lines = [d for d in (*inner, *lanes.edges) if d == 0 or rng.random() < 0.93]
    return [(d + rng.normal(0, 0.1), width * rng.uniform(0.9, 1.2)) for d in lines]


def corridor(scene: Scene, t: float, lines: list[tuple[float, float]], road: np.ndarray) -> np.ndarray:
    """The corridors as the front wide camera sees them at t, inside the road mask: (H, W) bool."""
    drawn = np.zeros(road.shape, np.uint8)
    s = scene.drive.at(t)[0] + np.geomspace(1.2, 130.0, 60)
    for middle, width in lines:
        sides = []
        for d in (middle - width / 2, middle + width / 2):
            pixels, _ = scene.project_road(FRONT_WIDE, t, s, np.full_like(s, d))
            sides.append(pixels[np.isfinite(pixels).all(1)])
        outline = np.concatenate([sides[0], sides[1][::-1]])
        cv2.fillPoly(drawn, [np.rint(outline * 16).astype(np.int32)], 1, shift=4)
    return (drawn > 0) & road


def painted_moments(key: tuple, moments: int = 3, targets: int = 2) -> dict[str, np.ndarray]:
    """One place for the painter: `source` (M, h, w, 3), `target` (M, K, h, w, 3) uint8, `marking` (M, K, h, w),
    `corridor`, `road` (M, h, w) bool, `asked` (M, K) index into ALL; h, w is PAINT_SIZE."""
    rng = rng_of(*key)
    scene = Scene(noise.seed_of(*key, "scene"), any_attributes(rng), slower_car=bool(rng.random() < 0.4))
    rows: dict[str, list] = {name: [] for name in ("source", "target", "marking", "corridor", "road", "asked")}
    for _ in range(moments):
        t = float(rng.uniform(0, 12))
        crop, frame = Crop(rng, scene.height, scene.width), scene.render(FRONT_WIDE, t)
        asked = rng.choice(len(ALL), targets, replace=False)
        others = [repainted(scene, ALL[number]).render(FRONT_WIDE, t) for number in asked]
        lines = corridor(scene, t, lines_to_cover(rng, scene), frame.road_mask)
        grown = cv2.dilate(frame.road_mask.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        rows["source"].append(crop(frame.image))
        rows["target"].append(np.stack([crop(other.image) for other in others]))
        rows["marking"].append(np.stack([crop.mask(other.marking_mask) for other in others]))
        rows["corridor"].append(crop.mask(lines))
        rows["road"].append(crop.mask(grown))
        rows["asked"].append(asked)
    return {name: np.stack(values) for name, values in rows.items()}


def marked_moments(key: tuple, moments: int = 6) -> dict[str, np.ndarray]:
    """Moments of one drive, each under four markings, pixel-aligned.

    images (M, 4, H, W, 3) uint8; markings (M, 4) int64, indices into ALL: two pairs of a solid line and the same one
    dashed, so versions k and k ^ 1 differ in pattern alone. masks (M, 2, H, W) bool: the road, and a corridor around
    its lines, as the pipeline's masks are.
    """
    rng = rng_of(*key)
    first = any_attributes(rng)
    scene = Scene(
        noise.seed_of(*key, "scene"), first, slower_car=bool(rng.random() < 0.5), bonnet=bool(rng.random() < 0.1)
    )
    painted: dict[int, Scene] = {}
    rows: dict[str, list] = {"images": [], "markings": [], "masks": []}
    for _ in range(moments):
        t = float(rng.uniform(0, 13.5))
        solid = 2 * rng.choice(4, 2, replace=False)
        markings = np.array([solid[0], solid[0] + 1, solid[1], solid[1] + 1])
        for number in markings:
            if number not in painted:
                painted[number] = repainted(scene, ALL[number])
        frames = [painted[number].render(FRONT_WIDE, t) for number in markings]
        road = frames[0].road_mask
        grown = grow(road, int(rng.choice([0, 5])))
        lines = grow(corridor(scene, t, lines_to_cover(rng, scene), road), 5)
        rows["images"].append(np.stack([frame.image for frame in frames]))
        rows["markings"].append(markings)
        rows["masks"].append(np.stack([grown, lines & road]))
    return {name: np.stack(values) for name, values in rows.items()}


def painted_clips(key: tuple, clips: int = 3) -> dict[str, np.ndarray]:
    """Clips of one place for the video model: `video` (C, T, h, w, 3) uint8, `marking`, `hole` (C, T, h, w) bool,
    `asked` (C,) index into ALL. A hole is a corridor, in one clip of ten the whole road."""
    rng = rng_of(*key)
    attributes = [ALL[number] for number in rng.integers(len(ALL), size=clips)]
    first = Scene(noise.seed_of(*key, "scene"), attributes[0], slower_car=bool(rng.random() < 0.5))
    rows: dict[str, list] = {"video": [], "marking": [], "hole": []}
    for wanted in attributes:
        scene = repainted(first, wanted)
        start = float(rng.uniform(0, 14 - CLIP_FRAMES * CLIP_STEP))
        crop, lines, whole = Crop(rng, scene.height, scene.width), lines_to_cover(rng, scene), rng.random() < 0.1
        video, marking, holes = [], [], []
        for number in range(CLIP_FRAMES):
            t = start + number * CLIP_STEP
            frame = scene.render(FRONT_WIDE, t)
            hole = frame.road_mask if whole else corridor(scene, t, lines, frame.road_mask)
            video.append(crop(frame.image))
            marking.append(crop.mask(frame.marking_mask))
            holes.append(crop.mask(hole))
        for name, values in (("video", video), ("marking", marking), ("hole", holes)):
            rows[name].append(np.stack(values))
    return {name: np.stack(values) for name, values in rows.items()} | {
        "asked": np.array([ALL.index(one) for one in attributes])
    }


def gathered(function: Callable[[tuple], dict[str, np.ndarray]], keys: list[tuple], cache: Path, workers: int) -> dict:
    """What `function` renders for all keys, joined along the first axis; kept in the folder `cache`, so
    that a training that is started again does not render again."""
    names = sorted(cache.glob("*.npy")) if (cache / "complete").is_file() else []
    if names:
        return {path.stem: np.load(path, mmap_mode="r") for path in names}
    parts = list(rendered(function, keys, workers))
    cache.mkdir(parents=True, exist_ok=True)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    for name, values in joined.items():
        np.save(cache / f"{name}.npy", values)
    (cache / "complete").touch()
    return joined
