"""Checkpoints of a training: written whole, found again after a kill, and never mistaken for another training's."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel

from relane.config.sections.lora import PROGRESS, check_resume
from relane.errors import InputError
from relane.io.files import atomic_folder, read_json, write_json
from relane.training.lora import adapter
from relane.training.lora.settings import differences

SUPERSEDED = "superseded"
SHOWN = ("tensorboard", "samples")


@dataclass
class Progress:
    """How far a training has come. `identity` says which training it is; `seconds` were spent in steps so far."""

    identity: dict
    run_id: str
    step: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)
    validation: list[dict] = field(default_factory=list)
    resumed_at: list[int] = field(default_factory=list)


@dataclass
class Moving:
    """What changes with every step, and so belongs into a checkpoint."""

    transformer: FluxTransformer2DModel
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler


def all_in(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder, by step."""
    found = [(re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in Path(folder).glob("checkpoint-*")]
    return [path for _, path in sorted((int(match[1]), path) for match, path in found if match)]


def save(folder: str | Path, moving: Moving, progress: Progress, keep: int) -> Path:
    """Write `folder/checkpoint-<step>`, whole or not at all, and delete all but the last `keep`."""
    folder = Path(folder)
    path = folder / f"checkpoint-{progress.step}"
    with atomic_folder(path) as partial:
        adapter.save(moving.transformer, partial)
        torch.save(moving.optimizer.state_dict(), partial / "optimizer.pt")
        torch.save(moving.scheduler.state_dict(), partial / "scheduler.pt")
        # Noise and data order are keyed by their place in the training and need no state; this is for what draws
        # from torch's own generators, such as dropout.
        states = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state_all()
        torch.save(states, partial / "random_states.pt")
        write_json(partial / PROGRESS, vars(progress))
    for old in all_in(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def _tensors(path: Path) -> dict:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the checkpoint is not whole, use another") from None
    except Exception as error:  # pickle, zip and end-of-file errors have no common class
        raise InputError(f"{path}: cannot be read ({type(error).__name__}); use another checkpoint") from None


def load(path: str | Path, moving: Moving) -> Progress:
    """Put a checkpoint's state into `moving` and return how far it was.

    Raises InputError when a file is missing or unreadable, and when the adapter is of another rank or width.
    """
    path = Path(path)
    progress = Progress(**read_json(path / PROGRESS))
    adapter.load(moving.transformer, path)
    moving.optimizer.load_state_dict(_tensors(path / "optimizer.pt"))
    moving.scheduler.load_state_dict(_tensors(path / "scheduler.pt"))
    states = _tensors(path / "random_states.pt")
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    return progress


def choose(folder: str | Path, resume: str, identity: dict) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, if any, and what to tell the user.

    resume: `latest` takes the last one of this very training; `never` takes none; a path takes that one, and says what
    is different there. Raises InputError when that path is no checkpoint. Changes nothing on disk.
    """
    if resume not in ("latest", "never"):
        check_resume(resume)
        other = differences(read_json(Path(resume) / PROGRESS)["identity"], identity)
        return Path(resume), [f"resuming from {resume}" + (f", which differs in {', '.join(other)}" if other else "")]
    there = all_in(folder)
    if not there or resume == "never":
        return None, []
    other = differences(read_json(there[-1] / PROGRESS)["identity"], identity)
    if other:
        return None, [f"{there[-1]} is of another training: {', '.join(other)}; starting anew"]
    return there[-1], [f"resuming from {there[-1]}"]


def set_aside(folder: str | Path) -> None:
    """Move another training's checkpoints, events and samples into `superseded/`: none is lost, none taken for ours.

    Only the last such training is kept, and one that never came to a checkpoint is not.
    """
    folder = Path(folder)
    there, shown = all_in(folder), [folder / name for name in SHOWN if (folder / name).exists()]
    if not there:
        for path in shown:
            shutil.rmtree(path)
        return
    shutil.rmtree(folder / SUPERSEDED, ignore_errors=True)
    (folder / SUPERSEDED).mkdir()
    for path in there + shown:
        path.rename(folder / SUPERSEDED / path.name)


def clear_partial(folder: str | Path) -> None:
    """Remove what a killed process left half-written in a folder."""
    for path in Path(folder).glob(".partial.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
