"""What to repaint: the whole road, or a corridor around its lane lines? Measured against the world's own re-renders.

    python simworld/benchmarks/region_table.py [--checkpoints resources/tiny] [--clips 3] [--edits single-white-dashed]

For each clip of the synthetic world and each edit, the pipeline's own scripts paint a first frame and carry it through
the clip, once a region, with the settings of config/demo.yaml and the world's true road masks. The same drive rendered
with the asked markings is the ideal edit. A row a region; "each frame" (--frame-by-frame) is FLUX Fill on every frame:

    tone      grey levels by which the asphalt's mean colour leaves the source's, inside the mask and off the lines
    road tone the same over all asphalt off the lines, inside the mask or not: what a driving model sees
    seam      grey levels that the edit adds to the step across the mask's edge
    flicker   change from frame to frame on the asphalt, over that of the ideal edit (1: as steady as the world itself)
    count, color, pattern, all: share of frames whose line a judge by pixels reads as asked, of those that it reads so
              in the ideal edit. dashed: the pattern in edits to dashed lines; first: all, in the first frame alone
    dB        PSNR on the road against the ideal edit; line dB: on the lines, old and new, and around them
"""

import argparse
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

import cv2
import edit_video
import first_frame
import numpy as np
import torch
import yaml

from relane import cli, noise
from relane.config.arguments import flags
from relane.config.sections.region import Region
from relane.errors import InputError
from relane.evaluation import metrics
from relane.io.files import write_json
from relane.io.masks import grow, mask_writer
from relane.io.video import read_frames, write_video
from relane.painters import flux_fill
from relane.prompts.lanes import ALLOWED, Attributes, instruction_of
from relane.road.regions import corridor_region
from simworld.learning.pictures import corridor
from simworld.world.dataset import parse_slug, plan_clips
from simworld.world.judge import read_line
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Frame, Scene

ROOT = Path(__file__).parents[2]
FPS, START_S = 10, 1.9  # the demo's clips end at 5.1 s
OFF_LINES = 7  # pixels by which lines, old and new, are widened before what is left counts as asphalt
EDGES = 0.5  # metres around the road's edge lines, which are no asphalt either
REGIONS = ("road", "corridor")


@dataclass
class Drive:
    """A clip of the world as the pipeline sees it: frames (T, H, W, 3) uint8 out of its MP4, and what is true."""

    name: str
    scene: Scene
    times: list[float]
    true: list[Frame]
    folder: Path
    frames: np.ndarray

    @property
    def road(self) -> np.ndarray:
        """(T, H, W) bool."""
        return np.stack([frame.road_mask for frame in self.true])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--checkpoints", type=Path, default=ROOT / "resources/tiny", help="with flux_fill, cogvideox, videopainter")
    add("--clips", type=int, default=3, help="clips of the world (default: %(default)s)")
    add("--seed", type=int, default=77, help="of the world (default: %(default)s)")
    add("--frames", type=int, default=33, help="frames a clip (default: %(default)s)")
    add("--edits", nargs="+", default=["single-white-dashed", "double-yellow-solid"], metavar="COUNT-COLOR-PATTERN")
    add("--regions", nargs="+", choices=REGIONS, default=list(REGIONS))
    add("--frame-by-frame", nargs="*", choices=REGIONS, default=[], help="regions in which FLUX Fill also paints alone")
    add("--first", choices=("painted", "ideal"), default="painted", help="ideal: the video model alone is measured")
    add("--set", nargs="+", default=[], metavar="SECTION.KEY=VALUE", help="over the demo's, as video.color_match=true")
    add("--device", default="auto")
    add("--keep", type=Path, help="folder for every video, to look at; default: none is kept")
    return options


def settings(args: argparse.Namespace) -> dict[str, dict]:
    """config/config.yaml with config/demo.yaml laid over it, and what the command line changes."""
    both = [yaml.safe_load((ROOT / "config" / name).read_text()) for name in ("config.yaml", "demo.yaml")]
    config = {part: both[0][part] | both[1].get(part, {}) for part in ("first_frame", "video", "region")}
    config["first_frame"] |= {"caption_refine_iters": 0, "lora": ""}
    config["video"] |= {"crf": 0}  # what is measured is the edit, not the codec
    for text in args.set:
        name, _, value = text.partition("=")
        section, _, key = name.partition(".")
        if key not in config.get(section, {}):
            raise InputError(f"--set {text}: no key {name} among first_frame, video and region")
        config[section][key] = yaml.safe_load(value)
    return config


def drives(args: argparse.Namespace, folder: Path) -> Iterator[Drive]:
    """The clips, rendered, written and read back."""
    for number, plan in enumerate(plan_clips(args.clips, args.seed, min(1, args.clips))):
        scene = Scene(plan.seed, plan.attributes, slower_car=plan.slower_car)
        times = [START_S + index / FPS for index in range(args.frames)]
        true = [scene.render(FRONT_WIDE, t) for t in times]
        home = folder / f"clip{number}"
        home.mkdir(parents=True)
        write_video(home / "clip.mp4", (frame.image for frame in true), FPS)
        write_json(home / "clip.json", {"video": plan.clip_id, "fps": FPS})
        yield Drive(plan.clip_id, scene, times, true, home, read_frames(home / "clip.mp4"))


