"""How much of a road's paint a region misses, judged by the picture alone: no vanishing point, no grid, no lines.

The corridor stands on a model of the road (flat, seen from a known height, towards one vanishing point). Where that is
wrong it lies beside the paint, and its own figures cannot tell. Paint is long, thin and lighter or yellower than the
asphalt on both of its sides, whatever the camera: that is looked for here, everywhere on the road mask.
"""

from collections.abc import Iterable

import cv2
import numpy as np

NECKS = (4, 8, 16, 32)  # pixels to either side at which paint is compared with the asphalt: for lines up to 50 wide
PAINT = 40.0  # grey levels above the asphalt from which on a stripe counts in full
LEAST = 0.5  # of that, for a pixel to count at all
LENGTH, THIN = 12, 3.0  # a stripe is this many pixels long, and this many times as long as it is thick
ENOUGH = 40  # pixels of stripes, below which a frame says nothing
EDGE = 2  # pixels at the mask's border that are not judged: kerbs and the sides of vehicles


def stripes(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Where a picture (H, W, 3) uint8 RGB shows line-like paint on its road mask (H, W) bool: (H, W) bool.

    Light is L = (R + G) / 2 plus its excess over B, as in `lane_grid.paint`; a ridge min(L - left, L - right)
    is taken at several widths, and of what is left the pieces that are long and thin count.
    """
    channels = frame.astype(np.float32)
    warm = (channels[..., 0] + channels[..., 1]) / 2
    light = warm + np.maximum(warm - channels[..., 2], 0)
    ridge = np.zeros_like(light)
    for neck in NECKS:
        if light.shape[1] > 2 * neck:
            middle = light[:, neck:-neck]
            beside = np.maximum(light[:, : -2 * neck], light[:, 2 * neck :])
            ridge[:, neck:-neck] = np.maximum(ridge[:, neck:-neck], middle - beside)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((2 * EDGE + 1, 2 * EDGE + 1), np.uint8), borderValue=1) > 0
    if not inner.any():
        return inner
    # Paint stands out from this asphalt's own grain.
    grain = 3 * float(np.median(np.abs(ridge[inner])))
    bright = inner & (ridge - grain >= LEAST * PAINT)
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(bright.astype(np.uint8), connectivity=8)
    long = np.hypot(stats[:, cv2.CC_STAT_WIDTH], stats[:, cv2.CC_STAT_HEIGHT])
    thick = stats[:, cv2.CC_STAT_AREA] / np.maximum(long, 1)
    kept = (long >= LENGTH) & (long >= THIN * thick)
    kept[0] = False  # what is not bright
    return kept[pieces] if count > 1 else np.zeros_like(inner)


def outside_shares(found: Iterable[np.ndarray], regions: Iterable[np.ndarray]) -> np.ndarray:
    """Of each frame's stripes (H, W) bool the share that its region (H, W) bool misses: (T,), NaN where too few are."""
    shares = []
    for stripe, region in zip(found, regions, strict=True):
        total = np.count_nonzero(stripe)
        shares.append(np.count_nonzero(stripe & ~region) / total if total >= ENOUGH else np.nan)
    return np.array(shares)


def worst_stretch(shares: np.ndarray, window: int) -> float:
    """The largest mean share over 2 * window + 1 frames; 0 where no frame says anything."""
    means = [0.0]
    for index in range(len(shares)):
        near = shares[max(0, index - window) : index + window + 1]
        near = near[~np.isnan(near)]
        means.append(float(near.mean()) if len(near) else 0.0)
    return max(means)


def summary(shares: np.ndarray) -> dict[str, float | int | None]:
    """`outside_share` of a record: of the first frame, on average, at most, and in how many frames paint was seen."""
    seen = shares[~np.isnan(shares)]
    return {
        "first": None if not len(shares) or np.isnan(shares[0]) else round(float(shares[0]), 4),
        "mean": round(float(seen.mean()), 4) if len(seen) else None,
        "max": round(float(seen.max()), 4) if len(seen) else None,
        "frames_with_paint": len(seen),
    }
