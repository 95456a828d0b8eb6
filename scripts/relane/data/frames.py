"""Frames of a recorded camera by time: which one stands for an instant. Times are int64 microseconds."""

from dataclasses import dataclass

import numpy as np

from relane.errors import UndrivableError

# Time stamps are rounded to whole microseconds, and cameras jitter by less than a millisecond.
JITTER_US = 1_000


@dataclass(frozen=True)
class Frames:
    """Frames picked by time: images (H, W, 3) uint8 RGB, the times wanted and got, and the camera's frame period."""

    images: list[np.ndarray]
    wanted_us: list[int]
    t_us: list[int]
    period_us: float

    @property
    def error_us(self) -> list[int]:
        """Got minus wanted, microseconds."""
        return [got - wanted for got, wanted in zip(self.t_us, self.wanted_us, strict=True)]


def pick(times_us: np.ndarray, wanted_us: list[int], choice: str = "before") -> np.ndarray:
    """Index (N,) of the frame for each wanted time among increasing times.

    before: the last one that is not after it, as the data set's own loader takes it
    (physical_ai_av.video.VideoReader.decode_images_from_timestamps); the first one where all are after it.
    nearest: the nearest one, of two equally near the earlier.
    """
    times, wanted = np.asarray(times_us), np.asarray(wanted_us)
    if choice == "before":
        return np.maximum(np.searchsorted(times, wanted, side="right") - 1, 0)
    return np.abs(times[None] - wanted[:, None]).argmin(axis=1)


def refuse_short(times_us: np.ndarray, wanted_us: list[int], choice: str, label: str) -> None:
    """Raise UndrivableError where a further frame would have to stand at or before the last of the wanted times."""
    length = period(times_us)
    # A frame is shown until the next is due; the nearest one serves half a period to either side.
    served = length - JITTER_US if choice == "before" else length / 2 + JITTER_US
    if times_us[-1] + served < wanted_us[-1]:
        raise UndrivableError(
            f"{label}: its last frame is at {times_us[-1]} us and does not reach t0_us {wanted_us[-1]}; use a longer "
            "video, clip.anchor t0, or an earlier t0_us"
        )


def period(times_us: np.ndarray) -> float:
    """The usual distance between frames in microseconds; 100 ms for a single frame."""
    return float(np.median(np.diff(times_us))) if len(times_us) > 1 else 100_000.0
