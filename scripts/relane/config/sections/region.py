"""Section `region`: what is repainted (scripts/select_region.py), in painting as in training."""

from typing import Literal

from relane.config.option import Above0, Metres, Pixels, Section, option


class Region(Section, key="region"):
    """What is repainted (`scripts/select_region.py`)."""

    region: Literal["road", "corridor"] = option(
        "corridor",
        "`corridor`: a band around the lane lines, which leaves the asphalt alone; `road`: the whole road surface, as "
        "in the thesis.",
    )
    dilate_size: Pixels = option(24, "Grow the region by a square of this side.")
    corridor_width: Above0 = option(1.0, "Width of the band around each line's middle.")
    corridor_unit: Literal["m", "px"] = option("m", "Metres on the road, or pixels.")
    camera_height: Metres = option(
        1.5,
        "Metres of the camera above the road, which sets the scale of a clip without calibration. An error of 10 % is "
        "one of 10 % in the width.",
    )


class Hole(Section, key="first_frame"):
    """What painting, and training for it, show the model inside the region."""

    keep_masked_pixels: bool = option(
        False,
        "Whether the model sees the old road under the mask, or a hole, as FLUX Fill was trained. LoRAs are trained as "
        "this says.",
    )
