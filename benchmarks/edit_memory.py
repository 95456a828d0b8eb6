"""Peak memory of an edit against the clip's length: it should stay flat, because clips go through window by window.

    .venv/bin/python simworld/programs/build_tiny_checkpoints.py --output build/tiny
    .venv/bin/python benchmarks/edit_memory.py [--checkpoints build/tiny] [--frames 60 120 180 240]

Each length is edited by scripts/edit_video.py in a process of its own. Prints a row a length: windows, seconds, peak
resident memory; and the growth per frame, in frames of the clip (uint8): 0 is flat, 1 would be a clip held whole.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import numpy as np
from PIL import Image

from relane.io.masks import mask_writer
from relane.io.video import write_video

ROOT = Path(__file__).parents[1]
MIB = 2**20


def write_item(folder: Path, frames: int, height: int, width: int) -> list[str]:
    """A clip of moving stripes with a masked trapezoid, and the flags that name its files."""
    y, x = np.mgrid[:height, :width]
    mask = (y > height // 2) & (np.abs(x - width // 2) < (y - height // 2) // 2)
    pictures = (np.stack([x // 4, y // 2, (x + y + 8 * t) % 256], axis=-1).astype(np.uint8) for t in range(frames))
    write_video(folder / "clip.mp4", pictures, 10)
    with mask_writer(folder / "region.npz", (frames, height, width)) as append:
        for _ in range(frames):
            append(mask)
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(folder / "first.png")
    (folder / "clip.json").write_text(json.dumps({"video": "stripes", "fps": 10}))
    (folder / "first.json").write_text(json.dumps({"caption": "road with double yellow solid lane markings"}))
    names = {"clip": "clip.mp4", "clip-json": "clip.json", "inpaint-masks": "region.npz", "first-frame": "first.png"}
    names |= {"first-frame-json": "first.json", "output": "out.mp4", "generated": "generated.mp4"}
    names |= {"panels": "panels.mp4", "sidecar": "out.json"}
    return [f"--{flag}={folder / name}" for flag, name in names.items()]


def edit(checkpoints: Path, frames: int, height: int, width: int, steps: int) -> dict:
    """Edit one clip in a new process: windows, seconds of the edit, peak resident bytes of the process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flags = write_item(folder, frames, height, width)
        flags += [f"--cogvideox={checkpoints / 'cogvideox'}", f"--videopainter={checkpoints / 'videopainter'}"]
        flags += [f"--num-inference-steps={steps}", "--stride=16", "--device=cpu", "--dtype=float32"]
        command = [sys.executable, str(ROOT / "scripts/edit_video.py"), *flags]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        messages = child.stderr.read()
        # Of this child alone: RUSAGE_CHILDREN would give the largest of all so far.
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            sys.exit(messages)
        record = json.loads((folder / "out.json").read_text())
    unit = 1 if sys.platform == "darwin" else 1024
    windows = len(record["windows"]["starts"])
    return {"windows": windows, "seconds": sum(record["seconds"].values()), "peak": usage.ru_maxrss * unit}


def main(argv: list[str] | None = None) -> None:
    """Print the curve."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--checkpoints", type=Path, default=ROOT / "build/tiny", help="with cogvideox, videopainter")
    options.add_argument("--frames", type=int, nargs="+", default=[60, 120, 180, 240], help="lengths of the clip")
    options.add_argument("--size", default="360x640", help="HEIGHTxWIDTH of the clip (default: %(default)s)")
    options.add_argument("--steps", type=int, default=1, help="denoising steps a window")
    args = options.parse_args(argv)
    height, width = map(int, args.size.split("x"))
    print(f"{args.checkpoints.name}, clip of {height}x{width}, CPU, float32, {args.steps} step(s) a window")
    print("frames  windows  seconds   peak MiB")
    peaks = []
    for frames in args.frames:
        row = edit(args.checkpoints, frames, height, width, args.steps)
        print(f"{frames:6d}  {row['windows']:7d}  {row['seconds']:7.1f}  {row['peak'] / MIB:9.1f}", flush=True)
        peaks.append(row["peak"])
    if len(peaks) > 1:
        growth = np.polyfit(args.frames, peaks, 1)[0]
        print(f"growth per frame: {growth / 1024:.1f} KiB = {growth / (height * width * 3):.2f} frames of the clip")


if __name__ == "__main__":
    main()
