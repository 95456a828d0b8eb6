"""The thesis's two configurations run to the end, on tiny checkpoints: only sizes, steps and clips are overridden."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from relane.io.files import read_json
from relane.io.video import probe
from tests.dag.conftest import copy_checkout

# Over config/thesis*.yaml. No mode, fit, region, rate or sampling of the thesis is among them.
SIZES = {
    "clips": "one.csv",
    "instructions": "lane double yellow solid",
    "checkpoints": {
        name: f"resources/tiny/{name}"
        for name in ("sam2", "flux_fill", "qwen", "cogvideox", "videopainter", "alpamayo")
    }
    | {"clip_score": "resources/tiny/clip", "clip_temporal": "resources/tiny/clip", "lpips": ""},
    # A window of the tiny video model has 17 frames, so that the last 3 of 20 are dropped; they end at 2 s.
    "clip": {"max_frames": 20, "min_frames": 17, "t0_us": 2_000_000},
    "sam2": {"dtype": "float32"},
    "first_frame": {
        "num_inference_steps": 4,
        "caption_refine_iters": 1,
        "max_sequence_length": 16,
        "paint_size": "160x240",
        "dtype": "float32",
    },
    "video": {"num_inference_steps": 2, "dtype": "float32"},
    "drive": {"max_generation_length": 24, "dtype": "float32"},
}


@pytest.fixture(scope="module")
def checkout(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the demo's synthetic world and a sheet of its first clip."""
    folder = copy_checkout(tmp_path_factory.mktemp("thesis") / "relane")
    shutil.copytree(demo / "build" / "world", folder / "build" / "world")
    lines = (folder / "config/demo_clips.csv").read_text().splitlines()
    (folder / "one.csv").write_text("\n".join(lines[:2]) + "\n")
    return folder


@pytest.mark.parametrize("name", ["thesis", "thesis_run"])
def test_the_thesis_runs_to_the_end(checkout, name):
    (checkout / "sizes.json").write_text(json.dumps(SIZES | {"run": name}))
    command = [Path(sys.executable).parent / "snakemake", "--cores", "2", "--resources", "gpu=2", "network=1"]
    command += ["--scheduler", "greedy", "--configfile", f"config/{name}.yaml", "sizes.json"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]

    results = checkout / "results" / name
    assert (results / "report" / "index.html").is_file()
    clip_id, camera = (checkout / "one.csv").read_text().splitlines()[1].split(",")[:2]
    clip = results / "clips" / f"{clip_id}.{camera}.mp4"
    folder = results / "vp/double-yellow-solid" / clip.stem
    edit = folder / f"{clip.stem}_vp_edit_sample0.mp4"
    assert (probe(clip).frames, probe(edit).frames) == (20, 17)
    record = read_json(edit.with_suffix(".json"))
    assert record["parameters"]["mode"] == "exact"
    assert record["parameters"]["fit"] == "squash"
    assert len(record["t_us"]) == 17
    quality = read_json(folder / f"eval_{clip.stem}.json")
    assert (quality["frames"], quality["clip_frames"], quality["edited_frames"]) == (17, 20, 17)
    arms = [read_json(path) for path in (results / "drive").rglob("*_inference.json")]
    assert len(arms) == 2  # the original and the edit: no controls
    assert all(arm["success"] and arm["k"] == 1 for arm in arms)
