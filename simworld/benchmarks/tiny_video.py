"""How near does the tiny video model come to the ideal edit, and where is the rest lost? Scenes training never saw.

    .venv/bin/python simworld/benchmarks/tiny_video.py [--clips 4] [--vae results/tiny/cogvideox]

The ideal edit is the same drive rendered with the asked markings. What each row shows is pasted into the source inside
the pipeline's mask; one window of the video model, the mask around the lines, settings of config/demo.yaml:

    unedited  the source as it is
    resized   the ideal edit at the model's size and back: the most that any model of that size can reach
    coded     the ideal edit through the autoencoder
    spliced   the same with the source's latents outside the holes, as the pipeline keeps them
    painted   the pipeline: latents inside the holes from the transformer; the first frame is the ideal edit's

Columns: PSNR in dB on the road, and on the lines, old and new, and around them; grey levels by which the mean of the
asphalt inside the mask leaves the source's, and the same with its sign; the asphalt's detail (deviation from a mean
over 5 x 5 pixels) and its change from frame to frame, over those of the ideal edit.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import cv2
import numpy as np
import torch

from relane import cli, noise
from relane.config.sections.region import Region
from relane.editors.videopainter import latents as codec
from relane.editors.videopainter.loading import load_vae, load_videopainter
from relane.editors.videopainter.options import Options
from relane.editors.videopainter.pipeline import VideoPainter
from relane.editors.videopainter.text import prompt_embeddings
from relane.evaluation.metrics import psnr
from relane.io import compose
from relane.io.masks import grow
from relane.prompts.lanes import Attributes
from relane.road.regions import corridor_region
from simworld.learning.pictures import ALL, CLIP_FRAMES, CLIP_STEP, any_attributes, corridor, repainted, rng_of
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene

DILATE, FEATHER, STEPS = 5, 3, 8  # as in config/demo.yaml
OFF_LINES, EDGES = 7, 0.5  # pixels around lines, metres around the road's edge lines that are no asphalt
COLUMNS = ("road dB", "line dB", "tone", "signed", "detail", "flicker")
Rows = dict[str, dict[str, list[float]]]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--checkpoints", type=Path, default=Path("resources/tiny"), help="with cogvideox and videopainter")
    add("--vae", type=Path, help="CogVideoX folder with another autoencoder; default: that of --checkpoints")
    add("--clips", type=int, default=4, help="two edits each (default: %(default)s)")
    add("--device", default="cpu")
    return options


@dataclass
class Edit:
    """One drive and its ideal edit, frames (T, H, W, 3) uint8; masks (T, H, W) bool: what may change, the road,
    lines old and new with what lies around them, asphalt inside the mask."""

    source: np.ndarray
    ideal: np.ndarray
    mask: np.ndarray
    road: np.ndarray
    lines: np.ndarray
    asphalt: np.ndarray
    wanted: Attributes
    key: tuple


def edits(clips: int) -> Iterator[Edit]:
    """Held-out drives, each with two edits: the other pattern, and all three attributes changed."""
    for number in range(clips):
        key = ("judge", "decoder", number)
        rng = rng_of(*key)
        own = any_attributes(rng)
        scene = Scene(noise.seed_of(*key), own, slower_car=number % 3 == 0)
        times = float(rng.uniform(0, 10)) + CLIP_STEP * np.arange(CLIP_FRAMES)
        true = [scene.render(FRONT_WIDE, t) for t in times]
        source, road = (np.stack([getattr(frame, name) for frame in true]) for name in ("image", "road_mask"))
        mask = np.stack(list(corridor_region(source, road, Region(), DILATE)[1]))
        for change in (1, 7):
            wanted = ALL[ALL.index(own) ^ change]
            other = repainted(scene, wanted)
            ideal = [other.render(FRONT_WIDE, t) for t in times]
            lines, off = [], []
            for t, before, after in zip(times, true, ideal, strict=True):
                paint = grow(before.marking_mask | after.marking_mask, OFF_LINES)
                lines.append(paint)
                off.append(paint | corridor(scene, t, [(d, EDGES) for d in scene.road.lanes.edges], before.road_mask))
            lines, off = np.stack(lines) & mask, np.stack(off)
            pictures = np.stack([frame.image for frame in ideal])
            yield Edit(source, pictures, mask, road, lines, mask & road & ~off, wanted, key)


def detail(frame: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to absolute deviations from the local mean, (H, W) float32."""
    values = frame.astype(np.float32)
    return np.abs(values - cv2.blur(values, (5, 5))).mean(-1)