def region_masks(drive: Drive, region: str, settings: dict) -> np.ndarray:
    """What scripts/select_region.py would write for the true road: (T, H, W) bool."""
    size = settings["dilate_size"]
    if region == "road":
        return np.stack([grow(mask, size) for mask in drive.road])
    return np.stack(list(corridor_region(drive.frames, drive.road, Region.of(settings), size)[1]))


class Pipeline:
    """The two scripts with their models, loaded once."""

    def __init__(self, args: argparse.Namespace, config: dict[str, dict], cache: Path):
        self.args, self.config, self.cache = args, config, cache
        self.painter = self.mover = None
        self.size = ""

    def __call__(self, drive: Drive, wanted: Attributes, masks: np.ndarray, folder: Path) -> np.ndarray:
        """The edited clip (T, H, W, 3) uint8."""
        folder.mkdir(parents=True)
        with mask_writer(folder / "region.npz", masks.shape) as append:
            for mask in masks:
                append(mask)
        video = edit_video.parser().parse_args(
            [
                *shlex.split(flags(self.config["video"])),
                f"--clip={drive.folder / 'clip.mp4'}",
                f"--clip-json={drive.folder / 'clip.json'}",
                *(f"--{name}={folder / file}" for name, file in VIDEO_FILES.items()),
                f"--cogvideox={self.args.checkpoints / 'cogvideox'}",
                f"--videopainter={self.args.checkpoints / 'videopainter'}",
                f"--device={self.args.device}",
                f"--text-cache={self.cache}",
            ]
        )  # fmt: skip
        self.mover = self.mover or edit_video.load(video)
        if self.args.first == "painted":
            self._paint(drive, wanted, folder)
        else:
            ideal = drive.scene.repainted(wanted).image(FRONT_WIDE, drive.times[0])
            cv2.imwrite(str(folder / "first.png"), ideal[..., ::-1])
            write_json(folder / "first.json", {"caption": wanted.prompt()})
        edit_video.run(video, self.mover)
        return read_frames(folder / "edit.mp4")

    def frame_by_frame(self, drive: Drive, wanted: Attributes, masks: np.ndarray, folder: Path) -> np.ndarray:
        """FLUX Fill alone, each frame for itself with the same noise: nothing carries the edit through time."""
        args = self._painting(drive, wanted, folder)
        how, key = flux_fill.settings(vars(args)), (args.seed, drive.name, args.instruction)
        rng, paint = partial(noise.generator, key), self.painter.painter().paint
        edit = [
            paint(frame, mask, wanted.prompt(), rng, **how) for frame, mask in zip(drive.frames, masks, strict=True)
        ]
        if self.args.keep:
            write_video(folder.parent / f"{wanted.slug()}_frame_by_frame.mp4", edit, FPS)
        return np.stack(edit)

    def _paint(self, drive: Drive, wanted: Attributes, folder: Path) -> None:
        painting = self._painting(drive, wanted, folder)
        first_frame.run(painting, self.painter)

    def _painting(self, drive: Drive, wanted: Attributes, folder: Path) -> argparse.Namespace:
        """The command line of scripts/first_frame.py; its models are loaded once."""
        height, width = self.mover.pipeline.size
        painting = first_frame.parser().parse_args(
            [
                *shlex.split(flags(self.config["first_frame"], leave_out=("paint_size",))),
                f"--paint-size={height}x{width}",
                f"--clip={drive.folder / 'clip.mp4'}",
                f"--inpaint-masks={folder / 'region.npz'}",
                f"--instruction={instruction_of(wanted)}",
                f"--video={drive.name}",
                f"--flux-fill={self.args.checkpoints / 'flux_fill'}",
                f"--device={self.args.device}",
                f"--output={folder / 'first.png'}",
                f"--sidecar={folder / 'first.json'}",
                f"--refine-folder={folder / 'refine'}",
            ]
        )
        self.painter = self.painter or first_frame.load(painting)
        return painting


VIDEO_FILES = {
    "inpaint-masks": "region.npz",
    "first-frame": "first.png",
    "first-frame-json": "first.json",
    "output": "edit.mp4",
    "generated": "generated.mp4",
    "sidecar": "edit.json",
}


