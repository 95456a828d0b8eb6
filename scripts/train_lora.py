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
from relane.config.arguments import add_options
from relane.config.sections.lora import Lora, Upkeep
from relane.config.sections.region import Hole, Region

LESS_MEMORY = "lora.gradient_checkpointing: true, lora.train_batch_size: 1, a smaller lora.rank"


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--dataset", required=True, type=Path, help="folder with a train.csv")
    add("--flux-fill", required=True, type=Path, help="folder of FLUX.1-Fill in diffusers' layout")
    add("--output", required=True, type=Path, help="the LoRA's folder; its name is the LoRA's")
    add_options(options, Lora)
    as_painted = options.add_argument_group("as in painting", "which part of a road is masked, and what is seen of it")
    add_options(as_painted, Region)
    add_options(as_painted, Hole)
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return options


def check(args: argparse.Namespace) -> None:
    """Raise InputError for settings that no training can have."""
    Lora.of(args)


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

    from relane.io.weights_digest import weights_digest
    from relane.training import dataset
    from relane.training.lora import checkpoints
    from relane.training.lora.cache import Cache
    from relane.training.lora.settings import Settings, identity
    from relane.training.lora.trainer import Trainer

    check(args)
    settings = Settings.of_arguments(args)
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
    upkeep = Upkeep.of(args)
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
    from relane.training.dataset import write_picture
    from relane.training.lora import report

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
    from relane.models.memory_stats import peaks
    from relane.training.lora import adapter

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
        "settings": how.model_dump(),
    }


def finish(args: argparse.Namespace, trainer, encoded: int, encode_seconds: float) -> None:
    """Write the outputs that the rule declares."""
    import torch

    from relane.io.files import write_json, write_text
    from relane.training.lora import adapter, report

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

    from relane.training.lora import checkpoints
    from relane.training.lora.cache import load_part

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
