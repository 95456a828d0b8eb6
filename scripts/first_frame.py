"""Repaint the lane markings of a clip's first frame: FLUX Fill paints, Qwen2.5-VL judges and rewrites the caption.

Paints inside the mask only. Tries again with the critic's caption until a try passes or the tries are used up; then
the best try by the critic's own score is taken, and the sidecar says so. Every try is kept in the refine folder.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from relane import cli, instructions, lanes, memory
from relane.arms import SHAM
from relane.device import choose_device
from relane.errors import InputError
from relane.lanes import Attributes
from relane.timer import Timer

if TYPE_CHECKING:
    import numpy as np

    from relane.critic import Refinement

GIB = 2**30
# Flags of `relane.speed.Speed`.
SPEED = ("compile", "attention_backend", "fuse_projections", "channels_last", "fp8")
# What `load` reads: a warm worker keeps the models for items that agree in these (relane.warm).
LOADS = ("flux_fill", "lora", "lora_scale", "qwen", "editor_device", "critic_device", "device", "offload", "dtype")
LOADS += SPEED
LESS_MEMORY = "a smaller first_frame.paint_size, first_frame.offload: model, then sequential"


def parser() -> argparse.ArgumentParser:
    """The command line; every flag is a config key with dashes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, yes_no = options.add_argument, cli.true_or_false
    add("--clip", required=True, help="MP4; its frame 0 is repainted")
    add("--inpaint-masks", required=True, help="NPZ, arr_0 (T, H, W) uint8, not 0 = inpaint, already dilated")
    add("--instruction", required=True, help="sentence or 'lane <count> <color> <pattern>'; 'sham' = as they are")
    add("--video", required=True, help="name of the clip; with instruction, seed and try it decides the noise")
    add("--flux-fill", required=True, help="FLUX.1-Fill folder")
    add("--qwen", default="", help="Qwen2.5-VL folder; may be blank when --caption-refine-iters is 0")
    add("--lora", default="", help="LoRA for FLUX Fill: a safetensors file or a folder with one")
    add("--lora-scale", type=float, default=0.0, help="weight of the LoRA; 0 loads none")
    add("--num-inference-steps", type=int, default=50, help="denoising steps of FLUX Fill")
    add("--guidance-scale", type=float, default=30.0, help="guidance of FLUX Fill")
    add("--strength", type=float, default=1.0, help="1 starts from noise, less from the noised source")
    add("--max-sequence-length", type=int, default=512, help="T5 tokens of the caption (what the model was trained on)")
    add("--paint-size", default="", help="HEIGHTxWIDTH; blank = the clip's own, at most one megapixel")
    add("--mask-feather", type=int, default=8, help="pixels inside the mask over which the edit fades in")
    add("--keep-masked-pixels", type=yes_no, default=False, help="model sees the old road under the mask, not a hole")
    add("--caption-refine-iters", type=int, default=10, help="most tries under the critic; 0 = no critic, one try")
    add("--caption-refine-batch", type=int, default=1, help="tries of one caption that are judged in one batch")
    add("--caption-refine-temperature", type=float, default=0.1, help="temperature of the critic's replies")
    add("--caption-max-tokens", type=int, default=512, help="longest reply of the critic")
    add("--seed", type=int, default=42)
    add("--unload-critic-after-use", type=yes_no, default=True, help="drop the critic when the item is done")
    add("--compile", type=yes_no, default=False, help="torch.compile the transformer's blocks")
    add("--attention-backend", default="", help="flash_4, or of diffusers' dispatcher; blank: PyTorch's own")
    add("--fuse-projections", type=yes_no, default=False, help="one product for query, key and value; merges the LoRA")
    add("--channels-last", type=yes_no, default=False, help="the VAE's weights with channels innermost")
    add("--fp8", type=yes_no, default=False, help="the blocks' products in 8-bit floats (needs torchao)")
    add("--offload", choices=("none", "model", "sequential"), default="none", help="parts of FLUX Fill off the GPU")
    add("--editor-device", default="auto", help="device of FLUX Fill; auto = --device")
    add("--critic-device", default="auto", help="device of Qwen2.5-VL; auto = a second GPU, else the editor's; all")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", choices=("float32", "bfloat16"), default="bfloat16")
    add("--output", required=True, help="PNG: the repainted first frame")
    add("--sidecar", required=True, help="JSON: caption, verdict, tries, seconds, memory")
    add("--refine-folder", required=True, help="folder: every try's pictures and verdict, and qwen_eval.json")
    return options


