"""Train a LoRA for FLUX.1-Fill on a captioned dataset.

Rows are encoded once and cached; then the text encoders and the VAE are freed and the LoRA is trained by flow matching
on FLUX Fill's own inputs: noisy latents, latents of the picture with a hole, and the mask. The hole is what painting
would repaint of the same picture: of frames of videos the corridor or the road, else the row's own mask. Killed, it
goes on from its last checkpoint when it is called again, and ends with the same loss history and weights (to the last
bit on a CPU). Several GPUs: `accelerate launch --num_processes N scripts/train_lora.py ...`.
"""

import argparse
from pathlib import Path

from relane import cli
from relane.errors import InputError

LESS_MEMORY = "lora.gradient_checkpointing: true, lora.train_batch_size: 1, a smaller lora.rank"


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--dataset", required=True, type=Path, help="folder with a train.csv")
    add("--flux-fill", required=True, type=Path, help="folder of FLUX.1-Fill in diffusers' layout")
    add("--output", required=True, type=Path, help="the LoRA's folder; its name is the LoRA's")
    add("--rank", type=int, default=128)
    add("--alpha", type=float, default=128, help="the LoRA is scaled by alpha / rank")
    add("--learning-rate", type=float, default=1e-5)
    add("--lr-scheduler", default="cosine", choices=("cosine", "linear", "constant", "constant_with_warmup"))
    add("--lr-warmup-steps", type=int, default=50)
    add("--train-batch-size", type=int, default=1, help="rows a GPU and micro-step")
    add("--gradient-accumulation-steps", type=int, default=4, help="micro-steps an optimizer step")
    add("--num-train-epochs", type=int, default=5)
    add("--max-train-steps", type=int, default=0, help="optimizer steps; 0: as many as the epochs take")
    add("--weight-decay", type=float, default=1e-2)
    add("--max-grad-norm", type=float, default=1.0, help="gradients are clipped to this norm")
    add("--optimizer", default="adamw", choices=("adamw", "adamw8bit"), help="adamw8bit needs bitsandbytes")
    add("--guidance-scale", type=float, default=30.0, help="what the guidance embedding is told: as in painting")
    add("--max-sequence-length", type=int, default=512, help="T5 tokens: as in painting")
    add("--height", type=int, default=0, help="training size in pixels, a multiple of 16; 0: each picture's own")
    add("--width", type=int, default=0)
    add("--masked-weight", type=float, default=10.0, help="weight of the masked region in the loss; 1: as all the rest")
    add("--keep-masked-pixels", type=cli.true_or_false, default=False, help="as in painting: no hole under the mask")
    add_region(options.add_argument_group("region", "which part of a video frame's road is masked: as in painting"))
    add("--logit-mean", type=float, default=0.0, help="of the logit-normal times")
    add("--logit-std", type=float, default=1.0)
    add("--validation-rows", type=int, default=4, help="rows held out, at most one in eight")
    add("--checkpointing-steps", type=int, default=100)
    add("--checkpoints-total-limit", type=int, default=4, help="keep this many")
    add("--resume", default="latest", help="latest, never, or a checkpoint's folder")
    add("--gradient-checkpointing", type=cli.true_or_false, default=True, help="less memory, more time")
    add("--compile", type=cli.true_or_false, default=False, help="torch.compile the transformer's blocks")
    add("--sample-every", type=int, default=500, help="steps between sample pictures and validations; 0: none")
    add("--sample-inference-steps", type=int, default=28)
    add("--seed", type=int, default=42)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--dtype", default="bfloat16", choices=("float32", "bfloat16"))
    return options


