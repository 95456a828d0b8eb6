"""Ego motion of a clip, whatever table it was read from: poses at any time in the rig frame at t0."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from relane.errors import UndrivableError

if TYPE_CHECKING:
    from scipy.spatial.transform import RigidTransform

# Between rows further apart than this a pose would be made up: a step of the model's clock, or where a table is slower
# than that, thrice its usual step.
MAX_GAP_US, USUAL_STEPS = 100_000, 3


@dataclass(frozen=True)
class Vehicle:
    """Metres: length, width, height of the body, and how far its centre is ahead of the rear axle."""

    length: float
    width: float
    height: float
    ahead: float


@dataclass(frozen=True)
class EgoMotion:
    """times_us: (N,) int64, increasing; pose_at: times (M,) within them -> M poses of the rig in a fixed frame.

    file: the table, as messages name it.
    """

    times_us: np.ndarray
    pose_at: "Callable[[np.ndarray], RigidTransform]"
    file: str


class EgoMotionClip:
    """The part of a `relane.data.DrivingClip` that its ego motion makes; a subclass has `clip_id` and `ego`."""

    clip_id: str
    ego: EgoMotion

    def history(self, t0_us: int, offsets_us: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """See `DrivingClip`."""
        return self._recorded(t0_us, offsets_us, "history")

    def future(self, t0_us: int, offsets_us: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """See `DrivingClip`."""
        return self._recorded(t0_us, offsets_us, "future")

    def poses(self, t0_us: int, times_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `DrivingClip`."""
        return self._poses(t0_us, np.asarray(times_us, dtype=np.int64), "path")

    @property
    def span(self) -> tuple[int, int]:
        """See `DrivingClip`."""
        return int(self.ego.times_us[0]), int(self.ego.times_us[-1])

    def _recorded(self, t0_us: int, offsets_us: Sequence[int], what: str) -> tuple[np.ndarray, np.ndarray]:
        """Poses that a driver reads or is judged by: never interpolated over missing rows."""
        times = t0_us + np.asarray(offsets_us, np.int64)
        missing = gap(self.ego.times_us, int(times.min()), int(times.max()))
        if missing:
            start, stop = missing
            raise UndrivableError(
                f"clip {self.clip_id}: its egomotion in {self.ego.file} has no rows from {start} to {stop} us "
                f"({(stop - start) / 1e6:.2f} s), within the {what} of t0_us {t0_us}; choose another t0_us"
            )
        return self._poses(t0_us, times, what)

    def _poses(self, t0_us: int, times: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
        first, last = self.span
        if times.min() < first or times.max() > last:
            raise UndrivableError(
                f"clip {self.clip_id}: no ego motion around t0_us {t0_us}: its {what} needs {times.min()} to "
                f"{times.max()} us, {self.ego.file} has {first} to {last}; choose another t0_us"
            )
        pose, here = self.ego.pose_at(times), self.ego.pose_at(np.array([t0_us]))[0]
        relative = here.inv() * pose
        xyz, rot = relative.translation, relative.rotation.as_matrix()
        if not (np.isfinite(xyz).all() and np.isfinite(rot).all()):
            raise UndrivableError(f"clip {self.clip_id}: the ego motion {what} at t0_us {t0_us} holds NaN")
        return xyz.astype(np.float32), rot.astype(np.float32)


def gap(stamps_us: np.ndarray, first_us: int, last_us: int) -> tuple[int, int] | None:
    """The first interval within (first, last) that is too long without a row to interpolate over, or None.

    stamps_us: (N,) increasing. Too long is more than MAX_GAP_US, or than USUAL_STEPS of the table's usual steps.
    """
    steps = np.diff(stamps_us)
    limit = max(MAX_GAP_US, USUAL_STEPS * float(np.median(steps)))
    wide = np.flatnonzero((steps > limit) & (stamps_us[1:] > first_us) & (stamps_us[:-1] < last_us))
    return (int(stamps_us[wide[0]]), int(stamps_us[wide[0] + 1])) if len(wide) else None
