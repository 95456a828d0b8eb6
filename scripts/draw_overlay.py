"""Draw a rollout over its arm's video: one rollout, or every rollout below a folder.

Truth red and predictions in five colours, a circle a waypoint, the original arm's in white and the ego history in grey,
on the road by the clip's own calibration, f-theta or pinhole (a rough pinhole by the camera's field of view where a
clip has none, and then the picture says so), and from above in an inset. Paths reveal themselves until t0. H.264.

    draw_overlay.py --inference A_inference.json --vis-data A_vis_data.npz --output A_overlay.mp4 [...]
    draw_overlay.py --folder results/002/alpamayo
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from relane import cli, layout
from relane.arms import ORIGINAL
from relane.errors import InputError, UndrivableError

_NEEDED = ("pred_xyz", "gt_future_xyz", "ego_history_xyz")


def parser() -> argparse.ArgumentParser:
    """Flags; what is not given is taken from the inference JSON."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--inference", help="inference JSON of the rollout")
    add("--vis-data", help="NPZ of the rollout")
    add("--output", help="MP4 to write")
    add("--folder", help="instead: draw every *_vis_data.npz below this folder, each beside it as *_overlay.mp4")
    add("--original-vis-data", help="NPZ of the original arm; with --folder found as original/<clip>/")
    add("--pai-root", help="the clip's data set; default: the rollout's")
    add("--video", help="video to draw over; default: the rollout's first")
    add("--clip-json", help="the clip's JSON with t_us; default: the rollout's first")
    return p


def main(argv: list[str] | None = None) -> None:
    """Command line. With --folder the rollouts that cannot be drawn are named, and the others drawn."""
    args = parser().parse_args(argv)
    if args.folder is None:
        if not (args.inference and args.vis_data and args.output):
            raise InputError("give --inference, --vis-data and --output, or --folder")
        run(args)
        return
    found = sorted(Path(args.folder).rglob("*_vis_data.npz"))
    if not found:
        raise InputError(f"{args.folder}: no *_vis_data.npz below it; run drive.py first")
    failed = []
    for data in found:
        try:
            run(_beside(args, data))
        except InputError as error:
            failed.append(str(error))
            print(f"{data}: not drawn: {error}", file=sys.stderr)
    if failed:
        raise InputError(f"{len(failed)} of {len(found)} rollouts were not drawn; the first: {failed[0]}")


def _beside(args: argparse.Namespace, data: Path) -> argparse.Namespace:
    """The arguments for one rollout of a folder laid out as <arm>/<clip>/<clip>..._vis_data.npz."""
    found = args.original_vis_data
    if len(data.parents) > 2:
        # The original arm has no second rollout with its own words.
        name = data.name.replace(f"{layout.SHARED_WORDS}_vis_data.npz", "_vis_data.npz")
        original = data.parents[2] / ORIGINAL / data.parent.name / name
        found = str(original) if original.is_file() else found
    files = {"inference": layout.ROLLOUT, "vis_data": layout.ROLLOUT_DATA, "output": layout.ROLLOUT_OVERLAY}
    own = {name: str(layout.beside(data, layout.ROLLOUT_DATA, pattern)) for name, pattern in files.items()}
    return argparse.Namespace(**{**vars(args), **own, "original_vis_data": found})


def run(args: argparse.Namespace) -> None:
    """Draw one rollout. Raises InputError when a file is missing or does not belong to the rollout."""
    from relane.drivers.scene import open_edited
    from relane.io.files import read_json
    from relane.io.video import iter_frames, probe, write_video
    from relane.report.overlay import draw_notes

    record = read_json(args.inference)
    sidecar = args.clip_json or next(iter(record["clip_jsons"]), None)
    video = open_edited(args.video or record["videos"][0], sidecar)
    if video.clip_id != record["clip_id"]:
        raise InputError(
            f"{video.path}: is of clip {video.clip_id}, the rollout {args.inference} of {record['clip_id']}"
        )
    info = probe(video.path)
    if record["success"]:
        frames = _drawn(args, record, video, (info.width, info.height))
    else:
        labels = _labels(record, video.camera, [f"not driven: {record['error']}"])
        frames = (draw_notes(frame, labels) for frame in iter_frames(video.path))
    write_video(args.output, frames, info.fps, crf=18, colour=info.colour)


def _labels(record: dict, camera: str, notes: list[str]):
    from relane.report.overlay import Labels

    arm = record["arm"] + (", the original arm's words" if record["reasoning"] == "shared" else "")
    return Labels(arm, record["clip_id"], camera, record["min_ade_meters"], notes)


def _paths(args: argparse.Namespace, record: dict):
    from relane.io.npz import load_npz
    from relane.report.overlay import Paths

    data, original = load_npz(args.vis_data, _NEEDED, "run drive.py for this arm first"), None
    if args.original_vis_data and record["arm"] != ORIGINAL:
        # Empty where the original arm was not driven.
        original = load_npz(args.original_vis_data).get("pred_xyz")
    return Paths(data["gt_future_xyz"], data["pred_xyz"], data["ego_history_xyz"], original)


def _camera(clip, name: str, width: int, height: int):
    """The calibrated camera at the video's size, or the pinhole and the note that says so."""
    from relane.data.camera import uncalibrated

    why = "no calibration"
    try:
        camera = clip.camera(name)
    except UndrivableError as error:
        camera, why = None, str(error)
    if camera is None:
        return uncalibrated(name, width, height), [f"{why}: pinhole by field of view, off by tens of pixels"]
    return camera.resized(width, height), []


def _drawn(args: argparse.Namespace, record: dict, video, size: tuple[int, int]) -> Iterator[np.ndarray]:
    from relane.data import open_clip
    from relane.data.frames import pick
    from relane.io.video import iter_frames
    from relane.report.overlay import draw_frame, revealed

    paths, t0_us = _paths(args, record), record["t0_us"]
    clip = open_clip(args.pai_root or record["pai_root"], video.clip_id)
    camera, notes = _camera(clip, video.camera, *size)
    if record["complete_share"] < 1:
        notes.append(f"{1 - record['complete_share']:.0%} of the replies are incomplete")
    notes += record.get("frame_notes", [])
    first, last = clip.span
    if video.t_us[0] < first or video.t_us[-1] > last:
        notes.append(f"ego motion from {first / 1e6:.1f} to {last / 1e6:.1f} s only: elsewhere the paths stand still")
    labels = _labels(record, video.camera, notes)
    xyz, rot = clip.poses(t0_us, np.clip(video.t_us, first, last))
    at = int(pick(video.t_us, [t0_us], record.get("frame_choice", "before"))[0])
    counts = revealed(len(video.t_us), at, paths.truth.shape[0])
    for number, (frame, shown) in enumerate(zip(iter_frames(video.path), counts, strict=True)):
        yield draw_frame(frame, camera, paths, labels, (xyz[number], rot[number]), shown)


if __name__ == "__main__":
    cli.run(main)
