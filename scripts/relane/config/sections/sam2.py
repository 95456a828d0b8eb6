"""Section `sam2`: road masks (scripts/segment_road.py, scripts/dataset_frames.py)."""

from typing import Annotated, Literal

from pydantic import Field

from relane.config.option import Dtype, Pixels, Section, Share, option
from relane.errors import InputError

# Relative (x, y) from the top left.
Point = tuple[float, float]
Pair = Annotated[list[Share], Field(min_length=2, max_length=2)]

# On the road ahead of a forward camera: the ego lane, near to far, and the near parts of its neighbours. Three of them
# are the thesis's; the last lies just above where a bonnet would be.
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


class Sam2(Section, key="sam2"):
    """Road masks (`scripts/segment_road.py`). The dataset stage finds the road with the same settings."""

    points: list[Pair] = option(
        [list(point) for point in POINTS], "Points on the road, x and y as fractions of the picture."
    )
    negative_points: list[Pair] = option([], "Points that are not road, such as the car's own bonnet.")
    close_holes: Pixels = option(
        15, "Close gaps in the mask up to this many pixels wide, of any length: a lane line, not a vehicle."
    )
    dilate: Pixels = option(0, "Grow the road mask by a square of this side; 0: not.")
    bonnet: float = option(0.0, "Bottom fraction of the picture that is never road.", ge=0, lt=1)
    min_coverage: Share = option(
        0.01,
        "A clip with less road than this fraction of the picture is reported and skipped by name. A frame of a dataset "
        "is dropped.",
    )
    vos_optimized: Literal["auto", True, False] = option(
        False,
        "Compile SAM2's parts, which takes minutes and pays off over many clips: `true`, or `auto` where CUDA allows.",
    )
    dtype: Dtype = option("bfloat16", "Arithmetic of the model.")

    def prompts(self) -> tuple[list[Point], list[Point]]:
        """The points on the road, and those off it."""
        return [(x, y) for x, y in self.points], [(x, y) for x, y in self.negative_points]

    def check(self) -> None:
        """SAM2 must be told where the road is."""
        if not self.points:
            raise InputError("sam2.points: at least one point on the road is needed")
