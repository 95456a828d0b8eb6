"""Does a LoRA that was trained on one set of markings paint that set better? A judge by pixels, before and after.

    .venv/bin/python simworld/benchmarks/lora_effect.py [--set double-white-solid ...] [--rows 128] [--scenes 20]

Rows are frames of the synthetic world with these markings, a corridor around their lines as the mask; on them
scripts/train_lora.py trains, the masked part weighing more. Then both painters paint the same held-out scenes with the
same noise, each asked for the set and for all other markings: what the LoRA gains, and what it costs elsewhere.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import torch
import train_lora

from relane import cli
from relane.io.masks import grow
from relane.models.flux_fill import FluxFill
from relane.noise import seed_of
from relane.training import dataset
from simworld.benchmarks.tiny_first_frames import DILATE, judge_edits
from simworld.learning.pictures import ALL, PAINT_SIZE, Crop, corridor, lines_to_cover, rng_of
from simworld.world.dataset import parse_slug
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--checkpoints", type=Path, default=Path(__file__).parents[2] / "resources/tiny", help="with flux_fill/ in it")
    add("--set", nargs="+", default=["single-white-solid", "double-white-solid"], metavar="COUNT-COLOR-PATTERN")
    add("--rows", type=int, default=128, help="of the training set (default: %(default)s)")
    add("--train-steps", type=int, default=400)
    add("--rank", type=int, default=32)
    add("--learning-rate", type=float, default=1e-3)
    add("--scenes", type=int, default=20, help="held-out scenes to paint (default: %(default)s)")
    add("--steps", type=int, default=8, help="of FLUX Fill")
    add("--region", choices=("corridor", "road"), default="corridor")
    add("--keep-masked-pixels", type=cli.true_or_false, default=False)
    add("--device", default="cpu")
    return options


def write_rows(folder: Path, wanted: list, count: int) -> Path:
    """A dataset of the world's frames with the wanted markings, used in turn."""
    rows = []
    for number in range(count):
        rng = rng_of("lora rows", number)
        attributes = wanted[number % len(wanted)]
        scene = Scene(seed_of("lora rows", number), attributes, slower_car=number % 3 == 0)
        t = float(rng.uniform(0, 10))
        frame = scene.render(FRONT_WIDE, t)
        lines = corridor(scene, t, lines_to_cover(rng, scene), frame.road_mask)
        box = Crop(rng, scene.height, scene.width)  # as the painter will see it
        row = dataset.Row(f"images/{number}.png", f"masks/{number}.png", attributes.prompt())
        dataset.write_picture(folder / row.image, box(frame.image))
        dataset.write_picture(folder / row.mask, box.mask(grow(lines, DILATE)))
        rows.append(row)
    dataset.write_rows(folder / "train.csv", rows)
    return folder


def main(argv: list[str] | None = None) -> None:
    """Train, paint twice, print."""
    args = parser().parse_args(argv)
    wanted = [parse_slug(text) for text in args.set]
    others = [one for one in ALL if one not in wanted]
    base = args.checkpoints / "flux_fill"
    with tempfile.TemporaryDirectory(prefix="relane-bench-") as name:
        folder = Path(name)
        write_rows(folder / "rows", wanted, args.rows)
        flags = (
            f"--dataset {folder}/rows --flux-fill {base} --output {folder}/lora --rank {args.rank} --alpha {args.rank}"
        )
        flags += f" --max-train-steps {args.train_steps} --checkpointing-steps {args.train_steps} --lr-warmup-steps 10"
        flags += f" --learning-rate {args.learning_rate} --train-batch-size 8 --gradient-accumulation-steps 1"
        flags += f" --height {PAINT_SIZE[0]} --width {PAINT_SIZE[1]} --max-sequence-length 16 --masked-weight 10"
        flags += " --sample-every 0 --validation-rows 0 --gradient-checkpointing false"
        train_lora.main([*flags.split(), "--device", args.device, "--dtype", "float32"])
        print(f"{args.train_steps} steps on {args.rows} rows of {', '.join(args.set)}; {args.scenes} held-out scenes")
        print(f"{'painted as asked, all attributes':36}{'the set':>10}{'the others':>12}")
        for title, lora in (("without the LoRA", ""), ("with it", str(folder / "lora"))):
            painter = FluxFill(base, lora, 1.0, args.device, torch.float32)
            shares = [judge_edits(painter, args, asked).share() for asked in (wanted, others)]
            print(f"{title:36}{shares[0]:10.1%}{shares[1]:12.1%}", flush=True)


if __name__ == "__main__":
    cli.run(main)
