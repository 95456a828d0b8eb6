"""The mask that a row is trained with: what painting would repaint of the same picture, by the same settings."""

import argparse
from dataclasses import dataclass

import numpy as np

from relane.errors import InputError
from relane.road_settings import Corridor


@dataclass(frozen=True)
class Region:
    """The settings of scripts/select_region.py, under its names. Raises InputError on wrong ones."""

    region: str = "corridor"
    dilate_size: int = 24
    corridor_width: float = 1.0
    corridor_unit: str = "m"
    camera_height: float = 1.5

    def __post_init__(self) -> None:
        if self.dilate_size < 0:
            raise InputError(f"region.dilate_size: must be 0 or more pixels, got {self.dilate_size}")
        self.corridor()

    def corridor(self) -> Corridor:
        """What `corridor_region` takes."""
        return Corridor(self.corridor_width, self.corridor_unit, self.camera_height)

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Region":
        """The settings among a command line's flags."""
        return cls(**{name: getattr(args, name) for name in cls.__dataclass_fields__})


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
    from relane.masks import grow
    from relane.regions import corridor_region

    if how.region == "corridor":
        _, masks = corridor_region([image], road[None], how.corridor(), how.dilate_size)
        mask = next(iter(masks))
        if mask.any():
            return mask
    return grow(road, how.dilate_size)