def tensor(frame: np.ndarray) -> torch.Tensor:
    """(H, W, 3) uint8 to (3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(frame).permute(2, 0, 1).float() / 255


def tone(source: np.ndarray, edited: np.ndarray, where: np.ndarray) -> float | None:
    """Difference of mean colours over some pixels, grey levels, mean over the channels; None where there are none."""
    if not where.any():
        return None
    return float(np.abs(edited[where].mean(0) - source[where].mean(0)).mean())


def measure(drive: Drive, ideal: list[Frame], wanted: Attributes, masks: np.ndarray, edit: np.ndarray) -> dict:
    """Lists of values, a frame or a pair of frames each, by the names of the table's columns."""
    found: dict[str, list] = defaultdict(list)
    before = None
    for index, (source, frame, true) in enumerate(zip(drive.frames, edit, ideal, strict=True)):
        t, road = drive.times[index], true.road_mask
        edges = [(d, EDGES) for d in drive.scene.road.lanes.edges]
        lines = grow(true.marking_mask | drive.true[index].marking_mask, OFF_LINES)
        lines |= corridor(drive.scene, t, edges, road)
        found["tone"].append(tone(source, frame, masks[index] & road & ~lines))
        found["road tone"].append(tone(source, frame, road & ~lines))
        step = metrics.seam(tensor(source), tensor(frame), torch.from_numpy(masks[index]))
        found["seam"].append(step and step["added"])
        shown = tensor(frame), tensor(true.image)
        if before is not None:
            region = torch.from_numpy(road)
            now, best = (metrics.flicker((a, a), (a, b), region)["edited"] for a, b in zip(before, shown, strict=True))
            found["flicker"].append(now / best)
        before = shown
        for column, where in (("dB", road), ("line dB", lines & masks[index])):
            if where.any():
                found[column].append(metrics.psnr(metrics.mse(*shown, torch.from_numpy(where))))
        if read_line(true.image, drive.scene, FRONT_WIDE, t, road) != wanted:
            continue
        read = read_line(frame, drive.scene, FRONT_WIDE, t, road)
        right = {name: read is not None and getattr(read, name) == getattr(wanted, name) for name in ALLOWED}
        for name, value in right.items():
            found[name].append(value)
        found["all"].append(all(right.values()))
        if index == 0:
            found["first"].append(all(right.values()))
        if wanted.pattern == "dashed":
            found["dashed"].append(right["pattern"])
    return found


COLUMNS = {
    "tone": "{:9.2f}",
    "road tone": "{:9.2f}",
    "seam": "{:6.2f}",
    "flicker": "{:8.2f}",
    "count": "{:6.0%}",
    "color": "{:6.0%}",
    "pattern": "{:8.0%}",
    "dashed": "{:7.0%}",
    "all": "{:5.0%}",
    "first": "{:6.0%}",
    "dB": "{:6.1f}",
    "line dB": "{:8.1f}",
}


def row(name: str, found: dict[str, list]) -> str:
    """A line of the table: means over all that was measured."""
    cells = []
    for column, form in COLUMNS.items():
        values = [value for value in found[column] if value is not None]
        width = len(form.format(0))
        cells.append(form.format(float(np.mean(values))) if values else "-".rjust(width))
    return f"{name:32s}" + " ".join(cells)


def head() -> str:
    """The columns' names."""
    return " " * 32 + " ".join(name.rjust(len(form.format(0))) for name, form in COLUMNS.items())


def table(args: argparse.Namespace, folder: Path) -> dict[str, dict[str, list]]:
    """All values by region and of the unedited source, over all edits and (indented) by edit."""
    config = settings(args)
    edits = [parse_slug(text) for text in args.edits]
    found: dict[str, dict[str, list]] = defaultdict(lambda: defaultdict(list))
    pipeline = Pipeline(args, config, folder / "text")
    for drive in drives(args, folder):
        masks = {region: region_masks(drive, region, config["region"]) for region in args.regions}
        for wanted in edits:
            other = drive.scene.repainted(wanted)
            ideal = [other.render(FRONT_WIDE, t) for t in drive.times]
            results = {
                region: (mask, pipeline(drive, wanted, mask, drive.folder / region / wanted.slug()))
                for region, mask in masks.items()
            }
            for region in args.frame_by_frame:
                folder_of = drive.folder / region / wanted.slug()
                edit = pipeline.frame_by_frame(drive, wanted, masks[region], folder_of)
                results[f"{region}, each frame"] = (masks[region], edit)
            results["unedited"] = (next(iter(masks.values())), drive.frames)
            for name, (mask, edit) in results.items():
                for column, values in measure(drive, ideal, wanted, mask, edit).items():
                    found[name][column] += values
                    found[f"  {name} {wanted.slug()}"][column] += values
            print(
                f"{drive.folder.name}: {drive.scene.attributes.slug()} -> {wanted.slug()}", file=sys.stderr, flush=True
            )
    return found


def main(argv: list[str] | None = None) -> None:
    """Edit and print the table."""
    args = parser().parse_args(argv)
    for name in ("flux_fill", "cogvideox", "videopainter"):
        if not (args.checkpoints / name).is_dir():
            raise InputError(f"{args.checkpoints}: no folder {name} in it; build_tiny_checkpoints.py makes one")
    with tempfile.TemporaryDirectory() as temporary:
        found = table(args, args.keep or Path(temporary))
    print(
        f"{args.checkpoints.name}: {args.clips} clips of world {args.seed}, {args.frames} frames, edits"
        f" {', '.join(args.edits)}, first frame {args.first} {' '.join(args.set)}"
    )
    print(head())
    for name in sorted(found, key=lambda name: (name.startswith(" "), name)):
        print(row(name, found[name]))


if __name__ == "__main__":
    cli.run(main)