class Slot:
    """A model that is loaded at its first use, and waits in host memory while another one needs its device."""

    def __init__(self, load: Callable[[], Any], device: str, weights: int) -> None:
        """load: makes the model on `device`; weights: its size there in bytes, with room to work."""
        self.load, self.device, self.weights = load, device, weights
        self.model: Any = None
        self.seconds = 0.0

    def use(self, *others: "Slot") -> Any:
        """The model on its device. Where memory is short there, the others on that device are parked first."""
        started = time.perf_counter()
        if self.model is None or self.model.device != self.device:
            for other in others:
                if other.device == self.device and free_bytes(self.device) < self.weights:
                    other.park()
            if self.model is None:
                self.model = self.load()
            else:
                self.model.to(self.device)
        self.seconds += time.perf_counter() - started
        return self.model

    def park(self) -> None:
        """Leave the device for host memory; a model that is spread over devices is dropped instead."""
        if self.model is not None and self.device == "all":
            self.model = None
        elif self.model is not None:
            self.model.to("cpu")
        release_memory()

    def drop(self) -> None:
        """Forget the model."""
        self.model = None
        release_memory()


class Models:
    """The editor and the critic of a job, each loaded when it is first needed."""

    def __init__(self, args: argparse.Namespace) -> None:
        import diffusers
        import torch
        import transformers

        from relane.fluxfill import FluxFill
        from relane.qwen import Qwen
        from relane.speed import Speed

        if not sys.stderr.isatty():  # bars of loading are for people; in a log file they are noise
            diffusers.utils.logging.disable_progress_bar()
            transformers.utils.logging.disable_progress_bar()
        both = str(choose_device(args.device))
        editor = both if args.editor_device == "auto" else str(choose_device(args.editor_device))
        critic = resolve_critic(args.critic_device, editor)
        dtype = getattr(torch, args.dtype)
        speed = Speed(**{name: getattr(args, name) for name in SPEED})
        self._editor = Slot(
            lambda: FluxFill(args.flux_fill, args.lora, args.lora_scale, editor, dtype, args.offload, speed),
            editor,
            weights_bytes(args.flux_fill),
        )
        self._critic = Slot(lambda: Qwen(args.qwen, critic, dtype), critic, weights_bytes(args.qwen))
        self.devices = {"editor": editor, "critic": critic}

    def editor(self) -> Any:
        """The `FluxFill`."""
        return self._editor.use(self._critic)

    def critic(self) -> Any:
        """The `Qwen`."""
        return self._critic.use(self._editor)

    def drop_critic(self) -> None:
        """Give the critic's memory back."""
        self._critic.drop()

    def load_seconds(self) -> dict[str, float]:
        """Seconds spent loading and moving models since the last call."""
        seconds = {"load_editor": self._editor.seconds, "load_critic": self._critic.seconds}
        self._editor.seconds = self._critic.seconds = 0.0
        return seconds


def resolve_critic(name: str, editor: str) -> str:
    """`auto` is the second GPU that is visible, where the editor has the first; else the editor's device.

    `all`: the model is spread over every GPU.
    """
    import torch

    if name != "auto":
        return name if name == "all" else str(choose_device(name))
    return "cuda:1" if editor == "cuda:0" and torch.cuda.device_count() > 1 else editor


def free_bytes(device: str) -> float:
    """Free memory of a GPU in bytes; host memory counts as endless."""
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else float("inf")


def weights_bytes(folder: str) -> int:
    """Bytes of a checkpoint's safetensors, and 4 GiB to work in."""
    files = Path(folder).rglob("*.safetensors") if folder else []
    return sum(file.stat().st_size for file in files) + 4 * GIB


def release_memory() -> None:
    """Give the GPU memory of models that are gone back to the driver."""
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def load(args: argparse.Namespace) -> Models:
    """The models of a job, not yet loaded; their folders are checked now, before any work is done."""
    from relane import fluxfill, qwen

    fluxfill.check_folder(Path(args.flux_fill))
    if args.qwen:
        qwen.check_folder(Path(args.qwen))
    return Models(args)


def check(args: argparse.Namespace) -> None:
    """Raise InputError for settings that no models can carry out."""
    if args.caption_refine_iters < 0:
        raise InputError(f"--caption-refine-iters is {args.caption_refine_iters}: use 0 (no critic) or more")
    if args.caption_refine_iters and not args.qwen:
        raise InputError("--qwen is blank: name a Qwen2.5-VL folder, or set --caption-refine-iters 0 for no critic")
    if args.caption_refine_batch < 1:
        raise InputError(f"--caption-refine-batch is {args.caption_refine_batch}: at least one try is judged at a time")
    if args.fp8 and (args.offload != "none" or (args.lora and args.lora_scale and not args.fuse_projections)):
        raise InputError("--fp8: not with --offload, and with a LoRA only where --fuse-projections merges it")
    if not 0 < args.strength <= 1 or int(args.num_inference_steps * args.strength) < 1:
        raise InputError(
            f"--strength {args.strength} with --num-inference-steps {args.num_inference_steps} leaves no step to do: "
            "strength is above 0 and at most 1, and steps times strength at least 1"
        )
    if not 0 < args.max_sequence_length <= 512:
        raise InputError(f"--max-sequence-length is {args.max_sequence_length}: FLUX's T5 takes 1 to 512 tokens")
    paint_size(args.paint_size)


