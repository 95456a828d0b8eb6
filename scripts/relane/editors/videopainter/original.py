"""The original's ways, quirks included, of which ours are the repairs: what `mode: exact` runs in their place."""

import math
from typing import Any

import numpy as np

from relane.editors.videopainter.windows import FRAMES_PER_LATENT, WindowSchedule, check_length, with_latents
from relane.errors import InputError

# Its scripts' defaults, by the names of `options.Options`.
CHOICES: dict[str, Any] = {
    "num_inference_steps": 50,
    "stride": 49,
    "tail": "drop",
    "join": "latent_average",
    "handover": "latent",
    "guidance": "original_dynamic",
    "mask_latents": "nearest",
    "background": "black_holes",
    "previous_mask": "overwritten",
    "rotary_base": "480x720",
}
# The height and width in latent patches in whose units it counts positions, whatever the checkpoint's own are.
ROTARY_BASE = (30, 45)


def original_schedule(frames: int, length: int, stride: int) -> WindowSchedule:
    """The original's windows: every `stride` frames from 0, and frames beyond the last whole window are dropped.

    In latents the windows overlap by (length - stride) // 4 + 1, or 1 at stride >= length; the latent video of an
    even count of latents decodes to 4 frames a latent, of an odd count to one less group: its length is `frames`.
    """
    check_length(frames, length)
    if stride < 1:
        raise InputError(f"stride {stride}: must be at least 1")
    count = (frames - length) // stride + 1
    overlap = (length - stride) // FRAMES_PER_LATENT + 1 if stride < length else 1
    made = with_latents(0, length, tuple(index * stride for index in range(count)), overlap)
    decoded = made.latents * FRAMES_PER_LATENT
    return WindowSchedule(
        decoded - 3 if made.latents % 2 else decoded, length, made.starts, made.latent_starts, made.latents
    )


def dynamic_scale(scale: float, timestep: float, steps: int) -> float:
    """The guidance scale of a step. The formula is made for a step's number, and is given its timestep (0 to 999)."""
    phase = math.pi * ((steps - timestep) / steps) ** 5.0
    return 1 + scale * ((1 - math.cos(phase)) / 2)


def black_holes(frames: np.ndarray, masks: np.ndarray, keep_first: bool) -> np.ndarray:
    """Frames (F, H, W, 3) uint8 with black where masks (F, H, W) bool are True; with `keep_first` but for frame 0."""
    holes = masks.copy()
    if keep_first:
        holes[0] = False
    return np.where(holes[..., None], np.uint8(0), frames)
