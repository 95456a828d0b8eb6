"""Train the demo's Qwen2.5-VL to name lane markings and to judge paintings; writes a folder for `models.qwen`."""

import argparse
import sys
import time
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

from relane import cli


def parser() -> argparse.ArgumentParser:
    """Command line."""
    from simworld.learning import loop

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    loop.add_flags(options, samples=600)
    return options


def main(argv: list[str] | None = None) -> None:
    """Render, train, write."""
    import numpy as np
    import torch
    from transformers import Qwen2_5_VLForConditionalGeneration

    from relane.noise import seed_of
    from relane.prompts import captions
    from simworld.learning import loop, pictures, reading, verdicts
    from simworld.tiny import qwen, text

    args = parser().parse_args(argv)
    device = loop.device_of(args.device)
    started = time.monotonic()
    keys = [("learning", "reading", args.seed, number) for number in range(args.samples)]
    found = pictures.gathered(pictures.marked_moments, keys, args.work / "qwen-moments", args.workers)
    data = reading.Moments(found, device)
    print(f"{len(data)} moments after {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    tokenizer = text.qwen_tokenizer([captions.QUESTION + captions.AGAIN, qwen.CHAT_TEMPLATE, *verdicts.texts()])
    vocabulary = -(-len(tokenizer) // 8) * 8
    config = qwen.config(qwen.special_tokens(tokenizer), vocabulary, reading.TEXT, reading.VISION)
    torch.manual_seed(seed_of("learning", "qwen", args.seed))
    reader = reading.Reader(Qwen2_5_VLForConditionalGeneration(config)).to(device)
    words = reading.Words(tokenizer, device)
    namings, panels = reading.Namings(data, words), verdicts.Panels(data)
    batch = args.batch_size or (64 if device.type == "cuda" else 12)
    latest: dict = {}

    def loss_of(step: int):
        # Keyed by the step, so that a training that goes on does not see the same batches again.
        rng = np.random.default_rng([args.seed, step])
        with loop.autocast(device):
            if step % 2:
                loss, figures = panels.loss(reader, words, 3 * batch // 4, rng)
            else:
                loss, figures = namings.loss(reader, batch, rng)
        latest.update(figures)
        return loss, latest

    steps = loop.train(reader, loss_of, args, name="qwen", rate=1.5e-3)
    qwen.write(args.output, reader.model.to("cpu", torch.float16), tokenizer, reading.PREPROCESSOR)
    print(f"{args.output}: {steps} steps", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
