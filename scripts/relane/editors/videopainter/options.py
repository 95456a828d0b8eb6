"""Every choice of a run. The defaults repair what is wrong in the original; `Options.exact()` is the original."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from relane.editors.videopainter import original
from relane.editors.videopainter.windows import WindowSchedule, anchored_schedule
from relane.errors import InputError


@dataclass(frozen=True)
class Options:
    """How VideoPainter is run; checked when made (InputError names the option)."""

    num_inference_steps: int = 70
    guidance_scale: float = 6.0
    strength: float = 1.0  # below 1: start from the noised source, with that share of the steps
    stride: int = 40  # frames from window to window
    num_frames: int = 0  # frames a window; 0: the checkpoint's own (any other leaves its learned positions)
    conditioning_scale: float = 1.0
    prev_clip_weight: float = 0.0
    replace_gt: bool = True  # paste the background's own latents after every step
    mask_add: bool = True  # the branch's samples go to the background only
    add_first: bool = False  # the samples go to the first blocks only
    first_frame_gt: bool = True  # the given first frame is kept: its mask is empty
    hole_value: float = 0.0  # what the branch sees in the hole: 0 grey (original inference), -1 black (its training)
    sampler: Literal["dpm", "ddim"] = "dpm"
    first_block_cache: float = 0.0  # threshold of diffusers' FirstBlockCache; 0: off, every block at every step
    guidance_skip: float = 0.0  # share of the steps that leave out the negative prompt; see `denoise.apply_cfg`
    background_refresh: int = 0  # steps from one look at the background to the next; 0: every step. See `background`
    vae_tiling: bool = False  # less memory in the VAE at some cost in seams

    # Repairs. The second value is the original's.
    # The original leaves out the frames after the last whole window.
    tail: Literal["anchor", "drop"] = "anchor"
    # Averaging latents mixes a window's first latent (1 frame) with one that stands for 4, and shifts time by
    # (stride mod 4); here windows are decoded apart and fade into each other.
    join: Literal["pixel_ramp", "latent_average"] = "pixel_ramp"
    # A latent of 4 frames stands in for the one frame that the model was trained to start from.
    handover: Literal["frame", "latent"] = "frame"
    # The original's formula takes a timestep (0-999) for a step index, so guidance jumps between 1 and 7.
    guidance: Literal["constant", "original_dynamic"] = "constant"
    # Taking one pixel of 8x8 and one frame of 4 loses thin masks and moves fast ones.
    mask_latents: Literal["any", "nearest"] = "any"
    # The hole's black border bleeds into background latents through the VAE's receptive field; here they are the
    # source's own, so that all instructions share them, but for the given first frame's. "given": the frames as they
    # come, with the first frame in its place.
    background: Literal["source", "given", "black_holes"] = "source"
    # The original's mask of the previous window is overwritten by the present one after the first step.
    previous_mask: Literal["previous", "overwritten"] = "previous"
    # Positions in units of the checkpoint's own size; the same thing for 480x720 checkpoints.
    rotary_base: Literal["checkpoint", "480x720"] = "checkpoint"

    @classmethod
    def exact(cls, **changes: Any) -> "Options":
        """The original, quirks included (its scripts' defaults; pass what its command line would set).

        Raises InputError for an option that leaves out work, because the result would not be the original's.
        """
        original.check(changes)
        return replace(cls(), **original.CHOICES | changes)

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self))
        for field in fields(self):
            choices, value = get_args(hints[field.name]), getattr(self, field.name)
            if choices and value not in choices:
                raise InputError(f"{field.name}: {value!r} is not one of {', '.join(choices)}")
        if not 0 < self.strength <= 1:
            raise InputError(f"strength: {self.strength} is not above 0 and at most 1")
        if self.num_inference_steps < 1 or self.steps < 1:
            raise InputError("num_inference_steps times strength must leave at least one step")
        if not 0 <= self.prev_clip_weight <= 1:
            raise InputError(f"prev_clip_weight: {self.prev_clip_weight} is not from 0 to 1")
        if not -1 <= self.hole_value <= 1:
            raise InputError(f"hole_value: {self.hole_value} is not from -1 (black) to 1 (white)")
        if self.first_block_cache > 0 and self.prev_clip_weight > 0:
            # A skipped block has no output of its own to remember.
            raise InputError("first_block_cache and prev_clip_weight cannot be used together: set one of them to 0")
        if not 0 <= self.guidance_skip < 1:
            raise InputError(f"guidance_skip: {self.guidance_skip} is not a share of the steps, from 0 to below 1")
        if self.guidance_skip > 0 and self.prev_clip_weight > 0:
            # A step without the negative prompt leaves half of the memory out.
            raise InputError("guidance_skip and prev_clip_weight cannot be used together: set one of them to 0")
        if self.background_refresh < 0:
            raise InputError(f"background_refresh: {self.background_refresh} is not a number of steps, 0 or more")
        if self.background_refresh > 0 and not (self.replace_gt and self.mask_add):
            # Only then is what the networks say of the background thrown away, and the branch not needed in the hole.
            raise InputError("background_refresh needs replace_gt and mask_add: set both to true")
        if self.background_refresh > 0 and (self.first_block_cache > 0 or self.prev_clip_weight > 0):
            raise InputError(
                "background_refresh cannot be used with first_block_cache or prev_clip_weight: set one to 0"
            )
        if (self.tail == "anchor") != (self.join == "pixel_ramp"):
            raise InputError("tail: anchor needs join: pixel_ramp, and drop needs latent_average (unaligned latents)")

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether each step also runs the negative prompt."""
        return self.guidance_scale > 1

    @property
    def steps(self) -> int:
        """Denoising steps that a window takes."""
        return int(self.num_inference_steps * self.strength)

    def schedule(self, frames: int, length: int) -> WindowSchedule:
        """The windows for a clip of `frames` frames; raises InputError when it is shorter than one."""
        make = anchored_schedule if self.tail == "anchor" else original.original_schedule
        return make(frames, length, self.stride)


# Options of the configuration's `video` that go to `Options` by the same name.
GIVEN = ("num_inference_steps", "guidance_scale", "strength", "stride", "conditioning_scale", "prev_clip_weight")
GIVEN += ("replace_gt", "mask_add", "first_frame_gt", "hole_value", "sampler", "first_block_cache", "guidance_skip")
GIVEN += ("background_refresh", "vae_tiling")


def options_of(options: Mapping[str, Any]) -> Options:
    """The pipeline's options from those of the configuration; raises InputError for a value that does not serve."""
    if options["fp8"] and (options["mode"] == "exact" or options["offload"] != "none"):
        raise InputError(
            "fp8: not in mode exact, whose result it changes, and not with offload; switch one of them off"
        )
    if options["fuse_projections"] and options["videopainter_id"]:
        raise InputError("fuse_projections: VideoPainterID's LoRA sits on the projections; switch one of them off")
    if options["background_refresh"] and options["videopainter_id"]:
        raise InputError("background_refresh: not with VideoPainterID, which has a memory of its own; set one to 0")
    given = {name: options[name] for name in GIVEN}
    return Options.exact(**given) if options["mode"] == "exact" else Options(**given)
