"""Train the demo's CLIP to tell lane markings apart; writes a folder that `relane.evaluation.quality.Clip` loads."""

import argparse
import sys
import time
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

from relane import cli
from relane.io.files import atomic_folder


def parser() -> argparse.ArgumentParser:
    """Command line."""
    from simworld.learning import loop

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    loop.add_flags(options, samples=400)
    return options


def main(argv: list[str] | None = None) -> None:
    """Render, train, write."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    from relane.noise import seed_of
    from simworld.learning import loop, naming, pictures, reading
    from simworld.tiny import text

    args = parser().parse_args(argv)
    device = loop.device_of(args.device)
    started = time.monotonic()
    keys = [("learning", "naming", args.seed, number) for number in range(args.samples)]
    found = pictures.gathered(pictures.marked_moments, keys, args.work / "clip-moments", args.workers)
    data = reading.Moments(found, device)
    print(f"{len(data)} moments after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    tokenizer = text.clip_tokenizer()
    torch.manual_seed(seed_of("learning", "clip", args.seed))
    model = CLIPModel(naming.config(tokenizer)).to(device)
    pairs = naming.Pairs(data, tokenizer)
    batch = args.batch_size or (256 if device.type == "cuda" else 32)

    def loss_of(step: int):
        torch.manual_seed(seed_of("learning", "clip", args.seed, step))
        with loop.autocast(device):
            return pairs.loss(model, batch)

    steps = loop.train(model, loss_of, args, name="clip", rate=1e-3)
    with atomic_folder(args.output) as folder:
        model.to("cpu", torch.float16).save_pretrained(folder)
        CLIPProcessor(image_processor=naming.image_processor(), tokenizer=tokenizer).save_pretrained(folder)
    print(f"{args.output}: {steps} steps", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
