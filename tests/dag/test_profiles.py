"""The profiles, as Snakemake understands them: how many GPUs a machine's run uses, what Slurm is asked for."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .conftest import ROOT, write_sheet

SNAKEMAKE = Path(sys.executable).with_name("snakemake")
TOY = """
rule all:
    input: expand("out{i}", i=range(4))
rule one:
    output: "out{i}"
    resources: gpu=1
    shell: "touch {output}"
"""


@pytest.mark.parametrize(("visible", "gpus"), [("0,1,2", 3), ("", 1)])
def test_the_gpu_profile_uses_every_gpu_that_it_sees(tmp_path, visible, gpus):
    (tmp_path / "Snakefile").write_text(TOY)
    command = [SNAKEMAKE, "--profile", ROOT / "profiles" / "gpu", "-s", tmp_path / "Snakefile", "-d", tmp_path]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": visible}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f'gpu=Resource("gpu", {gpus})' in done.stderr


def test_slurm_is_asked_for_one_gpu_a_group_and_for_the_groups_summed_time(tmp_path):
    """A false sbatch notes what it is asked; the other commands of Slurm say what Snakemake needs to hear."""
    fake, asked = tmp_path / "bin", tmp_path / "asked"
    fake.mkdir()
    for name in ("sacct", "squeue", "scontrol", "sinfo", "sacctmgr", "scancel"):
        (fake / name).write_text("#!/bin/sh\necho CHANGE_ME\n")
    (fake / "sbatch").write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexit 1\n')
    for program in fake.iterdir():
        program.chmod(0o755)
    work = tmp_path / "work"
    for number in range(2):
        for ending in ("mp4", "json"):
            clip = work / "results" / "002" / "clips" / f"clip{number:05d}.camera_front_wide_120fov.{ending}"
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.write_text("{}")
    sheet = write_sheet(work / "clips.csv", clips=2)
    command = [SNAKEMAKE, "results/002/sam2/metadata.csv", "-s", ROOT / "Snakefile", "-d", work]
    command += [
        "--profile",
        ROOT / "profiles" / "slurm",
        "--config",
        f"clips={sheet}",
        "instructions=lane double yellow solid",
    ]
    environment = os.environ | {"PATH": f"{fake}:{os.environ['PATH']}"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as snakemake:
        until = time.monotonic() + 60
        while snakemake.poll() is None and time.monotonic() < until and not (asked.exists() and asked.read_text()):
            time.sleep(0.1)
        snakemake.kill()  # what it does about the refusal is not asked here
    request = asked.read_text()
    assert len(re.findall(r"segment_road:run=002,video=clip0000\d", request)) == 2  # both in one job
    assert re.search(r"--gpus=1\b", request)
    assert re.search(r"--mem 32000\b", request)
    assert re.search(r"-t 240\b", request)
