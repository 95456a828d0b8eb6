"""The mask that a row is trained with: what painting would repaint of the same picture, by the same settings."""

import numpy as np

from relane.config.sections.region import Region


def is_road(caption: dict) -> bool:
    """Whether a row's mask is the road as SAM2 found it, by the record beside its caption.

    So are those of frames of videos; masks that came with a user's own pictures are what the user wants painted.
    """
    return "video" in caption and "frame" in caption


def select(image: np.ndarray, road: np.ndarray, how: Region) -> np.ndarray:
    """The part of a road mask (H, W) bool that is repainted in its picture (H, W, 3) uint8: bool (H, W).

    As in painting, but from one picture, where a clip has its neighbours to see a line in. Where the corridor is
    empty, it is the whole road.
    """
    from relane.io.masks import grow
    from relane.road.regions import corridor_region

    if how.region == "corridor":
        _, masks = corridor_region([image], road[None], how, how.dilate_size)
        mask = next(iter(masks))
        if mask.any():
            return mask
    return grow(road, how.dilate_size)
