"""Section `lora`: how a LoRA is trained (scripts/train_lora.py)."""

from pathlib import Path
from typing import ClassVar, Literal

from relane.config.option import Dtype, Section, option
from relane.errors import InputError

# What a checkpoint's folder has to say of how far the training was.
PROGRESS = "progress.json"


def check_resume(resume: str) -> None:
    """Raise InputError unless `resume` is latest, never, or the folder of a checkpoint."""
    if resume not in ("latest", "never") and not (Path(resume) / PROGRESS).is_file():
        raise InputError(f"lora.resume {resume}: no checkpoint here; give a folder checkpoint-<step>, latest or never")


class Training(Section):
    """The settings that change a training's result."""

    KEY: ClassVar[str] = "lora"

    rank: int = option(128, "Rank of the adapters.", ge=1)
    alpha: float = option(128, "The adapters are scaled by alpha / rank.", gt=0)
    learning_rate: float = option(1e-5, "Of AdamW.", gt=0)
    lr_scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = option(
        "cosine", "Course of the learning rate."
    )
    lr_warmup_steps: int = option(50, "Steps of warm-up.", ge=0)
    train_batch_size: int = option(1, "Rows a GPU and micro-step.", ge=1)
    gradient_accumulation_steps: int = option(4, "Micro-steps an optimizer step.", ge=1)
    num_train_epochs: int = option(5, "Passes over the dataset.", ge=1)
    max_train_steps: int = option(0, "Optimizer steps; 0: as many as the epochs take.", ge=0)
    weight_decay: float = option(0.01, "Of AdamW.", ge=0)
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm.", gt=0)
    optimizer: Literal["adamw", "adamw8bit"] = option("adamw", "`adamw8bit` needs the bitsandbytes package.")
    guidance_scale: float = option(30.0, "What the guidance embedding is told: as in painting.", ge=0)
    max_sequence_length: int = option(512, "T5 tokens of the caption: as in painting.", unit="tokens", ge=1, le=512)
    height: int = option(
        0, "Training size; 0, with `width` 0 too: each picture's own.", unit="px", ge=0, multiple_of=16
    )
    width: int = option(0, "The same for the width.", unit="px", ge=0, multiple_of=16)
    masked_weight: float = option(
        10.0,
        "Weight of the masked region in the loss; 1: as all the rest. The region is that of `region`, the hole that of "
        "`first_frame.keep_masked_pixels`.",
        gt=0,
    )
    logit_mean: float = option(0.0, "Of the logit-normal times.")
    logit_std: float = option(1.0, "Of the logit-normal times.", ge=0)
    validation_rows: int = option(4, "Rows held out, at most one in eight.", ge=0)
    seed: int = option(42, "Of data order, noise and times.")
    dtype: Dtype = option("bfloat16", "Arithmetic of the training.")

    def check(self) -> None:
        """A size has two sides."""
        if bool(self.height) != bool(self.width):
            raise InputError(f"lora.height, lora.width: {self.height}x{self.width}: both must be 0, or neither of them")


class Upkeep(Section):
    """How often to save and to show: none of this changes the result."""

    KEY: ClassVar[str] = "lora"

    checkpointing_steps: int = option(100, "Steps between checkpoints.", ge=1)
    checkpoints_total_limit: int = option(4, "Checkpoints that are kept.", ge=1)
    gradient_checkpointing: bool = option(False, "Less memory, more time.")
    compile: bool = option(False, "torch.compile the transformer's blocks; minutes once, then faster steps.")
    sample_every: int = option(500, "Steps between sample pictures and validations; 0: none.", ge=0)
    sample_inference_steps: int = option(20, "Denoising steps of a sample picture.", ge=1)


class Lora(Upkeep, Training):
    """How a LoRA is trained (`scripts/train_lora.py`)."""

    KEY: ClassVar[str] = "lora"

    resume: str = option("latest", "`latest`, `never`, or a checkpoint's folder.")

    def check(self) -> None:
        """A checkpoint to go on from must be there."""
        super().check()
        check_resume(self.resume)
