"""Section `region`: what is repainted (scripts/select_region.py), in painting as in training."""

from typing import ClassVar, Literal

from relane.config.option import Section, option


class Region(Section):
    """What is repainted (`scripts/select_region.py`)."""

    KEY: ClassVar[str] = "region"

    region: Literal["road", "corridor"] = option(
        "corridor",
        "`corridor`: a band around the lane lines, which leaves the asphalt alone; `road`: the whole road surface, as "
        "in the thesis.",
    )
    dilate_size: int = option(24, "Grow the region by a square of this side.", unit="px", ge=0)
    corridor_width: float = option(1.0, "Width of the band around each line's middle.", gt=0)
    corridor_unit: Literal["m", "px"] = option("m", "Metres on the road, or pixels.")
    camera_height: float = option(
        1.5,
        "Metres of the camera above the road, which sets the scale of a clip without calibration. An error of 10 % is "
        "one of 10 % in the width.",
        unit="m",
        gt=0,
    )


class Hole(Section):
    """What painting, and training for it, show the model inside the region."""

    KEY: ClassVar[str] = "first_frame"

    keep_masked_pixels: bool = option(
        False,
        "Whether the model sees the old road under the mask, or a hole, as FLUX Fill was trained. LoRAs are trained as "
        "this says.",
    )
