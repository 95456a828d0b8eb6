"""Section `first_frame`: the first frame, by FLUX Fill under the critic (scripts/first_frame.py)."""

from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema

from relane.config.option import Amount, Count, Dtype, Pixels, Positive, Section, ShareAbove0, Tokens, option
from relane.config.sections.region import Hole
from relane.config.sections.speed import Speed
from relane.errors import InputError


def size_of(text: str) -> tuple[int, int] | None:
    """(height, width) of a text such as `128x192`, None of a blank one. Raises ValueError for any other."""
    sides = [int(side) for side in text.split("x") if side.isdecimal()]
    if text and (len(sides) != 2 or text.count("x") != 1 or any(side < 16 or side % 16 for side in sides)):
        raise ValueError("should be HEIGHTxWIDTH, multiples of 16, such as 480x720")
    return (sides[0], sides[1]) if text else None


Size = Annotated[
    str,
    AfterValidator(lambda text: (size_of(text) and text) or ""),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]+x[0-9]+)?$"}),
]


class Painting(Section):
    """What FLUX Fill paints with, and under which critic."""

    num_inference_steps: Positive = option(50, "Denoising steps of FLUX Fill.")
    guidance_scale: Amount = option(30.0, "Guidance of FLUX Fill.")
    strength: ShareAbove0 = option(1.0, "1 starts from noise, less from the noised source.")
    max_sequence_length: int = option(
        512, "T5 tokens of the caption: what the model was trained with.", unit="tokens", ge=1, le=512
    )
    paint_size: Size = option(
        "",
        "HEIGHTxWIDTH to paint at; empty: the clip's own size, a larger one scaled to about one megapixel and back. "
        "Above two megapixels FLUX's schedule leaves noise in the picture, and a warning says how much.",
    )
    mask_feather: Pixels = option(8, "Pixels over which the edit fades in, inside the region.")
    lora: str = option(
        "", "A name under `loras` (it is trained first), or a path of LoRA weights, a file or a folder; empty: none."
    )
    lora_scale: Amount = option(0.0, "Weight of the LoRA; 0: not loaded.")
    caption_refine_iters: Count = option(
        10, "Tries under the critic at most; 0 switches the critic off, and one try is made."
    )
    caption_refine_batch: Positive = option(
        1, "Tries of one caption that are painted before the critic judges them in one batch."
    )
    caption_refine_temperature: Amount = option(0.1, "Temperature of the critic's replies.")
    caption_max_tokens: Tokens = option(512, "Longest reply of the critic, in tokens.")


class FirstFrame(Speed, Hole, Painting):
    """The first frame, by FLUX Fill under the critic (`scripts/first_frame.py`)."""

    unload_critic_after_use: bool = option(
        False,
        "Drop the critic from memory when an item is done. Where memory is short, painter and critic make room for "
        "each other anyway.",
        rerun=False,
    )
    offload: Literal["none", "model", "sequential"] = option(
        "none", "Keep parts of FLUX Fill off the GPU: slower, smaller.", rerun=False
    )
    seed: int = option(42, "Part of the key of the noise, with clip, instruction and try.")
    dtype: Dtype = option("bfloat16", "Arithmetic of the models.")

    def check(self) -> None:
        """There must be a step to do, and 8-bit products only where weights stay in place."""
        if self.fp8 and (self.offload != "none" or (self.lora and self.lora_scale and not self.fuse_projections)):
            raise InputError(
                "first_frame.fp8: not with first_frame.offload, and with a LoRA only where "
                "first_frame.fuse_projections merges it"
            )
        if int(self.num_inference_steps * self.strength) < 1:
            raise InputError(
                f"first_frame.strength {self.strength} with first_frame.num_inference_steps {self.num_inference_steps} "
                "leaves no step to do: steps times strength must be at least 1"
            )

    def check_critic(self, qwen: str) -> None:
        """Raise InputError where tries are to be judged and no critic is named. qwen: checkpoints.qwen."""
        if self.caption_refine_iters and not qwen:
            raise InputError(
                "checkpoints.qwen is blank: name a Qwen2.5-VL folder, or set first_frame.caption_refine_iters to 0 for "
                "no critic"
            )

    def size(self) -> tuple[int, int] | None:
        """(height, width) to paint at; None: the clip's own."""
        return size_of(self.paint_size)
