"""What a training is: every setting that changes its result, and none that does not."""

import argparse
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from relane.errors import InputError
from relane.lora.region import Region

# What a checkpoint's folder has to say of how far the training was.
PROGRESS = "progress.json"


def check_resume(resume: str) -> None:
    """Raise InputError unless `resume` is latest, never, or the folder of a checkpoint."""
    if resume not in ("latest", "never") and not (Path(resume) / PROGRESS).is_file():
        raise InputError(f"lora.resume {resume}: no checkpoint here; give a folder checkpoint-<step>, latest or never")


@dataclass(frozen=True)
class Settings:
    """The settings of one training; `scripts/train_lora.py --help` explains each. Raises InputError on wrong ones."""

    rank: int = 128
    alpha: float = 128.0
    learning_rate: float = 1e-5
    lr_scheduler: str = "cosine"
    lr_warmup_steps: int = 50
    train_batch_size: int = 1
    gradient_accumulation_steps: int = 4
    num_train_epochs: int = 5
    max_train_steps: int = 0
    weight_decay: float = 1e-2
    max_grad_norm: float = 1.0
    optimizer: str = "adamw"
    guidance_scale: float = 30.0
    max_sequence_length: int = 512
    height: int = 0
    width: int = 0
    masked_weight: float = 10.0
    logit_mean: float = 0.0
    logit_std: float = 1.0
    validation_rows: int = 4
    seed: int = 42
    dtype: str = "bfloat16"
    keep_masked_pixels: bool = False
    region: Region = field(default_factory=Region)

    def __post_init__(self) -> None:
        positive = ("rank", "alpha", "learning_rate", "train_batch_size", "gradient_accumulation_steps")
        for name in (*positive, "num_train_epochs", "max_grad_norm", "max_sequence_length", "masked_weight"):
            if getattr(self, name) <= 0:
                raise InputError(f"lora.{name}: must be above 0, got {getattr(self, name)}")
        for name in ("lr_warmup_steps", "max_train_steps", "weight_decay", "logit_std", "validation_rows"):
            if getattr(self, name) < 0:
                raise InputError(f"lora.{name}: must not be negative, got {getattr(self, name)}")
        if bool(self.height) != bool(self.width) or self.height % 16 or self.width % 16 or min(self.size or (0,)) < 0:
            raise InputError(f"lora.height, lora.width: {self.height}x{self.width}: both 0, or both multiples of 16")

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) to train at, or None for each picture's own."""
        return (self.height, self.width) if self.height else None

    @classmethod
    def of(cls, args: argparse.Namespace) -> "Settings":
        """The settings among a command line's flags."""
        own = [one.name for one in fields(cls) if one.name != "region"]
        return cls(**{name: getattr(args, name) for name in own}, region=Region.of(args))

    def total_steps(self, rows: int, processes: int = 1) -> int:
        """Optimizer steps of the whole training: `max_train_steps`, or as many as the epochs take."""
        if self.max_train_steps:
            return self.max_train_steps
        per_step = self.train_batch_size * self.gradient_accumulation_steps * processes
        return -(-self.num_train_epochs * rows // per_step)


def differences(old: dict, new: dict) -> list[str]:
    """What two trainings' identities differ in, each as `name (old value, now new value)`."""
    keys = dict.fromkeys((*old, *new))
    return [f"{key} ({old.get(key)}, now {new.get(key)})" for key in keys if old.get(key) != new.get(key)]


def identity(settings: Settings, dataset: str, weights: str, processes: int) -> dict:
    """All that a training's result depends on: its settings, and digests of its rows and of the base weights."""
    return {**asdict(settings), "dataset": dataset, "weights": weights, "processes": processes}
