"""Train the demo's CogVideoX and VideoPainter branch on clips of the synthetic world; writes both checkpoint folders.

A picture autoencoder first, the video autoencoder from it, then transformer and branch together.
"""

import argparse
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

from relane import cli

if TYPE_CHECKING:
    from diffusers import AutoencoderKLCogVideoX

    from simworld.learning.moving import Clips


def parser() -> argparse.ArgumentParser:
    """Command line."""
    from simworld.learning import loop

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    loop.add_flags(options, samples=1300)
    add = options.add_argument
    add("--branch-output", required=True, type=Path, help="folder of the VideoPainter branch")
    add("--flat-seconds", type=float, default=60.0, help="of training, for the picture autoencoder")
    add("--vae-seconds", type=float, default=200.0, help="of training, for the video autoencoder")
    add("--flat-batch-size", type=int, default=32)
    add("--vae-batch-size", type=int, default=4)
    return options


def learn_pictures(args: Namespace, data: "Clips") -> "AutoencoderKLCogVideoX":
    """The video autoencoder, trained on frames, then on clips."""
    from simworld.learning import autoencoder, loop, moving

    autocast = loop.autocast(data.device)
    flat = moving.flat_autoencoder(args.seed).to(data.device)
    video = moving.video_autoencoder(args.seed).to(data.device)

    def frame_loss(step: int):
        return autoencoder.loss(flat, *data.frames(args.flat_batch_size), autocast)

    def clip_loss(step: int):
        return autoencoder.loss(video, *data.clips(args.vae_batch_size, step), autocast)

    budget = Namespace(**{**vars(args), "seconds": args.flat_seconds})
    loop.train(flat, frame_loss, budget, name="video_flat", rate=1.5e-3)
    autoencoder.inflate(flat.state_dict(), video)
    budget.seconds = args.vae_seconds
    loop.train(video, clip_loss, budget, name="video_vae", rate=8e-4)
    return video


def main(argv: list[str] | None = None) -> None:
    """Render, train, write."""
    import torch

    from relane.io.files import atomic_folder
    from relane.noise import seed_of
    from simworld.learning import loop, moving, pictures
    from simworld.tiny import cogvideox, text

    args = parser().parse_args(argv)
    device = loop.device_of(args.device)
    autocast = loop.autocast(device)
    started = time.monotonic()
    keys = [("learning", "moving", args.seed, number) for number in range(args.samples)]
    rows = pictures.gathered(pictures.painted_clips, keys, args.work / "clips", args.workers)
    print(f"{len(rows['video'])} clips in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    torch.manual_seed(seed_of("learning", "moving", args.seed))
    data = moving.Clips(rows, device)
    vae = learn_pictures(args, data)
    latents = moving.encode(vae, data, autocast)
    del data

    tokenizer = cogvideox.tokenizer()
    with text.seeded(args.seed):
        encoder = cogvideox.text_encoder(len(tokenizer))
    painter = moving.Painter(args.seed).to(device)
    loss = moving.Loss(painter, latents, moving.prompts(tokenizer, encoder, device), autocast)
    batch = args.batch_size or (48 if device.type == "cuda" else 2)
    steps = loop.train(painter, lambda step: loss(batch), args, name="video", rate=1e-3)

    painter.half().cpu()
    cogvideox.save(vae.half().cpu(), painter.transformer, encoder.half(), tokenizer, args.output)
    with atomic_folder(args.branch_output) as folder:
        painter.branch.save_pretrained(folder)
    print(f"{args.output}, {args.branch_output}: {steps} steps", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