def add_region(group: argparse._ArgumentGroup) -> None:
    """The flags of scripts/select_region.py; masks that are no roads are taken as they are."""
    group.add_argument("--region", choices=("corridor", "road"), default="corridor", help="around the lines, or all")
    group.add_argument("--dilate-size", type=int, default=24, help="grow by a square of this side in pixels")
    group.add_argument("--corridor-width", type=float, default=1.0, help="around each line's middle")
    group.add_argument("--corridor-unit", choices=("m", "px"), default="m", help="metres, or pixels of the picture")
    group.add_argument("--camera-height", type=float, default=1.5, help="metres above the road; sets the scale")


def check(args: argparse.Namespace) -> None:
    """Raise InputError for settings that no training can have."""
    from relane.lora.settings import Settings, check_resume

    Settings.of(args)
    for name in ("checkpointing_steps", "checkpoints_total_limit", "sample_inference_steps"):
        if getattr(args, name) < 1:
            raise InputError(f"lora.{name}: must be at least 1, got {getattr(args, name)}")
    check_resume(args.resume)


def make_accelerator(args: argparse.Namespace):
    """Accelerate's view of the device, the number type and the accumulation."""
    import torch
    from accelerate import Accelerator

    if args.device.startswith("cuda:"):
        torch.cuda.set_device(args.device)
    return Accelerator(
        cpu=args.device == "cpu",
        mixed_precision="bf16" if args.dtype == "bfloat16" else "no",
        gradient_accumulation_steps=args.gradient_accumulation_steps,
    )


def prepare(args: argparse.Namespace, accelerator):
    """(trainer at its first or resumed step, number of rows that were encoded now).

    Raises InputError for a bad list, a bad row, wrong settings, and a checkpoint that does not fit; whatever was in
    the output folder is then still there.
    """
    from datetime import datetime

    from relane import dataset
    from relane.digest import weights_digest
    from relane.lora import checkpoints
    from relane.lora.cache import Cache
    from relane.lora.settings import Settings, identity
    from relane.lora.trainer import Trainer, Upkeep

    check(args)
    settings = Settings.of(args)
    if settings.keep_masked_pixels:
        # It is asked for the pixels that it is shown; whoever paints so has to know.
        accelerator.print("warning: keep_masked_pixels: the model may learn to copy what it sees under the mask")
    rows = dataset.read_rows(args.dataset)
    dataset.check_rows(args.dataset, rows)
    cache = Cache(args.output / "cache", args.flux_fill, args.dataset, rows, settings)
    who = identity(settings, cache.digest, weights_digest(args.flux_fill / "transformer"), accelerator.num_processes)
    start, said = checkpoints.choose(args.output, args.resume, who)
    for line in said:
        accelerator.print(line, flush=True)
    encoded = cache.fill(accelerator.device, accelerator.process_index, accelerator.num_processes)
    accelerator.wait_for_everyone()
    if settings.train_batch_size > 1:
        cache.check_sizes()
    upkeep = Upkeep(**{name: getattr(args, name) for name in Upkeep.__dataclass_fields__})
    run_id = f"{args.output.resolve().name}_{datetime.now():%Y%m%d_%H%M%S}"
    trainer = Trainer(cache, settings, upkeep, accelerator, checkpoints.Progress(who, run_id))
    if start:
        trainer.resume(start)
    elif accelerator.is_main_process:
        checkpoints.set_aside(args.output)
    trainer.progress.identity = who
    return trainer, encoded


def show(args: argparse.Namespace, trainer, writer, vae) -> None:
    """TensorBoard's numbers of the last step and, every `sample_every` steps, validation and sample pictures."""
    from relane.dataset import write_picture
    from relane.lora import report

    progress, main = trainer.progress, trainer.accelerator.is_main_process
    if main:
        for name, value in progress.history[-1].items():
            if name != "step":
                writer.add_scalar(f"train/{name}", value, progress.step)
    due = args.sample_every and (progress.step % args.sample_every == 0 or progress.step == trainer.total)
    if not (due and main):
        return
    loss = trainer.validate()
    if loss is not None:
        progress.validation.append({"step": progress.step, "loss": loss})
        writer.add_scalar("validation/loss", loss, progress.step)
    numbers = trainer.validation_rows or trainer.train_rows[:4]
    parts = (trainer.moving.transformer, vae, trainer.flow_scheduler)
    device = trainer.accelerator.device
    picture = report.paint_samples(parts, trainer.cache, numbers, args.sample_inference_steps, device)
    write_picture(args.output / "samples" / f"step_{progress.step:06d}.png", picture)
    writer.add_image("samples", picture, progress.step, dataformats="HWC")


