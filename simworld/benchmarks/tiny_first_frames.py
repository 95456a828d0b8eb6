"""Are the lines that FLUX Fill paints the ones asked for? A judge by pixels, on scenes that training never saw.

    python simworld/benchmarks/tiny_first_frames.py [--checkpoints resources/tiny] [--scenes 20] [--picture out.png]

Every scene is repainted to each of the eight combinations of count, colour and pattern, inside the corridor (or the
whole road) that the pipeline would select. A row a combination: share of edits of which the judge
(simworld.world.judge, no learnt model) reads count, colour, pattern and all three as asked, out of those that it reads
so in the true re-render. Below: how far the asphalt's tone moves inside the mask, and the change outside it.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import cv2
import numpy as np
import torch

from relane import cli, noise
from relane.config.sections.region import Region
from relane.io.masks import grow
from relane.models.flux_fill import FluxFill
from relane.noise import seed_of
from relane.prompts.lanes import ALLOWED, Attributes
from relane.road.regions import corridor_region
from simworld.learning.pictures import ALL, PAINT_SIZE, any_attributes, repainted, rng_of
from simworld.world.judge import read_line
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene

FRAMES, STEP = 11, 0.1  # of the clip in which the corridor is found, seconds
DILATE, FEATHER = 5, 3  # as in config/demo.yaml
OFF_LINES = 7


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--checkpoints", type=Path, default=Path("resources/tiny"))
    add("--scenes", type=int, default=20)
    add("--steps", type=int, default=8, help="of FLUX Fill")
    add("--region", choices=("corridor", "road"), default="corridor")
    add("--keep-masked-pixels", type=cli.true_or_false, default=False)
    add("--lora", default="", help="a LoRA to paint with")
    add("--lora-scale", type=float, default=1.0)
    add("--picture", help="PNG: a row a scene, the source, then the eight edits")
    add("--device", default="cpu")
    return options


def scene_of(part: str, number: int, attributes: Attributes | None = None) -> tuple[Scene, float, np.random.Generator]:
    """A held-out scene, a moment in it, and the generator for what else is drawn."""
    rng = rng_of("judge", part, number)
    scene = Scene(seed_of("judge", part, number), attributes or any_attributes(rng), slower_car=number % 3 == 0)
    return scene, float(rng.uniform(0, 10)), rng


def mask_of(scene: Scene, t: float, region: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The picture at t, its true road, and what would be repainted: (H, W, 3) uint8, (H, W) bool twice."""
    frames = [scene.render(FRONT_WIDE, t + STEP * number) for number in range(FRAMES)]
    first = frames[0]
    if region == "road":
        return first.image, first.road_mask, grow(first.road_mask, DILATE)
    roads = np.stack([frame.road_mask for frame in frames])
    _, masks = corridor_region([frame.image for frame in frames], roads, Region(), DILATE)
    return first.image, first.road_mask, next(masks)


@dataclass
class Found:
    """What the judge read: by slug of what was asked and by attribute; the asphalt's tone; the change outside."""

    right: dict[str, dict[str, list[bool]]]
    tones: list[float]
    outside: int = 0
    rows: list[np.ndarray] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def share(self, name: str = "all") -> float:
        """Share of all edits whose attribute `name` is as asked."""
        return float(np.mean([value for values in self.right.values() for value in values[name]]))


def judge_edits(painter: FluxFill, args: argparse.Namespace, asked: Sequence[Attributes] = ALL) -> Found:
    """Paint every scene once for each of `asked`, and read what came of it."""
    found = Found({wanted.slug(): defaultdict(list) for wanted in asked}, [])
    for number in range(args.scenes):
        scene, t, _ = scene_of("first frames", number)
        frame, road, mask = mask_of(scene, t, args.region)
        old = grow(scene.render(FRONT_WIDE, t).marking_mask, OFF_LINES)
        shown = [frame]
        for wanted in asked:
            ideal = repainted(scene, wanted).render(FRONT_WIDE, t)
            edit = painter.paint(
                frame, mask, wanted.prompt(), partial(noise.generator, ("judge", number, wanted.slug())),
                num_inference_steps=args.steps,
                keep_masked_pixels=args.keep_masked_pixels, max_sequence_length=16, mask_feather=FEATHER,
                height=PAINT_SIZE[0], width=PAINT_SIZE[1],
            )  # fmt: skip
            shown.append(edit)
            found.outside = max(found.outside, int(np.abs(edit.astype(int) - frame)[~mask].max()))
            off = mask & road & ~grow(ideal.marking_mask, OFF_LINES) & ~old
            if off.any():
                found.tones.append(float(np.abs(edit[off].mean(0) - frame[off].mean(0)).mean()))
            if read_line(ideal.image, scene, FRONT_WIDE, t, road) != wanted:
                continue
            read = read_line(edit, scene, FRONT_WIDE, t, road)
            same = {name: read is not None and getattr(read, name) == getattr(wanted, name) for name in ALLOWED}
            for name, value in (same | {"all": all(same.values())}).items():
                found.right[wanted.slug()][name].append(value)
            if read != wanted:
                found.wrong.append(f"scene {number}: {wanted.slug()} read as {read.slug() if read else 'no line'}")
        found.rows.append(np.hstack(shown))
    return found


def main(argv: list[str] | None = None) -> None:
    """Paint, judge, print."""
    args = parser().parse_args(argv)
    painter = FluxFill(args.checkpoints / "flux_fill", args.lora, args.lora_scale, args.device, torch.float32)
    found = judge_edits(painter, args)
    names = (*ALLOWED, "all")
    print(f"{args.scenes} scenes, {args.region}, {args.steps} steps, keep_masked_pixels {args.keep_masked_pixels}")
    print(f"{'asked':24s}" + "".join(f"{name:>9s}" for name in names) + "   edits")
    for slug, values in found.right.items():
        print(f"{slug:24s}" + "".join(f"{np.mean(values[name]):9.1%}" for name in names), len(values["all"]))
    total = sum(len(values["all"]) for values in found.right.values())
    print(f"{'all':24s}" + "".join(f"{found.share(name):9.1%}" for name in names), total)
    print(
        f"asphalt tone inside the mask moves by {np.mean(found.tones):.2f} grey levels; outside it by {found.outside}"
    )
    print("\n".join(found.wrong))
    if args.picture:
        cv2.imwrite(args.picture, np.vstack(found.rows)[..., ::-1])


if __name__ == "__main__":
    cli.run(main)
