"""Train the demo's driving model, in Alpamayo-R1's format, on drives of the synthetic world.

It learns to keep its lane behind a slower car where the line is solid or double, and to change lane where it is
single and dashed, from what the front wide camera shows.
"""

import argparse
import sys
import time

from relane import cli
from relane.files import atomic_folder


def parser() -> argparse.ArgumentParser:
    """Command line."""
    from relane.tiny.learning import loop

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    loop.add_flags(options, samples=2500)
    return options


def main(argv: list[str] | None = None) -> None:
    """Render, train, write."""
    import shutil

    import numpy as np
    import torch

    from relane.noise import seed_of
    from relane.tiny import alpamayo
    from relane.tiny.learning import driving, loop, pictures

    args = parser().parse_args(argv)
    device = loop.device_of(args.device)
    base = args.work / "base"
    alpamayo.build(base, args.seed)
    driving.prepare(base)
    started = time.monotonic()
    keys = [("learning", "drives", args.seed, number) for number in range(args.samples)]
    found = [one for some in pictures.rendered(driving.examples, keys, args.workers) for one in some]
    print(f"{len(found)} examples rendered in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    torch.manual_seed(seed_of("learning", "driver", args.seed))
    network = driving.network_of(base).to(device)
    data = driving.Batches(base, found, device)
    rng = np.random.default_rng(args.seed)
    batch = args.batch_size or (40 if device.type == "cuda" else 4)

    def loss_of(step: int):
        chosen = torch.from_numpy(rng.integers(len(found), size=batch)).to(device)
        return driving.loss(network, data, chosen, rng, loop.autocast(device))

    steps = loop.train(network, loss_of, args, name="driver", rate=1e-3)
    network.half()
    for name, buffer in network.action_space.named_buffers():
        setattr(network.action_space, name, buffer.float())
    with atomic_folder(args.output) as folder:
        shutil.copy(base / "config.json", folder / "config.json")
        shutil.copytree(base / "vlm", folder / "vlm")
        alpamayo._save_shards(network.cpu(), folder)
    print(f"{args.output}: {steps} steps", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