def measure(edit: Edit, shown: np.ndarray, found: dict[str, list[float]]) -> None:
    """Add every frame's figures of `shown` (T, H, W, 3) uint8."""
    for index, (frame, true, source) in enumerate(zip(shown, edit.ideal, edit.source, strict=True)):
        off = np.square((frame.astype(np.float64) - true) / 255).mean(-1)
        for column, where in (("road dB", edit.road[index]), ("line dB", edit.lines[index])):
            if where.any():
                found[column].append(psnr(float(off[where].mean())))
        where = edit.asphalt[index]
        if where.sum() < 50:
            continue
        shift = frame[where].mean(0) - source[where].mean(0)
        found["tone"].append(float(np.abs(shift).mean()))
        found["signed"].append(float(shift.mean()))
        found["detail"].append(float(detail(frame)[where].mean() / detail(true)[where].mean()))
        if index:
            now, best = (np.abs(a[index].astype(int) - a[index - 1])[where].mean() for a in (shown, edit.ideal))
            found["flicker"].append(float(now / best))


class Models:
    """The video model at its own size, and what its autoencoder makes of latents."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.folder, self.device = args.checkpoints / "cogvideox", torch.device(args.device)
        branch = args.checkpoints / "videopainter"
        self.models: VideoPainter = load_videopainter(self.folder, branch, self.device, torch.float32)
        if args.vae:
            self.models.vae = load_vae(args.vae, torch.float32).to(self.device).eval()

    @torch.no_grad()
    def __call__(self, edit: Edit) -> dict[str, np.ndarray]:
        """All rows but the first: pasted clips (T, H, W, 3) uint8."""
        region = compose.choose_region(edit.mask.any(0), self.models.size, "crop", FEATHER)
        source, ideal = (np.stack([region.to_model(frame) for frame in clip]) for clip in (edit.source, edit.ideal))
        holes = np.stack([region.mask_to_model(mask) for mask in edit.mask])
        kept: dict[str, torch.Tensor] = {}
        painted = self._paint(edit, source, holes, ideal[0], kept)
        of_ideal = codec.statistics(self.models.vae, codec.video_tensor(ideal, *self.models.size))
        coded = codec.sample(self.models.vae, of_ideal, noise.generator(*edit.key, "coded"))
        hole = kept["w0_mask"]
        spliced = (1 - hole) * kept["w0_video_latents"] + hole * coded
        results = {"resized": ideal, "coded": self._decode(coded), "spliced": self._decode(spliced), "painted": painted}
        return {name: self._pasted(edit, region, frames) for name, frames in results.items()}

    def _paint(self, edit: Edit, source, holes, first, kept: dict[str, torch.Tensor]) -> np.ndarray:
        length = self.models.transformer.config.max_text_seq_length
        texts = prompt_embeddings(self.folder, [edit.wanted.prompt()], length, self.device, torch.float32)
        options = Options(num_inference_steps=STEPS, guidance_scale=1.0, stride=16)

        def read(start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
            return source[start:stop], holes[start:stop]

        def generator_fn(start: int, purpose: str) -> torch.Generator:
            return noise.generator(*edit.key, start, purpose)

        pieces = self.models.edit(
            read, len(source), first, texts[0], None, options, generator_fn, trace=kept.__setitem__
        )
        return _grey_levels(np.concatenate(list(pieces)))

    def _decode(self, latents: torch.Tensor) -> np.ndarray:
        return _grey_levels(np.concatenate(list(codec.decode(self.models.vae, latents))))

    def _pasted(self, edit: Edit, region: compose.Region, frames: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                compose.paste(source, frame, mask, region, FEATHER)
                for source, frame, mask in zip(edit.source, frames, edit.mask, strict=True)
            ]
        )


def _grey_levels(frames: np.ndarray) -> np.ndarray:
    return np.rint(frames * 255).astype(np.uint8)


def main(argv: list[str] | None = None) -> None:
    """Edit, measure, print."""
    args = parser().parse_args(argv)
    models, found = Models(args), defaultdict(lambda: defaultdict(list))
    for edit in edits(args.clips):
        for name, shown in ({"unedited": edit.source} | models(edit)).items():
            measure(edit, shown, found[name])
    print(f"{args.vae or args.checkpoints / 'cogvideox'}: {args.clips} clips, two edits each")
    print(" " * 12 + "".join(f"{name:>9s}" for name in COLUMNS))
    for name, values in found.items():
        print(f"{name:12s}" + "".join(f"{np.mean(values[column]):9.2f}" for column in COLUMNS))


if __name__ == "__main__":
    cli.run(main)
