"""Section `lora`: how a LoRA is trained (scripts/train_lora.py)."""

from pathlib import Path
from typing import Literal

from relane.config.option import Above0, Amount, Count, Dtype, Positive, Section, option
from relane.errors import InputError

# What a checkpoint's folder has to say of how far the training was.
PROGRESS = "progress.json"


def check_resume(resume: str) -> None:
    """Raise InputError unless `resume` is latest, never, or the folder of a checkpoint."""
    if resume not in ("latest", "never") and not (Path(resume) / PROGRESS).is_file():
        raise InputError(f"lora.resume {resume}: no checkpoint here; give a folder checkpoint-<step>, latest or never")


class Training(Section, key="lora"):
    """The settings that change a training's result."""

    rank: Positive = option(128, "Rank of the adapters.")
    alpha: Above0 = option(128, "The adapters are scaled by alpha / rank.")
    learning_rate: Above0 = option(1e-5, "Of AdamW.")
    lr_scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = option(
        "cosine", "Course of the learning rate."
    )
    lr_warmup_steps: Count = option(50, "Steps of warm-up.")
    train_batch_size: Positive = option(1, "Rows a GPU and micro-step.")
    gradient_accumulation_steps: Positive = option(4, "Micro-steps an optimizer step.")
    num_train_epochs: Positive = option(5, "Passes over the dataset.")
    max_train_steps: Count = option(0, "Optimizer steps; 0: as many as the epochs take.")
    weight_decay: Amount = option(0.01, "Of AdamW.")
    max_grad_norm: Above0 = option(1.0, "Gradients are clipped to this norm.")
    optimizer: Literal["adamw", "adamw8bit"] = option("adamw", "`adamw8bit` needs the bitsandbytes package.")
    guidance_scale: Amount = option(30.0, "What the guidance embedding is told: as in painting.")
    max_sequence_length: int = option(512, "T5 tokens of the caption: as in painting.", unit="tokens", ge=1, le=512)
    height: int = option(
        0, "Training size; 0, with `width` 0 too: each picture's own.", unit="px", ge=0, multiple_of=16
    )
    width: int = option(0, "The same for the width.", unit="px", ge=0, multiple_of=16)
    masked_weight: Above0 = option(
        10.0,
        "Weight of the masked region in the loss; 1: as all the rest. The region is that of `region`, the hole that of "
        "`first_frame.keep_masked_pixels`.",
    )
    logit_mean: float = option(0.0, "Of the logit-normal times.")
    logit_std: Amount = option(1.0, "Of the logit-normal times.")
    validation_rows: Count = option(4, "Rows held out, at most one in eight.")
    seed: int = option(42, "Of data order, noise and times.")
    dtype: Dtype = option("bfloat16", "Arithmetic of the training.")

    def check(self) -> None:
        """A size has two sides."""
        if bool(self.height) != bool(self.width):
            raise InputError(f"lora.height, lora.width: {self.height}x{self.width}: both must be 0, or neither of them")


class Upkeep(Section, key="lora"):
    """How often to save and to show: none of this changes the result."""

    checkpointing_steps: Positive = option(100, "Steps between checkpoints.")
    checkpoints_total_limit: Positive = option(4, "Checkpoints that are kept.")
    gradient_checkpointing: bool = option(False, "Less memory, more time.")
    compile: bool = option(False, "torch.compile the transformer's blocks; minutes once, then faster steps.")
    sample_every: Count = option(500, "Steps between sample pictures and validations; 0: none.")
    sample_inference_steps: Positive = option(20, "Denoising steps of a sample picture.")


class Lora(Upkeep, Training):
    """How a LoRA is trained (`scripts/train_lora.py`)."""

    resume: str = option("latest", "`latest`, `never`, or a checkpoint's folder.")

    def check(self) -> None:
        """A checkpoint to go on from must be there."""
        super().check()
        check_resume(self.resume)
