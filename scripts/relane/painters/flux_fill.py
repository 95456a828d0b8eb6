"""FLUX.1-Fill, with or without a LoRA, as a painter of first frames; the model itself is `relane.fluxfill`."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relane.errors import InputError

if TYPE_CHECKING:
    from relane.fluxfill import FluxFill

CHECKPOINTS = ("flux_fill",)
# Options that `FluxFill.paint` takes by the same name.
SAME = ("num_inference_steps", "guidance_scale", "strength", "keep_masked_pixels", "max_sequence_length")
SAME += ("mask_feather",)


def settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `FluxFill.paint`."""
    if options["fp8"] and (options["offload"] != "none" or (_adapted(options) and not options["fuse_projections"])):
        raise InputError("--fp8: not with --offload, and with a LoRA only where --fuse-projections merges it")
    strength, steps = options["strength"], options["num_inference_steps"]
    if not 0 < strength <= 1 or int(steps * strength) < 1:
        raise InputError(
            f"--strength {strength} with --num-inference-steps {steps} leaves no step to do: "
            "strength is above 0 and at most 1, and steps times strength at least 1"
        )
    if not 0 < options["max_sequence_length"] <= 512:
        raise InputError(f"--max-sequence-length is {options['max_sequence_length']}: FLUX's T5 takes 1 to 512 tokens")
    height, width = paint_size(options["paint_size"])
    return {name: options[name] for name in SAME} | {"height": height, "width": width}


def _adapted(options: Mapping[str, Any]) -> bool:
    return bool(options["lora"] and options["lora_scale"])


def paint_size(text: str) -> tuple[int, int] | tuple[None, None]:
    """(height, width) of a text such as `128x192`, None and None of a blank one."""
    if not text:
        return None, None
    height, _, width = text.lower().partition("x")
    sides = [int(side) for side in (height, width) if side.isdecimal()]
    if len(sides) < 2 or any(side < 16 or side % 16 for side in sides):
        raise InputError(f"--paint-size {text!r}: expected HEIGHTxWIDTH, multiples of 16, such as 480x720")
    return sides[0], sides[1]


def find(options: Mapping[str, Any]) -> None:
    """Raise InputError unless the folder has all parts of a FLUX Fill pipeline."""
    from relane.fluxfill import check_folder

    if not options["flux_fill"]:
        raise InputError("--flux-fill is blank: name a FLUX.1-Fill folder")
    check_folder(Path(options["flux_fill"]))


def load(options: Mapping[str, Any], device: str) -> "FluxFill":
    """The model of a FLUX.1-Fill folder (see `FluxFill`)."""
    from dataclasses import fields

    import torch

    from relane.fluxfill import FluxFill
    from relane.speed import Speed

    return FluxFill(
        options["flux_fill"],
        options["lora"],
        options["lora_scale"],
        device,
        getattr(torch, options["dtype"]),
        options["offload"],
        Speed(**{field.name: options[field.name] for field in fields(Speed)}),
    )
