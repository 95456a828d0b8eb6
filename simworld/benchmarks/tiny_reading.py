"""Does Qwen read the lines right, and does the critic agree with the truth? Scenes that training never saw.

    .venv/bin/python simworld/benchmarks/tiny_reading.py [--checkpoints resources/tiny] [--frames 100] [--paintings 40]

1. Captions: frames of the front wide camera, cut to the road as scripts/caption_frames.py does it; share of frames
   whose count, colour, pattern and all three are read as painted. Rows where another attribute is read are listed.
2. Critic: FLUX Fill paints each scene; the critic sees the three panels with the instruction that was painted, and
   with one that differs in one attribute. Truth for the first is a judge by pixels (simworld.world.judge); paintings in
   which it sees what was asked count as right. "agrees" is the share of verdicts equal to the truth, "names" the share
   of verdicts whose `seen` names the painted attributes.
"""

import argparse
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from functools import partial
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import numpy as np
import torch

from relane import cli, noise
from relane.evaluation.quality import Clip
from relane.models.flux_fill import FluxFill
from relane.models.qwen import Qwen
from relane.prompts import captions, critic
from relane.prompts.lanes import ALLOWED, instruction_of
from simworld.benchmarks.tiny_first_frames import FEATHER, mask_of, scene_of
from simworld.learning.pictures import ALL, PAINT_SIZE
from simworld.learning.reading import NAMES
from simworld.world.judge import read_line
from simworld.world.rig import FRONT_WIDE


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--checkpoints", type=Path, default=Path(__file__).parents[2] / "resources/tiny", help="with qwen/, flux_fill/")
    add("--frames", type=int, default=100, help="frames to caption (default: %(default)s)")
    add("--paintings", type=int, default=40, help="paintings to judge (default: %(default)s)")
    add("--steps", type=int, default=8, help="of FLUX Fill")
    add("--device", default="cpu")
    return options


def named(qwen: Qwen, count: int) -> None:
    """Part 1."""
    right, wrong = defaultdict(list), Counter()
    for start in range(0, count, 8):
        frames, masks, truths = [], [], []
        for number in range(start, min(start + 8, count)):
            scene, t, _ = scene_of("captions", number, ALL[number % len(ALL)])
            frame = scene.render(FRONT_WIDE, t)
            frames.append(frame.image)
            masks.append(frame.road_mask)
            truths.append(scene.attributes)
        for one, truth in zip(captions.caption(qwen, frames, masks, max_new_tokens=48), truths, strict=True):
            same = {name: getattr(one.attributes, name) == getattr(truth, name) for name in ALLOWED}
            for name, value in (same | {"all": one.attributes == truth}).items():
                right[name].append(value)
            if one.attributes != truth:
                wrong[f"{truth.slug()} read as {one.attributes.slug()}"] += 1
    print(f"captions of {count} held-out frames: " + ", ".join(f"{k} {np.mean(v):.1%}" for k, v in right.items()))
    for text, times in wrong.most_common():
        print(f"  {text}: {times}")


def scored(args: argparse.Namespace) -> None:
    """Part 3."""
    clip = Clip(args.checkpoints / "clip", args.device, torch.float32)
    words = torch.stack([clip.text(one.prompt()) for one in ALL])
    right = []
    for number in range(args.frames):
        scene, t, _ = scene_of("captions", number, ALL[number % len(ALL)])
        frame = torch.from_numpy(scene.image(FRONT_WIDE, t)).permute(2, 0, 1).float() / 255
        nearest = int((words.squeeze() @ clip.image(frame, squash=False).squeeze()).argmax())
        right.append(ALL[nearest] == scene.attributes)
    print(f"CLIP: the right caption of eight is nearest in {np.mean(right):.1%} of {len(right)} frames")


def judged(qwen: Qwen, args: argparse.Namespace) -> None:
    """Part 2."""
    painter = FluxFill(args.checkpoints / "flux_fill", "", 1.0, args.device, torch.float32)
    agrees, names = defaultdict(list), []
    for number in range(args.paintings):
        scene, t, rng = scene_of("critic", number)
        frame, road, mask = mask_of(scene, t, "corridor")
        wanted = ALL[number % len(ALL)]
        edit = painter.paint(
            frame, mask, wanted.prompt(), partial(noise.generator, ("judge", "critic", number)),
            num_inference_steps=args.steps, keep_masked_pixels=False, max_sequence_length=16, mask_feather=FEATHER,
            height=PAINT_SIZE[0], width=PAINT_SIZE[1],
        )  # fmt: skip
        read = read_line(edit, scene, FRONT_WIDE, t, road)
        if read is None or "unknown" in (read.count, read.color, read.pattern):
            continue  # too little of the line in sight for a truth
        attribute = list(NAMES)[rng.integers(3)]
        values = NAMES[attribute]
        other = replace(wanted, **{attribute: values[1 - values.index(getattr(wanted, attribute))]})
        panels = critic.three_panels(frame, mask, edit)
        for kind, asked in (("as painted", wanted), ("another " + attribute, other)):
            instruction = instruction_of(asked)
            how = {"temperature": 0.1, "max_tokens": 128, "keys": [("judge", number, kind)]}
            [verdict] = critic.judge(qwen.ask, [panels], instruction, asked.prompt(), asked, **how)
            agrees[kind].append(verdict.passed == (read == asked))
            names.append(verdict.seen == read)
    every = [value for values in agrees.values() for value in values]
    print(f"critic on {len(agrees['as painted'])} paintings: agrees {np.mean(every):.1%}, names {np.mean(names):.1%}")
    for kind, values in sorted(agrees.items()):
        print(f"  asked {kind}: agrees {np.mean(values):.1%} of {len(values)}")


def main(argv: list[str] | None = None) -> None:
    """Caption, paint, judge, print."""
    args = parser().parse_args(argv)
    qwen = Qwen(args.checkpoints / "qwen", args.device)
    named(qwen, args.frames)
    judged(qwen, args)
    scored(args)


if __name__ == "__main__":
    cli.run(main)
