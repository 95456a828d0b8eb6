"""Train the demo's FLUX Fill on lane lines of the synthetic world; writes a folder that FluxFillPipeline loads.

First the autoencoder, then the transformer; the text encoders stay random and only tell the prompts apart. With
--start-from a folder that was trained before, its autoencoder stays and its transformer learns on.
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
    from diffusers import AutoencoderKL, FluxFillPipeline

    from simworld.learning.painting import Pictures


def parser() -> argparse.ArgumentParser:
    """Command line."""
    from simworld.learning import loop

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    loop.add_flags(options, samples=3000)
    options.add_argument("--vae-seconds", type=float, default=180.0, help="of training, for the autoencoder")
    options.add_argument("--vae-batch-size", type=int, default=32)
    options.add_argument("--start-from", type=Path, help="a FluxFillPipeline folder of this script's, to learn on from")
    return options


def learn_pictures(args: Namespace, data: "Pictures") -> "AutoencoderKL":
    """The autoencoder, trained, its config stating the latents' shift and scale."""
    from simworld.learning import autoencoder, loop, painting
    from simworld.tiny import flux_fill, text

    with text.seeded(args.seed):
        vae = flux_fill.autoencoder((24, 40, 64, 80)).to(data.device)
    autocast = loop.autocast(data.device)

    def loss_of(step: int):
        return autoencoder.loss(vae, *data.batch(args.vae_batch_size), autocast)

    loop.train(vae, loss_of, Namespace(**{**vars(args), "seconds": args.vae_seconds}), name="flux_vae", rate=1.5e-3)
    shift, deviation = painting.measure(vae, data)
    vae.register_to_config(shift_factor=shift, scaling_factor=1 / deviation)
    return vae


def start(args: Namespace, data: "Pictures") -> "FluxFillPipeline":
    """A pipeline in float32 with a trained autoencoder, and a transformer that is new or learns on."""
    import torch
    from diffusers import FluxFillPipeline

    from simworld.learning import painting
    from simworld.tiny import flux_fill

    if not args.start_from:
        return flux_fill.pipeline(learn_pictures(args, data), painting.transformer(args.seed), args.seed)
    pipeline = FluxFillPipeline.from_pretrained(args.start_from, torch_dtype=torch.float32, local_files_only=True)
    pipeline.vae.to(data.device)
    return pipeline


def main(argv: list[str] | None = None) -> None:
    """Render, train both, write."""
    import torch

    from relane.noise import seed_of
    from simworld.learning import loop, painting, pictures
    from simworld.tiny import flux_fill

    args = parser().parse_args(argv)
    device = loop.device_of(args.device)
    started = time.monotonic()
    keys = [("learning", "painting", args.seed, number) for number in range(args.samples)]
    rows = pictures.gathered(pictures.painted_moments, keys, args.work / "pictures", args.workers)
    print(f"{len(rows['source'])} moments in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    torch.manual_seed(seed_of("learning", "painting", args.seed))
    data = painting.Pictures(rows, device)
    pipeline = start(args, data)
    latents = painting.encode(pipeline.vae, data)
    del data

    prompts, net = painting.Prompts(pipeline, device), pipeline.transformer.to(device)
    batch = args.batch_size or (192 if device.type == "cuda" else 8)

    def loss_of(step: int):
        return painting.loss(net, latents, prompts, batch, loop.autocast(device))

    # What has learnt before would be torn apart by the rate of a beginning.
    rate = 5e-4 if args.start_from else 1.5e-3
    steps = loop.train(net, loss_of, args, name="flux", rate=rate)
    flux_fill.save(pipeline.to("cpu", torch.float16), args.output)
    print(f"{args.output}: {steps} steps", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
