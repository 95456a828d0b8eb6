"""Driving alone, through Snakemake: a video edited elsewhere, with its own words and with the original's."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from relane.io.files import write_json
from relane.io.video import write_video
from tests.alpamayo import small_pai

ROOT = Path(__file__).parents[2]
VIDEO = f"{small_pai.CLIP}.{small_pai.FRONT}"


def prepare(folder: Path, alpamayo: Path) -> None:
    """A dataset of one clip, its sheet, one foreign video with a JSON beside it, and the run's configuration."""
    pai = small_pai.write(folder / "pai")
    chunk = pai / "camera" / small_pai.FRONT / f"{small_pai.FRONT}.chunk_0000.zip"
    header = "clip_id,camera,uri,pai_root,size,checksum"
    (folder / "clips.csv").write_text(f"{header}\n{small_pai.CLIP},{small_pai.FRONT},{chunk},{pai},,\n")
    frames = [np.clip(small_pai.bits(n).astype(int) + 60, 0, 255).astype(np.uint8) for n in range(56)]
    edited = folder / "edits" / "dusk" / f"{VIDEO}_vp_edit_sample0.mp4"
    write_video(edited, frames, 10)
    write_video(edited.with_name(f"{VIDEO}_generated.mp4"), frames, 10)
    write_json(edited.with_suffix(".json"), {"t_us": [100_000 * n for n in range(56)]})
    config = {
        "run": "again",
        "clips": "clips.csv",
        "instructions": "",
        "arms": {"sham": False, "floor": False},
        "checkpoints": {"alpamayo": str(alpamayo)},
        "clip": {"anchor": "t0", "max_frames": 20, "min_frames": 17},
        "drive": {
            "videos": "edits",
            "reasoning": "both",
            "num_traj_samples": 2,
            "max_generation_length": 24,
            "dtype": "float32",
        },
        "effects": {"bootstrap": 100, "action_unchanged": ["dusk"]},
    }
    write_json(folder / "config.json", config)


def test_a_video_edited_elsewhere_is_driven_drawn_and_compared_without_an_editor(tiny, tmp_path):
    prepare(tmp_path, tiny("alpamayo"))
    snakemake = [str(Path(sys.executable).with_name("snakemake")), "-s", str(ROOT / "Snakefile"), "--cores", "1"]
    command = [*snakemake, "--configfile", "config.json", "--resources", "gpu=1", "network=1", "--", "drive"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    results = tmp_path / "results/again"
    of_arm = "drive/alpamayo_r1/{}/{clip}/{clip}_t0_5100000"
    base = results / of_arm.format("dusk", clip=small_pai.CLIP)
    free, shared = (json.loads(Path(f"{base}{name}_inference.json").read_text()) for name in ("", "_shared"))
    original = json.loads((results / (of_arm.format("original", clip=small_pai.CLIP) + "_inference.json")).read_text())
    assert shared["reasoning_traces"] == original["reasoning_traces"]
    assert (free["reasoning"], shared["reasoning"], free["noise_key"]) == ("free", "shared", original["noise_key"])
    assert free["frame_times"][small_pai.FRONT]["times_from"] == "sidecar"
    assert Path(f"{base}_overlay.mp4").is_file()
    assert len(json.loads((results / "inference_summary.json").read_text())) == 3
    with (results / "effects.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["arm"], row["kind"], row["recorded_future_valid"]) == ("dusk", "edit", "true")
    seen, said, total = (float(row[f"{part}lateral_m"]) for part in ("vision_", "words_", ""))
    assert np.isclose(seen + said, total, atol=1e-4)  # six digits each
