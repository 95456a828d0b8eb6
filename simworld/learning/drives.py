"""Moments of drives to learn from: what the four cameras show, where the car came from, and how it goes on.

Up to the moment at which the driver notices the slower car its drive is the same whatever the markings. So one moment
serves several paintings of the front wide camera, each with the path that belongs to it; the other cameras are
rendered once, with any markings, because an edit changes the front wide camera alone: they must not matter.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from relane import noise
from relane.drivers.alpamayo.action_space import initial_speed
from relane.io.files import atomic_file
from relane.prompts.lanes import Attributes
from simworld.learning.pictures import ALL, any_attributes, rendered, resized, rng_of
from simworld.world.driver import Drive, may_cross
from simworld.world.rig import FOUR_CAMERAS, FRONT_WIDE
from simworld.world.scene import Scene

SIZE = (224, 128)  # width and height to which the image processor scales 320 x 180 under `driving.PIXELS`
BACK = (-0.3, -0.2, -0.1, 0.0)  # seconds from t0 of the four frames of a camera
REST = tuple(camera for camera in FOUR_CAMERAS if camera != FRONT_WIDE)
MOMENTS, PAINTINGS = 4, 4  # of a scene, and of a moment
STEPS = 64
_CROSSED = [one for one in ALL if may_cross(one)]
_KEPT = [one for one in ALL if not may_cross(one)]
# The driver's words tell what it is about to do if that is decided by what is in sight, seconds.
FORESIGHT = 4.0


def ego(drive: Drive, t0: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """History (16, 3), its rotations (16, 3, 3), actions (64, 2) that lead along the future, and its path (64, 2).

    Rig frame at t0, metres, float32; actions are acceleration in m/s2 and curvature in 1/m. The unicycle that starts
    with the speed estimated from the history drives along the path with them.
    """
    times = t0 + 0.1 * np.arange(-15, STEPS + 1)
    x0, y0, yaw = (np.interp(t0, drive.t, values) for values in (drive.x, drive.y, drive.heading))
    x, y, heading, speed = (
        np.interp(times, drive.t, values) for values in (drive.x - x0, drive.y - y0, drive.heading - yaw, drive.speed)
    )
    c, s = np.cos(yaw), np.sin(yaw)
    xy = np.stack([x * c + y * s, y * c - x * s], -1)
    history = np.concatenate([xy[:16], np.zeros((16, 1))], 1).astype(np.float32)
    rotation = np.zeros((16, 3, 3), np.float32)
    rotation[:, 0, 0] = rotation[:, 1, 1] = np.cos(heading[:16])
    rotation[:, 1, 0] = np.sin(heading[:16])
    rotation[:, 0, 1], rotation[:, 2, 2] = -rotation[:, 1, 0], 1
    speed = np.concatenate([[float(initial_speed(history, rotation, 0.1))], speed[16:]])
    acceleration = np.diff(speed) / 0.1
    way = speed[:-1] * 0.1 + acceleration * 0.005
    curvature = np.diff(heading[15:]) / np.maximum(way, 0.05)
    actions = np.stack([acceleration, curvature], -1)
    return history, rotation, actions.astype(np.float32), xy[16:].astype(np.float32)


def look(scene: Scene, camera: str, t0: float) -> np.ndarray:
    """The camera's four frames at t0 as the model reads them: (4, 128, 224, 3) uint8."""
    return np.stack([resized(scene.image(camera, t0 + back), *SIZE) for back in BACK])


def _painted(scene: Scene, attributes: Attributes, place: Scene) -> Scene:
    """The same drive with other markings; sky and scenery, which take the longest to make, are those of `place`."""
    other = scene.repainted(attributes)
    for name in ("_panorama", "_scenery", "look", "road"):
        other.__dict__[name] = getattr(place, name)
    other.__dict__["traffic"] = scene.traffic
    return other


def moments(key: tuple) -> dict[str, np.ndarray]:
    """M = 4 moments of one place, P = 4 paintings each.

    wide (M, P, 4, 128, 224, 3) uint8; rest (M, 3, 4, 128, 224, 3) uint8, cameras as in REST; history, rotation as
    `ego`; actions (M, 2, 64, 2) for staying in lane and for a line that may be crossed; marks (M, P, 3) bool: double,
    yellow, dashed; acts (M,) bool: a slower car decides what comes next. Two paintings may be crossed, two not.
    """
    rng = rng_of(*key)
    seed = noise.seed_of(*key, "scene")
    place: Scene | None = None
    found: dict[str, list] = {name: [] for name in ("wide", "rest", "history", "rotation", "actions", "marks", "acts")}
    for _ in range(MOMENTS):
        slower, early = bool(rng.random() < 0.8), bool(rng.random() < 0.2)
        # A scene puts its slower car where the driver notices it 0.2 to 1 s after t0_s, as at run time.
        t0 = float(rng.uniform(2.5, 8.0))
        scene = Scene(seed, _KEPT[0], slower_car=slower, t0_s=t0, seconds=t0 + 6.5)
        place = place or scene
        drives = [scene.drive, scene.driven(_CROSSED[0]).drive if slower else scene.drive]
        notices = scene.drive.noticed_s if slower else np.inf
        if slower and early:
            t0 = max(1.6, notices - float(rng.uniform(1.0, 5.0)))
        kept = rng.choice(len(_KEPT), 2, replace=False)
        paintings = [*_CROSSED, *(_KEPT[k] for k in kept)]
        found["wide"].append(np.stack([look(_painted(scene, one, place), FRONT_WIDE, t0) for one in paintings]))
        others = _painted(scene, any_attributes(rng), place)
        found["rest"].append(np.stack([look(others, camera, t0) for camera in REST]))
        history, rotation, _, _ = ego(drives[0], t0)
        found["history"].append(history)
        found["rotation"].append(rotation)
        found["actions"].append(np.stack([ego(drive, t0)[2] for drive in drives]))
        marks = [(one.count == "double", one.color == "yellow", one.pattern == "dashed") for one in paintings]
        found["marks"].append(np.array(marks))
        found["acts"].append(notices - t0 < FORESIGHT)
    return {name: np.stack(values) for name, values in found.items()}


def _write(folder: Path, key: tuple) -> Path:
    path = folder / f"{key[-1]:05d}.npz"
    if not path.is_file():
        values = moments(key)
        with atomic_file(path) as partial:
            np.savez(partial, **values)
    return path


def written(folder: Path, seed: int, count: int, workers: int) -> Iterator[Path]:
    """The files of `count` scenes in `folder`, rendered where they are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = [("learning", "drives", seed, number) for number in range(count)]
    yield from rendered(functools.partial(_write, folder), keys, workers)
