"""What is common to all painters: the first frame, the critic's loop, taking turns on a GPU, pictures and record."""

import functools
import sys
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from relane import noise
from relane.arms import SHAM
from relane.config.sections.first_frame import FirstFrame
from relane.errors import InputError
from relane.io import files
from relane.io.mask_stream import MaskFile
from relane.io.timer import Timer
from relane.io.video import iter_frames
from relane.models import memory_stats, qwen
from relane.models.device import choose_device
from relane.models.qwen import Qwen
from relane.models.residency import Slot, second_device, weights_bytes
from relane.painters import FirstFramePainter, painter_module
from relane.prompts import captions, critic, instructions, lanes
from relane.prompts.critic import Refinement
from relane.prompts.lanes import Attributes

# Flags for the record. The tries stand beside, and when the critic is dropped changes nothing.
LEFT_OUT = ("caption_refine_iters", "unload_critic_after_use")
PARAMETERS = [name for name in (*FirstFrame.model_fields, "flux_fill", "qwen") if name not in LEFT_OUT]


class Models:
    """The painter and the critic of a job, each loaded when it is first needed."""

    def __init__(self, args: Namespace) -> None:
        """Loads nothing; raises InputError where a model's folder is missing or incomplete."""
        module = painter_module(args.painter)
        module.find(vars(args))
        if args.qwen:
            qwen.check_folder(Path(args.qwen))
        if not sys.stderr.isatty():  # bars of loading are for people; in a log file they are noise
            diffusers.utils.logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()
        first = str(choose_device(args.device if args.editor_device == "auto" else args.editor_device))
        second = second_device(args.critic_device, first)
        folders = [getattr(args, name) for name in module.CHECKPOINTS]
        self._painter = Slot(lambda: module.load(vars(args), first), first, weights_bytes(*folders))
        dtype = getattr(torch, args.dtype)
        self._critic = Slot(lambda: Qwen(args.qwen, second, dtype), second, weights_bytes(args.qwen))
        self.devices = {"editor": first, "critic": second}

    def painter(self) -> FirstFramePainter:
        """The painter, on its device."""
        return self._painter.use(self._critic)

    def critic(self) -> Qwen:
        """The critic, on its device."""
        return self._critic.use(self._painter)

    def drop_critic(self) -> None:
        """Give the critic's memory back."""
        self._critic.drop()

    def load_seconds(self) -> dict[str, float]:
        """Seconds spent loading and moving models since the last call."""
        seconds = {"load_editor": self._painter.seconds, "load_critic": self._critic.seconds}
        self._painter.seconds = self._critic.seconds = 0.0
        return seconds


def paint_first_frame(args: Namespace, models: Models) -> None:
    """Repaint one clip's first frame, by the flags of scripts/first_frame.py; writes picture, record and tries.

    Raises InputError on bad input, before anything is written.
    """
    memory_stats.reset_gpu_peaks()
    timer = Timer()  # its phases are without those in which models are loaded or moved
    with timer("read"):
        frame, mask = read_first(args.clip, args.inpaint_masks)
    text, wanted, sham = what_to_ask(args, models, timer, frame, mask)
    key = (args.seed, args.video, text)
    settings, about_painting = painter_module(args.painter).settings(vars(args)), {}

    def paint(caption: str, number: int) -> np.ndarray:
        painter = models.painter()
        if number == 1:
            about_painting.update(describe_painting(painter, mask, settings))
        with timer("paint"):
            return painter.paint(frame, mask, caption, functools.partial(noise.generator, (*key, number)), **settings)

    def ask(questions: list, **how: Any) -> list[str]:
        judge = models.critic()
        with timer("judge"):
            return judge.ask(questions, **how)

    refinement = critic.refine(
        paint,
        ask,
        frame,
        mask,
        text,
        wanted,
        iters=args.caption_refine_iters,
        together=args.caption_refine_batch,
        temperature=args.caption_refine_temperature,
        max_tokens=args.caption_max_tokens,
        key=key,
        checkpoint=args.qwen,
    )
    if args.unload_critic_after_use:
        models.drop_critic()
    about = record(args, models, text, wanted, refinement) | sham | about_painting
    seen = frame if args.keep_masked_pixels else frame * ~mask[..., None]
    with timer("write"):
        critic.write_tries(args.refine_folder, seen, refinement, about)
    critic.write_picture(args.output, refinement.chosen.output)
    seconds = timer.seconds | models.load_seconds() | {"total": timer.total}
    files.write_json(args.sidecar, about | {"seconds": seconds, **memory_stats.peaks()})


def read_first(clip: str, masks: str) -> tuple[np.ndarray, np.ndarray]:
    """Frame 0 of the clip (H, W, 3) uint8 and its mask (H, W) bool. Raises InputError where they do not fit."""
    frame = next(iter_frames(clip), None)
    if frame is None:
        raise InputError(f"{clip}: the file holds no frames")
    stack = MaskFile(masks)
    if stack.shape[1:] != frame.shape[:2]:
        raise InputError(f"{masks}: masks of shape {stack.shape} do not fit {clip}, whose frames are {frame.shape[:2]}")
    mask = next(iter(stack), None)
    if mask is None or not mask.any():
        raise InputError(f"{masks}: the mask of frame 0 is empty, there is nothing to repaint in {clip}")
    return frame, mask


def is_sham(args: Namespace) -> bool:
    """Whether the frame is to be repainted as it is."""
    return args.instruction.strip().lower() == SHAM


def what_to_ask(
    args: Namespace, models: Models, timer: Timer, frame: np.ndarray, mask: np.ndarray
) -> tuple[str, Attributes, dict[str, Any]]:
    """The instruction in full, the attributes it asks for, and what the record keeps of how a sham's were read."""
    if not is_sham(args):
        made = instructions.make(args.instruction)
        return made.text, made.attributes or Attributes(), {}
    if not args.qwen:
        return lanes.instruction_of(Attributes()), Attributes(), {"read": None}
    reader = models.critic()
    with timer("read_attributes"):
        [read] = captions.caption(reader, [frame], [mask])
    captions.refuse_unreadable([read], args.qwen)
    return lanes.instruction_of(read.attributes), read.attributes, {"read": {"reply": read.reply, "asked": read.asked}}


def describe_painting(painter: FirstFramePainter, mask: np.ndarray, settings: dict[str, Any]) -> dict[str, Any]:
    """What the record says of how the painter paints; its warning is said on stderr too."""
    about = painter.describe(mask, **settings)
    if about["warning"]:
        print(f"warning: {about['warning']}", file=sys.stderr, flush=True)
    return about


def record(args: Namespace, models: Models, text: str, wanted: Attributes, refinement: Refinement) -> dict[str, Any]:
    """The sidecar, but for seconds and memory."""
    chosen = refinement.chosen
    return {
        "video": args.video,
        "painter": args.painter,
        "arm": SHAM if is_sham(args) else "instruction",
        "instruction": text,
        "attributes": asdict(wanted),
        "caption": chosen.caption,
        "critic": "off" if refinement.passed is None else "on",
        "passed": refinement.passed,
        "best_of_failed": refinement.passed is False,
        "chosen_try": chosen.number,
        "iterations_asked": args.caption_refine_iters,
        "iterations_used": 0 if refinement.passed is None else len(refinement.tries),
        "verdict": asdict(chosen.verdict) if chosen.verdict else None,
        "tries": [one.record() for one in refinement.tries],
        "parameters": {name: getattr(args, name) for name in PARAMETERS},
        "devices": models.devices,
    }
