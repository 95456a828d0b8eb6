"""Datasets and a LoRA of the demo's clips, asked for by the names of their files; and what one more video adds."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from tests.dag.conftest import Plan, plan

from .conftest import snakemake

SUFFIXES = ("any_any_any_byprompt", "any_any_any_limit3")
TARGETS = [f"results/datasets/lanes{end}/train.csv" for end in ("", *(f"__{suffix}" for suffix in SUFFIXES))]
LORA = "results/lora/lanes/pytorch_lora_weights.safetensors"
SETTINGS = {
    "dataset": {"frames": [1, 100]},
    "loras": {"lanes": {"dataset": f"lanes__{SUFFIXES[0]}"}},
    "first_frame": {"lora": "lanes", "lora_scale": 1.0},
}


def replan(demo: Path, *targets: str, **more: object) -> Plan:
    """What would run, with the settings of these tests."""
    return plan(demo, *targets, configfiles=(str(demo / "config" / "demo.yaml"),), **SETTINGS | more)


@pytest.fixture(scope="module")
def trained(demo: Path) -> Path:
    """The demo's checkout after one run for three tables and a LoRA."""
    settings = demo / "datasets.yaml"
    settings.write_text(json.dumps(SETTINGS))
    done = snakemake(demo, *TARGETS, LORA, "--configfile", "config/demo.yaml", str(settings))
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return demo


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_naming_files_makes_a_dataset_two_filtered_ones_and_a_lora(trained):
    whole, sorted_by_prompt, first = (rows(trained / name) for name in TARGETS)
    assert 0 < len(whole) <= 4
    assert [row["prompt"] for row in sorted_by_prompt] == sorted(row["prompt"] for row in whole)
    assert first == whole[:3]
    for row in whole:
        assert (trained / "results/datasets/lanes" / row["image"]).exists()
        assert (trained / "results/datasets/lanes" / row["mask"]).exists()
    history = json.loads((trained / LORA).with_name("loss_history.json").read_text())
    assert history
    assert (trained / LORA).stat().st_size > 0


def test_asked_again_nothing_is_left_to_do(trained):
    assert replan(trained, *TARGETS, LORA) == []


def test_one_more_video_adds_only_its_own_frames(trained, tmp_path):
    more = tmp_path / "more.mp4"
    shutil.copy(next((trained / "results" / "demo" / "clips").glob("*.mp4")), more)
    jobs = replan(trained, *TARGETS, LORA, clips=["config/demo_clips.csv", str(more)])
    for rule in ("take_frames", "dataset_frames"):  # one job a video, however many frames
        assert [job["wildcards"]["video"] for job in jobs.of(rule)] == ["more.front"]
    assert {job["wildcards"]["video"] for job in jobs.of("caption_frames")} == {"more.front"}
    assert len(jobs.of("filter_dataset")) == len(SUFFIXES)
    assert jobs.rules() == {
        "take_frames",
        "dataset_frames",
        "caption_frames",
        "assemble_dataset",
        "filter_dataset",
        "train_lora",
    }


def test_an_edit_with_that_lora_trains_nothing_anew(trained):
    video = next((trained / "results" / "demo" / "vp" / "sham").glob("*/*_vp_edit_sample0.mp4"))
    assert replan(trained, str(video.relative_to(trained))).rules() == {"first_frame", "edit_video"}
