"""FLUX.1-Fill, with or without a LoRA, as a painter of first frames; the model itself is `relane.models.flux_fill`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relane.config.sections.first_frame import FirstFrame
from relane.errors import InputError

if TYPE_CHECKING:
    from relane.models.flux_fill import FluxFill

CHECKPOINTS = ("flux_fill",)
# Options that `FluxFill.paint` takes by the same name.
SAME = ("num_inference_steps", "guidance_scale", "strength", "keep_masked_pixels", "max_sequence_length")
SAME += ("mask_feather",)


def settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `FluxFill.paint`."""
    how = FirstFrame.of(options)
    height, width = how.size() or (None, None)
    return {name: getattr(how, name) for name in SAME} | {"height": height, "width": width}


def find(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the folder has all parts of a FLUX Fill pipeline."""
    from relane.models.flux_fill import check_folder

    if not options["flux_fill"]:
        raise InputError("--flux-fill is blank: name a FLUX.1-Fill folder")
    check_folder(Path(options["flux_fill"]))


def load(options: Mapping[str, Any], device: str) -> "FluxFill":
    """The model of a FLUX.1-Fill folder (see `FluxFill`)."""
    import torch

    from relane.models.acceleration import Speed
    from relane.models.flux_fill import FluxFill

    return FluxFill(
        options["flux_fill"],
        options["lora"],
        options["lora_scale"],
        device,
        getattr(torch, options["dtype"]),
        options["offload"],
        Speed.of(options),
    )