def summarize(args: argparse.Namespace, trainer, encoded: int, encode_seconds: float) -> dict:
    """What training_summary.json says."""
    from dataclasses import asdict

    from relane.lora import adapter
    from relane.memory import peaks

    progress, how, processes = trainer.progress, trainer.how, trainer.accelerator.num_processes
    losses = [one["loss"] for one in progress.history]
    last = losses[-50:]
    tensors, parameters = adapter.size(trainer.moving.transformer)
    seen = how.train_batch_size * how.gradient_accumulation_steps * processes * progress.step
    seconds = max(progress.seconds, 1e-9)
    return {
        "run_id": progress.run_id,
        "dataset": str(args.dataset),
        "dataset_rows": len(trainer.cache),
        "training_rows": len(trainer.train_rows),
        "validation_rows": len(trainer.validation_rows),
        "steps": progress.step,
        "epochs": seen / len(trainer.train_rows),
        "first_loss": losses[0],
        "final_loss": sum(last) / len(last),
        "final_loss_is_mean_of": len(last),
        "validation_loss": progress.validation[-1]["loss"] if progress.validation else None,
        "encoded_files": encoded,
        "encoding_seconds": encode_seconds,
        "training_seconds": progress.seconds,
        "steps_per_second": progress.step / seconds,
        "images_per_second": seen / seconds,
        "resumed_at_steps": progress.resumed_at,
        **peaks(),
        "device": str(trainer.accelerator.device),
        "processes": processes,
        "lora_tensors": tensors,
        "lora_parameters": parameters,
        "settings": asdict(how),
    }


def finish(args: argparse.Namespace, trainer, encoded: int, encode_seconds: float) -> None:
    """Write the outputs that the rule declares."""
    import torch

    from relane.files import write_json, write_text
    from relane.lora import adapter, report

    progress = trainer.progress
    write_json(args.output / "loss_history.json", {"training": progress.history, "validation": progress.validation})
    summary = summarize(args, trainer, encoded, encode_seconds)
    write_json(args.output / "training_summary.json", summary)
    write_text(args.output / "training_summary.txt", report.summary_text(summary))
    weights = args.output / adapter.PIPELINE_WEIGHTS
    adapter.save_for_pipeline(trainer.moving.transformer, weights, getattr(torch, args.dtype))


def run(args: argparse.Namespace) -> None:
    """Train, or go on training. Raises InputError as `prepare` does, and when the loss is no longer finite."""
    import time

    import diffusers
    import torch
    import transformers

    from relane.lora import checkpoints
    from relane.lora.cache import load_part

    # The bars of loading say nothing that the log should keep.
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    accelerator = make_accelerator(args)
    main = accelerator.is_main_process
    started = time.perf_counter()
    trainer, encoded = prepare(args, accelerator)
    encode_seconds = time.perf_counter() - started
    if main:
        for folder in (args.output, trainer.cache.folder):
            checkpoints.clear_partial(folder)
        trainer.cache.prune()
    # In float32, whatever the training is in: Accelerate gives out the transformer's results so.
    vae = load_part(args.flux_fill, "vae", torch.float32) if main and args.sample_every else None
    writer = None
    if main:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(args.output / "tensorboard", purge_step=trainer.progress.step + 1)
    for _ in trainer.steps():
        show(args, trainer, writer, vae)
    accelerator.wait_for_everyone()
    if main:
        writer.close()
        finish(args, trainer, encoded, encode_seconds)
    accelerator.end_training()


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
