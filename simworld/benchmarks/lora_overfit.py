"""Does the LoRA learn? Eight rows, by scripts/train_lora.py: how far the loss falls, and what is painted then.

    python simworld/benchmarks/lora_overfit.py                                    # about a minute on a CPU
    python simworld/benchmarks/lora_overfit.py --flux-fill FOLDER --dataset FOLDER ...    # a trained model, 8 rows

Without `--flux-fill` a tiny transformer first learns (all its weights) to fill 64 pictures of empty road; then the
LoRA, on its attention alone, has to learn eight with lane markings. "Nearer" is in latents, inside the mask: the root
mean square distance of what the pipeline paints to the row's own latents, without and with the LoRA, same noise.
"""

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

from relane import cli

HEIGHT, WIDTH, TOKENS = 16, 32, 8


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--flux-fill", type=Path, help="folder of a trained FLUX.1-Fill; needs --dataset")
    add("--dataset", type=Path, help="folder with a train.csv")
    add("--max-sequence-length", type=int, default=TOKENS)
    add("--pretraining-steps", type=int, default=600)
    add("--steps", type=int, default=500)
    add("--rank", type=int, default=64)
    add("--learning-rate", type=float, default=1e-2)
    add("--device", default="cpu")
    add("--dtype", default="float32", choices=("float32", "bfloat16"))
    return options


def draw_dataset(folder: Path, count: int, seed: int, markings: bool) -> Path:
    """A dataset of small grey roads, with lane markings in the middle or without."""
    import numpy as np

    from relane.prompts.lanes import Attributes
    from relane.training import dataset

    random = np.random.default_rng(seed)
    rows = []
    for n in range(count):
        double, yellow, dashed = n % 2, n // 2 % 2, n // 4 % 2
        words = ("single", "double")[double], ("white", "yellow")[yellow], ("solid", "dashed")[dashed]
        image = np.full((HEIGHT, WIDTH, 3), 90 + random.integers(0, 60), np.uint8)
        if markings:
            for left in (12, 18)[: 1 + double]:
                image[:, left : left + 3] = ((255, 255, 255), (250, 210, 0))[yellow]
            if dashed:
                image[6:10] = 100
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[4:, 4:28] = True
        row = dataset.Row(f"images/{n}.png", f"masks/{n}.png", Attributes(*words).prompt())
        dataset.write_picture(folder / row.image, image)
        dataset.write_picture(folder / row.mask, mask)
        rows.append(row)
    dataset.write_rows(folder / "train.csv", rows)
    return folder


def encoded_rows(folder: Path, flux_fill: Path, source: Path, args):
    """The rows of a dataset, encoded."""
    import torch

    from relane.training.dataset import read_rows
    from relane.training.lora.cache import Cache
    from relane.training.lora.settings import Settings

    how = Settings(max_sequence_length=args.max_sequence_length, dtype=args.dtype)
    cache = Cache(folder, flux_fill, source, read_rows(source), how)
    cache.fill(torch.device(args.device))
    return cache


def pretrained(folder: Path, steps: int, args) -> Path:
    """A FLUX.1-Fill folder whose tiny transformer has learnt to fill pictures of empty road."""
    import torch

    from relane.training.lora import flow
    from relane.training.lora.cache import load_part
    from simworld import tiny
    from simworld.tiny import flux_fill, text

    base = tiny.build("flux_fill", folder / "flux_fill")
    cache = encoded_rows(folder / "cache", base, draw_dataset(folder / "empty", 64, 1, False), args)
    rows = [cache[number] for number in range(len(cache))]
    with text.seeded(0):
        model = flux_fill.transformer(heads=4).train()
    scheduler, peak = load_part(base, "scheduler"), 4e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1, (step + 1) / 30) * (1 - step / steps)
        batch = [rows[(8 * step + n) % len(rows)] for n in range(8)]
        draws = [flow.draw(row.latents.shape, 0.0, 1.0, step, n) for n, row in enumerate(batch)]
        loss = flow.loss(model, scheduler, batch, draws, 30.0, 1.0, torch.device("cpu"), torch.float32)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    shutil.rmtree(base / "transformer")
    model.save_pretrained(base / "transformer")
    return base


def distance(flux_fill: Path, lora: str, cache, args) -> float:
    """How far what is painted lies from the rows' own latents, inside the mask."""
    import torch
    from PIL import Image

    from relane import noise
    from relane.models.flux_fill import FluxFill

    pipe = FluxFill(flux_fill, lora, 1.0, args.device, getattr(torch, args.dtype)).pipe
    pipe.set_progress_bar_config(disable=True)
    squares = []
    for number, row in enumerate(cache.rows):
        image, mask = cache.pixels(number)
        painted = pipe(
            prompt=row.prompt,
            image=Image.fromarray(image),
            mask_image=Image.fromarray(mask.astype("uint8") * 255),
            height=mask.shape[0],
            width=mask.shape[1],
            num_inference_steps=20,
            max_sequence_length=args.max_sequence_length,
            generator=noise.generator("overfit", number),
            output_type="latent",
        ).images[0]
        inside = cache[number].mask.float().mean(1) > 0.5
        squares.append((painted.cpu().float() - cache[number].latents.float())[inside].square().mean())
    return float(torch.stack(squares).mean().sqrt())


def eight_rows(folder: Path, source: Path) -> Path:
    """A copy of a dataset's first eight rows."""
    from relane.training import dataset
    from relane.training.dataset_writer import Writer

    with Writer(folder, "copy") as writer:
        for row in dataset.read_rows(source)[:8]:
            writer.add(row, source, dataset.read_caption(source, row))
        writer.finish({})
    return folder


def main(argv: list[str] | None = None) -> None:
    """Train, measure, print."""
    args = parser().parse_args(argv)
    import train_lora

    with tempfile.TemporaryDirectory(prefix="relane-bench-") as name:
        folder = Path(name)
        flux_fill = args.flux_fill or pretrained(folder, args.pretraining_steps, args)
        drawn = args.dataset or draw_dataset(folder / "marked", 8, 2, True)
        source = eight_rows(folder / "rows", drawn)
        flags = (
            f"--dataset {source} --flux-fill {flux_fill} --output {folder}/lora --rank {args.rank} --alpha {args.rank}"
        )
        flags += f" --max-train-steps {args.steps} --learning-rate {args.learning_rate} --lr-warmup-steps 10"
        flags += f" --train-batch-size 8 --gradient-accumulation-steps 1 --checkpointing-steps {args.steps}"
        flags += f" --max-sequence-length {args.max_sequence_length} --sample-every 0 --validation-rows 0"
        flags += f" --gradient-checkpointing false --device {args.device} --dtype {args.dtype}"
        train_lora.main(flags.split())
        losses = [one["loss"] for one in json.loads((folder / "lora/loss_history.json").read_text())["training"]]
        first, last = sum(losses[:5]) / 5, sum(losses[-20:]) / 20
        print(f"loss: first five steps {first:.4f}, last twenty of {len(losses)} {last:.4f}: {first / last:.1f}x lower")
        cache = encoded_rows(folder / "cache", flux_fill, source, args)
        before, after = (distance(flux_fill, lora, cache, args) for lora in ("", str(folder / "lora")))
        print(f"distance of what is painted to the rows' latents: {before:.3f} without the LoRA, {after:.3f} with it")


if __name__ == "__main__":
    cli.run(main)
