"""Between the source frame at its own size and the picture that a model paints.

A model paints one size (720x480 for CogVideoX-5b) or some. A `Region` says which part of the source frame that picture
shows; results are resized back and pasted into the source inside a feathered mask, so that every other pixel stays
the source's own. Frames are (H, W, 3) uint8 RGB, masks (H, W) bool, True = inpaint.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

Fit = Literal["crop", "letterbox", "squash"]
# Pixels of the source around the mask that the model sees at least, as a share of the frame's height.
CONTEXT = 0.06
# Pixels beside the mask that are compared to match colours, at least.
SEAM = 6


@dataclass(frozen=True)
class Region:
    """A box of the source frame, in source pixels; it may reach beyond the frame, where the edge is repeated.

    The model paints it at `model_height` x `model_width`.
    """

    left: int
    top: int
    width: int
    height: int
    model_width: int
    model_height: int

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The box (height, width[, 3]) out of a frame or mask; beyond the frame its edge repeats.

        A mask's edge repeats as the frame's does: the old markings that run on there are as much to be repainted as
        those inside.
        """
        rows, columns, inside = self._overlap(image.shape)
        box = np.ascontiguousarray(image[rows, columns])
        above, below = inside[0].start, self.height - inside[0].stop
        before, after = inside[1].start, self.width - inside[1].stop
        if not (above or below or before or after):
            return box
        return np.pad(box, ((above, below), (before, after), *[(0, 0)] * (image.ndim - 2)), mode="edge")

    def to_model(self, frame: np.ndarray) -> np.ndarray:
        """The box of a frame at the model's size, uint8."""
        return _resize(self.cut(frame), self.model_width, self.model_height)

    def mask_to_model(self, mask: np.ndarray) -> np.ndarray:
        """The box of a mask at the model's size, bool: True where any of the source pixels under a pixel is."""
        covered = _resize(self.cut(mask).astype(np.float32), self.model_width, self.model_height, cv2.INTER_LINEAR)
        return covered > 1e-6

    def to_source(self, painted: np.ndarray, frame: np.ndarray) -> np.ndarray:
        """A picture of the model (model_height, model_width, 3) uint8, laid over a copy of the source frame."""
        rows, columns, inside = self._overlap(frame.shape)
        result = frame.copy()
        result[rows, columns] = _resize(painted, self.width, self.height)[inside]
        return result

    def covers(self, shape: tuple[int, ...]) -> np.ndarray:
        """Which pixels of a frame of this shape lie in the box: (H, W) bool."""
        rows, columns, _ = self._overlap(shape)
        inside = np.zeros(shape[:2], bool)
        inside[rows, columns] = True
        return inside

    def _overlap(self, shape: tuple[int, ...]) -> tuple[slice, slice, tuple[slice, slice]]:
        """Rows and columns of the frame that the box shows, and the same pixels in the box."""
        top, left = max(self.top, 0), max(self.left, 0)
        bottom, right = min(self.top + self.height, shape[0]), min(self.left + self.width, shape[1])
        inside = slice(top - self.top, bottom - self.top), slice(left - self.left, right - self.left)
        return slice(top, bottom), slice(left, right), inside


def choose_region(union: np.ndarray, model_size: tuple[int, int], fit: Fit, margin: int = 0) -> Region:
    """The box to paint. `union` (H, W) bool: where any frame is masked; `model_size`: height, width.

    `squash`: the whole frame, its shape not kept (the original's way). `letterbox`: the whole frame in the model's
    shape, edges repeated. `crop`: the smallest box of the model's shape that holds the mask with context and
    `margin` pixels, never smaller than the model's own size where the frame allows it, inside the frame where it
    fits. No mask is ever cut off. An empty mask gives the letterbox.
    """
    height, width = union.shape
    model_height, model_width = model_size
    if fit == "squash":
        return Region(0, 0, width, height, model_width, model_height)
    aspect = model_width / model_height
    rows, columns = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    if fit == "letterbox" or not len(rows):
        top, bottom, left, right = 0, height, 0, width
        box_width: float = max(width, height * aspect)
    else:
        margin += round(CONTEXT * height)
        top, bottom = max(rows[0] - margin, 0), min(rows[-1] + 1 + margin, height)
        left, right = max(columns[0] - margin, 0), min(columns[-1] + 1 + margin, width)
        own = min(model_width, width, height * aspect)
        box_width = max(right - left, (bottom - top) * aspect, own)
    # Up to whole pixels, but not beyond a frame that the box just fills.
    box_width = math.ceil(round(box_width, 6))
    box_height = max(math.ceil(round(box_width / aspect, 6)), bottom - top)
    return Region(
        place(left, right, box_width, width),
        place(top, bottom, box_height, height),
        box_width,
        box_height,
        model_width,
        model_height,
    )


