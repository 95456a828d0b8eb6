"""Window schedules: which frames each window paints, and how overlapping windows are joined. Pure functions."""

import math
from dataclasses import dataclass

import numpy as np

from relane.errors import InputError

# CogVideoX's VAE: latent 0 stands for frame 0, latent j > 0 for frames 4j-3 to 4j.
FRAMES_PER_LATENT = 4


@dataclass(frozen=True)
class WindowSchedule:
    """Windows of `length` frames that start at `starts`; `frames` is the length of the video that they make.

    `latent_starts` and `latents` place the windows in one latent video, as the original joins them.
    """

    frames: int
    length: int
    starts: tuple[int, ...]
    latent_starts: tuple[int, ...]
    latents: int

    def overlap(self, index: int) -> int:
        """Frames at the start of window `index` that the windows before it painted too."""
        return max(0, self.starts[index - 1] + self.length - self.starts[index]) if index else 0

    def step(self, index: int) -> int:
        """Frames from the start of window `index` to the start of the next; 0 for the last window."""
        return self.starts[index + 1] - self.starts[index] if index + 1 < len(self.starts) else 0


def latent_frames(frames: int) -> int:
    """How many latent frames stand for `frames` frames (49 frames: 13)."""
    return (frames - 1) // FRAMES_PER_LATENT + 1


def check_length(frames: int, length: int) -> None:
    """Raise InputError when a clip is shorter than one window, or the window's length does not fit the VAE."""
    if length < 1 or length % FRAMES_PER_LATENT != 1:
        raise InputError(f"window of {length} frames: the model needs a multiple of 4, plus 1 (49 for CogVideoX-5b)")
    if frames < length:
        raise InputError(f"the clip has {frames} frames; the video model needs at least {length} (one window)")


def anchored_schedule(frames: int, length: int, stride: int) -> WindowSchedule:
    """Windows that cover every frame; the last one ends with the clip.

    As few windows as `stride` allows, spread evenly, so that a short tail does not cost one window with almost
    nothing new in it. Every start but the last is a multiple of 4: windows group frames into latents alike.
    Raises InputError when the clip is shorter than a window or `stride` is not a multiple of 4 below `length`.
    """
    check_length(frames, length)
    if not 0 < stride < length or stride % FRAMES_PER_LATENT:
        raise InputError(
            f"stride {stride}: take a multiple of 4 from 4 to {(length - 1) // 4 * 4} (windows have {length} frames)"
        )
    rest = frames - length
    count = math.ceil(rest / stride) + 1
    starts = [_round_up(rest * index, count - 1) for index in range(count - 1)] + [rest]
    return with_latents(frames, length, tuple(starts), overlap=1)


def ramp(overlap: int) -> np.ndarray:
    """Weights of the new window over its `overlap` first frames, (overlap,) float32, rising strictly inside (0, 1)."""
    return (np.arange(1, overlap + 1, dtype=np.float32)) / (overlap + 1)


def weights(schedule: WindowSchedule) -> np.ndarray:
    """What each window counts for in each frame under ramp blending: (windows, frames) float64, columns sum to 1.

    Window by window, what is there fades out as the new one fades in, so the sum stays 1 however many overlap.
    """
    table = np.zeros((len(schedule.starts), schedule.frames))
    for index, start in enumerate(schedule.starts):
        overlap = schedule.overlap(index)
        fade_in = ramp(overlap).astype(np.float64)
        table[:, start : start + overlap] *= 1 - fade_in
        table[index, start : start + overlap] = fade_in
        table[index, start + overlap : start + schedule.length] = 1
    return table


def _round_up(numerator: int, denominator: int) -> int:
    """numerator / denominator, up to the next multiple of 4."""
    return -(-numerator // (denominator * FRAMES_PER_LATENT)) * FRAMES_PER_LATENT


def with_latents(frames: int, length: int, starts: tuple[int, ...], overlap: int) -> WindowSchedule:
    """A schedule whose windows overlap by `overlap` latents in one latent video."""
    window = latent_frames(length)
    latent_starts = tuple(index * (window - overlap) for index in range(len(starts)))
    return WindowSchedule(frames, length, starts, latent_starts, latent_starts[-1] + window)
