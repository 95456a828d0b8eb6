"""Driving data sets: what a driver and a drawing need of a recorded clip, and where each kind of data set is read.

A data set is a module (or package) of its own, named in DATA_SETS and imported only where a clip of it is opened: a
change of one leaves alone what was made of the others. Importing it loads the standard library alone, because clips are
planned with it. At its top it has

    open_clip(root, clip_id) -> DrivingClip; raises InputError where the root is no such data set, UndrivableError where
                                it has no such clip
    clip_ids(root)           -> the ids of the clips with ego motion, or None where only the network could tell
    content(root, clip_id, cameras) -> what tells the content of all that driving reads of a clip: a digest, a revision
    times_content(root, clip_id, camera)  -> the same of the times of a camera's frames; "" where its video tells them
    check(root, clip_id, cameras)   raises UndrivableError for what planning can see to be wrong with a clip

The clip sheet's column `pai_root` and the flags `--pai-root` name the root: a folder, or an address.
"""

import functools
import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

from relane.errors import UndrivableError

if TYPE_CHECKING:
    import numpy as np

    from relane.data.camera import RigCamera
    from relane.data.ego import Vehicle
    from relane.data.frames import Frames

# Module -> the scheme of its addresses, and the files by which a local folder is known as one of its kind.
DATA_SETS = {
    "relane.data.mp4_folder": ("mp4", ("*.ego.csv", "*.ego.json")),
    "relane.data.physical_ai_av": ("hf", ("features.csv", "datasets--*/snapshots/*/features.csv")),
}
OTHERWISE = "relane.data.physical_ai_av"  # it says what it misses


class DrivingClip(Protocol):
    """One clip of a data set.

    Times are int64 microseconds on the clip's own clock, which its cameras and its ego motion share. Poses are those of
    the rig, whose origin is on the ground below the rear axle, x forward, y left, z up, in metres, and in the rig frame
    at t0. What a clip lacks raises UndrivableError, a damaged file InputError; both name the file.
    """

    clip_id: str

    def frames(self, camera: str, wanted_us: list[int], choice: str = "before") -> "Frames":
        """The camera's frame for each wanted time, by `relane.data.frames.pick`."""
        ...

    def times(self, camera: str) -> "np.ndarray | None":
        """The times of the camera's frames (N,) int64; None where the data set has no such camera of this clip."""
        ...

    def history(self, t0_us: int, offsets_us: Sequence[int]) -> tuple["np.ndarray", "np.ndarray"]:
        """Poses at these times from t0, the last 0: xyz (N, 3) and rot (N, 3, 3) float32; the last is the origin."""
        ...

    def future(self, t0_us: int, offsets_us: Sequence[int]) -> tuple["np.ndarray", "np.ndarray"]:
        """Poses at these times from t0, all later: xyz (N, 3) and rot (N, 3, 3) float32."""
        ...

    def poses(self, t0_us: int, times_us: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
        """Where the rig is at any times (N,): xyz (N, 3) and rot (N, 3, 3) float32."""
        ...

    @property
    def span(self) -> tuple[int, int]:
        """First and last time of the ego motion."""
        ...

    def camera(self, camera: str) -> "RigCamera | None":
        """The calibrated camera at its calibrated size; None where the clip has no calibration of it."""
        ...

    def vehicle(self) -> "Vehicle | None":
        """The vehicle's true dimensions; None where the clip has none."""
        ...


@functools.cache
def module_name(root: str | Path) -> str:
    """The module that reads a root, by its scheme or by what lies in it; of the code of a stage that opens a clip."""
    scheme, sign, _ = str(root).partition("://")
    for module, (own, marks) in DATA_SETS.items():
        if scheme == own if sign else any(any(Path(root).glob(mark)) for mark in marks):
            return module
    return OTHERWISE


def data_set(root: str | Path) -> ModuleType:
    """The module that reads a root."""
    return importlib.import_module(module_name(root))


def faults(clips: Iterable[tuple[str, str]], cameras: Sequence[str]) -> list[UndrivableError]:
    """Why clips, each (root, clip id), cannot be shown to a driver of these cameras, as far as planning can see it."""
    found = []
    for root, clip_id in clips:
        try:
            data_set(root).check(root, clip_id, cameras)
        except UndrivableError as error:
            found.append(error)
    return found


def open_clip(root: str | Path, clip_id: str) -> DrivingClip:
    """One clip of the data set at a root. Raises as the data set's own `open_clip`."""
    return data_set(root).open_clip(root, clip_id)
