"""A rollout of the tiny driver on the small data set: its edited video, its command line, its two files."""

from pathlib import Path

import drive
import numpy as np

from relane.io.files import read_json, write_json
from relane.io.video import write_video
from tests.alpamayo import small_pai

T0 = 5_100_000
VIDEO = f"{small_pai.CLIP}.{small_pai.FRONT}"


def write_clip(
    folder: Path,
    *,
    fps: float = 10,
    count: int = 56,
    first_us: int = -1_500,
    shade: int = 0,
    camera: str = small_pai.FRONT,
) -> Path:
    """An edited video whose frame n shows n, with its sidecar; `shade` is added to every pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    video = f"{small_pai.CLIP}.{camera}"
    path = folder / f"{video}_vp_edit_sample0.mp4"
    frames = [np.clip(small_pai.bits(n).astype(int) + shade, 0, 255).astype(np.uint8) for n in range(count)]
    write_video(path, frames, fps)
    times = (first_us + np.round(np.arange(count) * 1e6 / fps)).astype(int).tolist()
    write_json(folder / f"{video}.json", {"clip_id": small_pai.CLIP, "camera": camera, "t_us": times})
    return path


def arguments(root: Path, folder: Path, tiny, **changes: object) -> list[str]:
    """A command line; `None` leaves a flag out."""
    flags = {
        "pai_root": root,
        "clip_id": small_pai.CLIP,
        "videos": folder / f"{VIDEO}_vp_edit_sample0.mp4",
        "clip_jsons": folder / f"{VIDEO}.json",
        "arm": "yellow",
        "checkpoint": tiny("alpamayo"),
        "num_traj_samples": 3,
        "device": "cpu",
        "dtype": "float32",
        "record_failures": "false",
        "output": folder / "inference.json",
        "vis_data": folder / "vis_data.npz",
    } | changes
    line = []
    for key, value in flags.items():
        if value is not None:
            values = value if isinstance(value, list) else [value]
            line += [f"--{key.replace('_', '-')}", *map(str, values)]
    return line


def roll(models, line: list[str]) -> tuple[dict, dict]:
    """Drive one arm by a command line of `arguments`; its JSON and its arrays."""
    args = drive.parser().parse_args(line)
    drive.run(args, models)
    with np.load(args.vis_data[0]) as data:
        return read_json(args.output[0]), dict(data)
