"""Every choice of a run. The defaults repair what is wrong in the original; `Options.exact()` is the original."""

from collections.abc import Mapping
from typing import Any, Literal

from relane.config.option import Checked
from relane.config.sections.video import Denoising, Video
from relane.editors.videopainter import original
from relane.editors.videopainter.windows import WindowSchedule, anchored_schedule
from relane.errors import InputError


class Options(Checked, Denoising):
    """What the configuration says, and what mode exact switches. Raises InputError for a wrong option."""

    # Frames a window; 0: the checkpoint's own (any other leaves its learned positions).
    num_frames: int = 0
    # The branch's samples go to the first blocks only.
    add_first: bool = False

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
        made = cls(**original.CHOICES | changes)
        made.check_exact()
        return made

    @classmethod
    def of_video(cls, video: Video) -> "Options":
        """What section `video` of the configuration, or a command line, asks for."""
        given = {name: getattr(video, name) for name in Denoising.model_fields}
        return cls.exact(**given) if video.mode == "exact" else cls(**given)

    def check(self) -> None:
        """The configuration's own; and latents can be averaged only where windows are aligned."""
        super().check()
        if (self.tail == "anchor") != (self.join == "pixel_ramp"):
            raise InputError("tail: anchor needs join: pixel_ramp, and drop needs latent_average (unaligned latents)")

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether each step also runs the negative prompt."""
        return self.guidance_scale > 1

    def schedule(self, frames: int, length: int) -> WindowSchedule:
        """The windows for a clip of `frames` frames; raises InputError when it is shorter than one."""
        make = anchored_schedule if self.tail == "anchor" else original.original_schedule
        return make(frames, length, self.stride)


def options_of(options: Mapping[str, Any]) -> Options:
    """The pipeline's options from the flags of a command line; raises InputError for a value that does not serve."""
    video = Video.of(options)
    video.check_id_lora(options["videopainter_id"])
    return Options.of_video(video)
