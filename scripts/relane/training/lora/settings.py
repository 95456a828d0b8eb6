"""What a training is: every setting that changes its result, and none that does not."""

import argparse

from pydantic import Field

from relane.config.option import Checked
from relane.config.sections.lora import Training
from relane.config.sections.region import Hole, Region


class Settings(Checked, Hole, Training, key="lora"):
    """The settings of one training: the configuration's, and what painting shares with it. InputError on wrong ones."""

    region: Region = Field(default_factory=Region)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) to train at, or None for each picture's own."""
        return (self.height, self.width) if self.height else None

    @classmethod
    def of_arguments(cls, args: argparse.Namespace) -> "Settings":
        """The settings among a command line's flags."""
        own = {name: getattr(args, name) for name in cls.model_fields if name != "region"}
        return cls(**own, region=Region.of(args))

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
    return {**settings.model_dump(), "dataset": dataset, "weights": weights, "processes": processes}