def paint_size(text: str) -> tuple[int, int] | None:
    """(height, width) of a text such as `128x192`, None of a blank one."""
    if not text:
        return None
    height, _, width = text.lower().partition("x")
    sides = [int(side) for side in (height, width) if side.isdecimal()]
    if len(sides) < 2 or any(side < 16 or side % 16 for side in sides):
        raise InputError(f"--paint-size {text!r}: expected HEIGHTxWIDTH, multiples of 16, such as 480x720")
    return sides[0], sides[1]


def read_first(clip: str, masks: str) -> "tuple[np.ndarray, np.ndarray]":
    """Frame 0 of the clip (H, W, 3) uint8 and its mask (H, W) bool. Raises InputError where they do not fit."""
    from relane.maskfile import MaskFile
    from relane.video import iter_frames

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


def what_to_ask(
    args: argparse.Namespace, models: Models, timer: Timer, frame: "np.ndarray", mask: "np.ndarray"
) -> tuple[str, Attributes, dict[str, Any]]:
    """The instruction in full, the attributes it asks for, and what the sidecar keeps of how a sham's were read."""
    if args.instruction.strip().lower() != SHAM:
        made = instructions.make(args.instruction)
        return made.text, made.attributes or Attributes(), {}
    if not args.qwen:
        return lanes.instruction_of(Attributes()), Attributes(), {"read": None}
    from relane import captions

    qwen = models.critic()
    with timer("read_attributes"):
        [read] = captions.caption(qwen, [frame], [mask])
    captions.refuse_unreadable([read], args.qwen)
    return lanes.instruction_of(read.attributes), read.attributes, {"read": {"reply": read.reply, "asked": read.asked}}


def run(args: argparse.Namespace, models: Models) -> None:
    """Repaint one clip's first frame and write picture, sidecar and refine folder."""
    from relane import critic, files

    check(args)
    memory.reset_gpu_peaks()
    timer = Timer()  # its phases are without those in which models are loaded or moved
    with timer("read"):
        frame, mask = read_first(args.clip, args.inpaint_masks)
    text, wanted, sham = what_to_ask(args, models, timer, frame, mask)
    key = (args.seed, args.video, text)
    settings, about_painting = paint_settings(args), {}

    def paint(caption: str, number: int) -> "np.ndarray":
        editor = models.editor()
        if number == 1:
            about_painting.update(describe_painting(editor, mask, settings))
        with timer("paint"):
            return editor.paint(frame, mask, caption, seed_key=(*key, number), **settings)

    def ask(questions: list, **how: Any) -> list[str]:
        qwen = models.critic()
        with timer("judge"):
            return qwen.ask(questions, **how)

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
    record = describe(args, models, text, wanted, refinement) | sham | about_painting
    seen = frame if args.keep_masked_pixels else frame * ~mask[..., None]
    with timer("write"):
        critic.write_tries(args.refine_folder, seen, refinement, record)
    critic.write_picture(args.output, refinement.chosen.output)
    seconds = timer.seconds | models.load_seconds() | {"total": timer.total}
    files.write_json(args.sidecar, record | {"seconds": seconds, **memory.peaks()})


def paint_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The flags that `FluxFill.paint` takes, under its own names."""
    return {
        "steps": args.num_inference_steps,
        "guidance": args.guidance_scale,
        "strength": args.strength,
        "keep_masked_pixels": args.keep_masked_pixels,
        "max_sequence_length": args.max_sequence_length,
        "mask_feather": args.mask_feather,
        "size": paint_size(args.paint_size),
    }


def describe_painting(editor: Any, mask: "np.ndarray", settings: dict[str, Any]) -> dict[str, Any]:
    """What the sidecar says of how the editor paints; a size that leaves noise is said on stderr too."""
    height, width = editor.size_of(mask, settings["size"])
    warning = editor.warning(height, width, settings["steps"])
    if warning:
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    return {"painted_at": f"{height}x{width}", "warning": warning or None, "lora_left_out": editor.lora_left_out}


def describe(
    args: argparse.Namespace, models: Models, text: str, wanted: Attributes, refinement: "Refinement"
) -> dict[str, Any]:
    """The sidecar, but for seconds and memory."""
    from dataclasses import asdict

    chosen = refinement.chosen
    settings = (
        "lora lora_scale num_inference_steps guidance_scale strength max_sequence_length paint_size mask_feather "
        "keep_masked_pixels caption_refine_batch caption_refine_temperature caption_max_tokens seed flux_fill qwen "
        "dtype offload compile attention_backend fuse_projections channels_last fp8"
    )
    return {
        "video": args.video,
        "arm": SHAM if args.instruction.strip().lower() == SHAM else "instruction",
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
        "parameters": {name: getattr(args, name) for name in settings.split()},
        "devices": models.devices,
    }


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    check(args)  # before minutes of loading
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
