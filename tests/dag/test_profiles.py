"""The profiles, as Snakemake understands them: how many GPUs a machine's run uses, what Slurm is asked for."""

import os
import re
import subprocess

import pytest

from .conftest import ROOT, SNAKEMAKE, asked_of_slurm, write_sheet

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
    work = tmp_path / "work"
    for number in range(2):
        for ending in ("mp4", "json"):
            clip = work / "results" / "002" / "clips" / f"clip{number:05d}.camera_front_wide_120fov.{ending}"
            clip.parent.mkdir(parents=True, exist_ok=True)
            clip.write_text("{}")
    sheet = write_sheet(work / "clips.csv", clips=2)
    words = (f"clips={sheet}", "instructions=lane double yellow solid")
    request = asked_of_slurm(tmp_path, work, "results/002/sam2/metadata.csv", *words)
    assert len(re.findall(r"segment_road:run=002,video=clip0000\d", request)) == 2  # both in one job
    assert re.search(r"--gpus=1\b", request)
    assert re.search(r"--mem 32000\b", request)
    assert re.search(r"-t 240\b", request)
