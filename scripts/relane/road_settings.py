"""How the road is asked for and its mask cleaned: sam2's settings, which planning checks too."""

import json
from dataclasses import dataclass

from relane.errors import InputError

Point = tuple[float, float]

# Relative (x, y) from the top left, on the road ahead of a forward camera: the ego lane, near to far, and the near
# parts of its neighbours. Three of them are the thesis's; the last lies just above where a bonnet would be.
POINTS: tuple[Point, ...] = (
    (0.5, 0.85),
    (0.4, 0.75),
    (0.6, 0.75),
    (0.5, 0.7),
    (0.3, 0.85),
    (0.7, 0.85),
    (0.45, 0.8),
    (0.55, 0.8),
    (0.5, 0.92),
)


def parse_points(text: str, key: str) -> list[Point]:
    """Points from JSON `[[x, y], ...]`, each in 0..1. Raises InputError that names the key and the point."""
    try:
        points = json.loads(text)
        pairs = [(float(x), float(y)) for x, y in points]
    except (TypeError, ValueError):
        raise InputError(f"{key}: expected a JSON list of [x, y] pairs, got {text!r}") from None
    for pair in pairs:
        if not all(0 <= value <= 1 for value in pair):
            raise InputError(f"{key}: {list(pair)} lies outside the picture; points are fractions of it, 0 to 1")
    return pairs


@dataclass(frozen=True)
class Cleaning:
    """What is done to SAM2's mask: the settings of `clean`.

    close_holes: a hole at most this many pixels wide, of any length, is filled (a lane line, not a vehicle).
    dilate: side in pixels of the square by which the mask grows at the end; 0 for none.
    bonnet: fraction of the picture's height, at the bottom, that is never road.
    """

    close_holes: int = 15
    dilate: int = 0
    bonnet: float = 0.0

    def __post_init__(self) -> None:
        for key in ("close_holes", "dilate"):
            if getattr(self, key) < 0:
                raise InputError(f"sam2.{key}: must be 0 or more pixels, got {getattr(self, key)}")
        if not 0 <= self.bonnet < 1:
            raise InputError(f"sam2.bonnet: must be a fraction of the height, 0 to below 1, got {self.bonnet}")


CLEANING = Cleaning()


@dataclass(frozen=True)
class Corridor:
    """Settings of a corridor: its width around each line's middle, in metres or (unit px) pixels of the clip.

    camera_height: metres above the road; it sets the scale, so an error of 10 % is one of 10 % in the width.
    """

    width: float = 1.0
    unit: str = "m"
    camera_height: float = 1.5

    def __post_init__(self) -> None:
        if self.unit not in ("m", "px"):
            raise InputError(f"region.corridor_unit: expected m or px, got {self.unit!r}")
        for key in ("width", "camera_height"):
            if not getattr(self, key) > 0:
                name = "corridor_width" if key == "width" else key
                raise InputError(f"region.{name}: must be above 0, got {getattr(self, key)}")
