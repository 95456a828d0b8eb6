"""Train the demo's SAM2 on roads of the synthetic world; writes the folder that `RoadSegmenter` loads."""

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
    loop.add_flags(options, samples=4000)
    return options


def main(argv: list[str] | None = None) -> None:
    """Render, train, write."""
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from safetensors.torch import save_file

    from relane.noise import seed_of
    from relane.road import sam2_video
    from simworld.learning import loop, pictures, roads
    from simworld.tiny import sam2

    args = parser().parse_args(argv)
    device = loop.device_of(args.device)
    started = time.monotonic()
    keys = [("learning", "roads", args.seed, number) for number in range(args.samples)]
    clips = list(pictures.rendered(pictures.road_clip, keys, args.workers))
    images = torch.from_numpy(np.stack([clip[0] for clip in clips])).to(device)
    truth = torch.from_numpy(np.stack([clip[1] for clip in clips])).to(device)
    print(f"{len(clips)} clips rendered in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    torch.manual_seed(seed_of("learning", "sam2", args.seed))
    model = sam2_video.build_predictor(OmegaConf.create(sam2.CONFIG).model, False).to(device)
    # There always is a road; where sam2 doubts it, it hides its mask, and the mask would learn nothing.
    torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 10.0)
    rng = np.random.default_rng(args.seed)
    batch = args.batch_size or (24 if device.type == "cuda" else 4)

    def loss_of(step: int):
        chosen = torch.from_numpy(rng.integers(len(images), size=batch)).to(device)
        # Long clips are slow: mostly few frames, from anywhere in the clip.
        count = int(rng.choice([2, 3, 6], p=[0.35, 0.35, 0.3]))
        start = int(rng.integers(images.shape[1] - count + 1))
        part = slice(start, start + count)
        return roads.clip_loss(model, images[chosen, part], truth[chosen, part], rng, loop.autocast(device))

    steps = loop.train(model, loss_of, args, name="sam2", rate=1.5e-3)
    with atomic_folder(args.output) as folder:
        (folder / "config.yaml").write_text(sam2.CONFIG, encoding="utf-8")
        tensors = {name: value.detach().half().cpu().contiguous() for name, value in model.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
    print(f"{args.output}: {steps} steps", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
