"""Train the demo's driving model, in Alpamayo-R1's format, on drives of the synthetic world.

It learns to keep its lane behind a slower car where the line is solid or double, and to change lane where it is
single and dashed, from what the front wide camera shows. Rendered drives are kept in --work, one file a scene: with
--seconds 0 it only renders.
"""

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
    loop.add_flags(options, samples=320)
    return options


def main(argv: list[str] | None = None) -> None:
    """Render, train, write."""
    import shutil

    import torch

    from relane.noise import seed_of
    from simworld.learning import drives, driving, loop, vision
    from simworld.tiny import alpamayo

    args = parser().parse_args(argv)
    device = loop.device_of(args.device)
    started = time.monotonic()
    files = list(drives.written(args.work / f"drives-{args.seed}", args.seed, args.samples, args.workers))
    print(f"{len(files)} scenes rendered in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if args.seconds <= 0:
        return

    torch.manual_seed(seed_of("learning", "driver", args.seed))
    network = driving.prepare(args.work / "base", args.seed)
    data = driving.Data(args.work / "base", files, network, device)
    learner = driving.Learner(network).to(device)
    batch = args.batch_size or (64 if device.type == "cuda" else 8)
    eyes = vision.OneSize(network.vlm.model.visual, driving.GRID, 16 * batch)

    def loss_of(_step: int):
        return driving.loss(learner, data, eyes, batch, loop.autocast(device))

    steps = loop.train(learner, loss_of, args, name="driver", rate=1.5e-3)
    driving.halve(network)
    with atomic_folder(args.output) as folder:
        shutil.copytree(args.work / "base", folder, dirs_exist_ok=True)
        alpamayo.save_shards(network.cpu(), folder)
    print(f"{args.output}: {steps} steps", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
