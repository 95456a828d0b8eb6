"""A LoRA is planned with the settings of the painting that it is for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dag.conftest import ROOT, write_sheet

TARGET = "results/lora/lanes/pytorch_lora_weights.safetensors"
OVERLAY = """
region: {region: road, dilate_size: 9, camera_height: 1.7}
first_frame: {keep_masked_pixels: true}
"""
WAYS = {
    "": "--region=corridor --dilate-size=24 --corridor-width=1 --corridor-unit=m --camera-height=1.5"
    " --keep-masked-pixels=false --masked-weight=10",
    OVERLAY: "--region=road --dilate-size=9 --camera-height=1.7 --keep-masked-pixels=true",
    (ROOT / "config/thesis.yaml").read_text(): "--region=road --keep-masked-pixels=true --masked-weight=1",
}


@pytest.mark.parametrize("overlay", WAYS, ids=["default", "overlay", "thesis"])
def test_training_is_told_the_region_and_the_hole_of_painting(workspace: Path, overlay: str) -> None:
    (workspace / "overlay.yaml").write_text(overlay or "{}")
    sheet = write_sheet(workspace / "clips.csv", clips=1)
    command = [Path(sys.executable).with_name("snakemake"), "-s", ROOT / "Snakefile", "-n", "-p", "--cores", "1"]
    command += [
        "--configfile",
        "overlay.yaml",
        "--config",
        f"clips={sheet}",
        "instructions=lane double yellow solid",
        "--",
        TARGET,
    ]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    [line] = [line for line in (done.stdout + done.stderr).splitlines() if "train_lora.py" in line]
    assert set(WAYS[overlay].split()) <= set(line.split())
