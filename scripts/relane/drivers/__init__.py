"""Driving models: what one is shown, what it answers, and which there are.

A driver is a module (or package) of its own, named in DRIVERS and imported only where it is needed: a change of one
leaves alone what the others made. Importing it loads neither torch nor a network. At its top it has

    CHECKPOINT      the key of `checkpoints` in the configuration that names its folder
    sight(options)  -> Sight; `options` are the configuration's `drive`, by name
    load(folder, device, dtype) -> Driver; the only place that may take minutes

Frame of reference: the rig's at t0, x forward, y left, z up, metres; its origin is on the ground below the rear axle.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    from relane.drivers.scene import Scene

# Name in paths, tables and the configuration -> module.
DRIVERS = {"alpamayo_r1": "relane.drivers.alpamayo"}


@dataclass(frozen=True)
class Sight:
    """What a driver is shown. Times are microseconds from t0, increasing; poses and waypoints are evenly spaced.

    cameras: in the order in which it reads them. frames: of each camera. history: of the rig's poses, the last 0.
    future: of the waypoints that it answers with.
    """

    cameras: tuple[str, ...]
    frames: tuple[int, ...]
    history: tuple[int, ...]
    future: tuple[int, ...]

    @property
    def frame_step_us(self) -> int:
        """The time between two frames of a camera; 0 where it sees one."""
        return self.frames[1] - self.frames[0] if len(self.frames) > 1 else 0

    @property
    def step_us(self) -> int:
        """The time between two waypoints."""
        return self.future[1] - self.future[0]


@dataclass(frozen=True)
class Answer:
    """What a driver says of one scene: K samples of T waypoints at `Sight.future`.

    xyz (K, T, 3) float32 and rot (K, T, 3, 3) float32 in the rig frame at t0; texts: the K replies by part, `cot` where
    it reasons; complete (K,) bool: the reply came to its end; record and arrays: what else goes into the rollout's JSON
    and NPZ; seconds by phase, of the whole call.
    """

    xyz: "np.ndarray"
    rot: "np.ndarray"
    texts: list[dict[str, str]]
    complete: "np.ndarray"
    record: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, "np.ndarray"] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Driver(Protocol):
    """A driving model in memory."""

    def sample(
        self,
        scenes: Sequence["Scene"],
        keys: Sequence[tuple],
        num_samples: int,
        options: Mapping[str, Any],
        words: Mapping[str, Any] | None = None,
    ) -> list[Answer]:
        """K sampled plans of each scene, all scenes in one batched call.

        keys: what the randomness of each scene is keyed by (see `relane.noise`); scenes with equal keys share it,
        sample by sample. options: as of `sight`. words: the record of the rollout whose words are to be thought instead
        of own ones; a driver without words refuses it. Raises InputError for what it cannot be shown, for numbers that
        are not finite, and where none of a scene's replies can be read.
        """
        ...


def driver_module(name: str) -> ModuleType:
    """The module of a driver, by its name in DRIVERS."""
    return importlib.import_module(DRIVERS[name])


def sights(config: Mapping[str, Any]) -> dict[str, Sight]:
    """What each driver of a run is shown, by name, from the run's configuration."""
    return {name: driver_module(name).sight(config["drive"]) for name in config["drivers"]}