def place(low: int, high: int, length: int, limit: int) -> int:
    """Start of a stretch of `length` around [low, high), inside [0, limit) where it fits.

    A longer one reaches beyond the frame where the mask does not: a repeated edge of sky looks like sky, of road not
    like road. Where the mask touches both edges or neither it reaches beyond both alike.
    """
    if length > limit:
        at_start, at_end = low == 0, high == limit
        return (limit - length) // 2 if at_start == at_end else 0 if at_start else limit - length
    return int(min(max((low + high - length) // 2, 0), limit - length))


def _resize(image: np.ndarray, width: int, height: int, enlarge: int = cv2.INTER_CUBIC) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] >= height and image.shape[1] >= width
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else enlarge)


def feather(mask: np.ndarray, pixels: int, inward: bool = False) -> np.ndarray:
    """Weights (H, W) float32 of an edit, 1 in the mask and 0 far from it, with an even ramp of `pixels` at its edge.

    The ramp lies outside the mask, so that all of it is the edit's; or with `inward` inside it, so that nothing outside
    it ever changes. The frame's own edge is no edge of the mask. 0 pixels give a hard edge.
    """
    if pixels <= 0 or not mask.any():
        return mask.astype(np.float32)
    if inward:
        return np.clip(_distance(~mask) / (pixels + 1), 0, 1)
    return np.clip(1 - _distance(mask) / (pixels + 1), 0, 1)


def blend(frame: np.ndarray, edit: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`edit` over `frame` (H, W, 3) uint8, by weight (H, W); where it is 0 the frame stays to the last bit.

    `edit` (H, W, 3) may be uint8 or float32 in 0 to 255.
    """
    mixed = frame + weight[..., None] * (edit.astype(np.float32) - frame)
    return np.where(weight[..., None] > 0, np.rint(mixed), frame).astype(np.uint8)


def _distance(mask: np.ndarray) -> np.ndarray:
    """Euclidean distance of each pixel to the mask, in pixels; 0 inside it."""
    return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)


def seam_offset(
    source: np.ndarray, painted: np.ndarray, mask: np.ndarray, inside: np.ndarray, pixels: int
) -> np.ndarray:
    """Colour (3,) float32 to add to `painted` so that it meets `source` beside the mask: the median difference there.

    Both show the same background in that ring, so a difference is the model's own colour cast. `inside` (H, W) bool:
    where the model painted at all.
    """
    ring = inside & ~mask
    if mask.any():
        ring &= _distance(mask) <= max(pixels, SEAM)
    if not ring.any():
        return np.zeros(3, np.float32)
    return np.median(source[ring].astype(np.float32) - painted[ring].astype(np.float32), axis=0)


def paste(
    source: np.ndarray,
    painted: np.ndarray,
    mask: np.ndarray,
    region: Region,
    mask_feather: int = 8,
    color_match: bool = False,
) -> np.ndarray:
    """The source frame with the model's picture inside its feathered mask: (H, W, 3) uint8.

    `painted` (model_height, model_width, 3) uint8. Pixels outside the mask and its feather, or outside the region,
    are the source's own to the last bit.
    """
    laid = region.to_source(painted, source)
    inside = region.covers(mask.shape)
    weight = feather(mask, mask_feather) * inside
    change = laid.astype(np.float32)
    if color_match:
        change += seam_offset(source, laid, mask, inside, mask_feather)
    return blend(source, np.clip(change, 0, 255), weight)
