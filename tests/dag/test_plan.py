"""What Snakemake plans for a fresh run: asserted on the plan itself, not on log text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, copy_checkout, plan, write_sheet

CAMERA = "camera_front_wide_120fov"
INSTRUCTIONS = "lane double yellow solid || lane single white dashed"


def test_a_full_run_plans_every_stage_once_per_clip_and_arm(workspace):
    sheet = write_sheet(workspace / "clips.csv", clips=3)
    jobs = plan(workspace, clips=sheet, instructions=INSTRUCTIONS)
    clips, edit_arms, drive_arms = 3, 3, 5  # sham + two instructions; and original + floor
    assert len(jobs.of("prepare_clip")) == clips
    assert len(jobs.of("segment_road")) == clips
    assert len(jobs.of("select_region")) == clips  # the masks are the same for all arms
    for rule in ("first_frame", "edit_video", "evaluate_edit"):
        assert len(jobs.of(rule)) == clips * edit_arms, rule
    for rule in ("drive_arm", "draw_overlay"):
        assert len(jobs.of(rule)) == clips * drive_arms, rule
    assert len(jobs.of("effects")) == len(jobs.of("page")) == 1


def test_no_output_lies_in_a_folder_that_another_job_makes(workspace):
    """rules/scale.smk leaves Snakemake's own check out, because it looks at every job."""
    sheet = write_sheet(workspace / "clips.csv", clips=2)
    jobs = plan(workspace, "all", "drive", "dataset", "lora", clips=sheet, instructions=INSTRUCTIONS)
    makers = {Path(output): number for number, job in enumerate(jobs) for output in job["output"]}
    for output, number in makers.items():
        others = {makers[parent] for parent in output.parents if parent in makers} - {number}
        assert not others, f"{output} lies in an output of {jobs[others.pop()]['rule']}"


def test_naming_one_edited_video_plans_exactly_its_ancestors(workspace):
    sheet = write_sheet(workspace / "clips.csv", clips=3)
    video = f"clip00001.{CAMERA}"
    target = f"results/002/vp/double-yellow-solid/{video}/{video}_vp_edit_sample0.mp4"
    jobs = plan(workspace, target, clips=sheet, instructions=INSTRUCTIONS)
    assert sorted(job["rule"] for job in jobs) == [
        "edit_video",
        "first_frame",
        "prepare_clip",
        "segment_road",
        "select_region",
    ]
    assert {job["wildcards"]["video"] for job in jobs} == {video}


def test_an_edit_that_names_a_lora_waits_for_its_dataset_and_training(workspace):
    sheet = write_sheet(workspace / "clips.csv", clips=2)
    video = f"clip00001.{CAMERA}"
    target = f"results/002/vp/double-yellow-solid/{video}/{video}_vp_edit_sample0.mp4"
    config = {"clips": sheet, "instructions": INSTRUCTIONS}
    trained = {"take_frames", "dataset_frames", "caption_frames", "assemble_dataset", "filter_dataset", "train_lora"}
    jobs = plan(workspace, target, **config, first_frame={"lora": "lanes", "lora_scale": 1.0})
    assert trained < jobs.rules()
    assert {job["wildcards"]["video"] for job in jobs.of("dataset_frames")} == {f"clip0000{n}.{CAMERA}" for n in (0, 1)}
    # At a scale of 0 it would change nothing, so it is not asked for.
    assert not trained & plan(workspace, target, **config, first_frame={"lora": "lanes"}).rules()


@pytest.mark.parametrize(
    ("stage", "has", "has_not"),
    [
        ("clips", {"prepare_clip"}, {"segment_road"}),
        ("masks", {"segment_road", "collect_masks", "package_videopainter"}, {"first_frame"}),
        ("edits", {"first_frame", "edit_video"}, {"evaluate_edit", "drive_arm"}),
        ("quality", {"evaluate_edit", "instruction_report"}, {"drive_arm"}),
        ("drive", {"drive_arm", "draw_overlay", "effects"}, {"evaluate_edit", "page"}),
        ("report", {"page", "provenance", "package_videopainter", "instruction_report"}, {"train_lora"}),
        ("dataset", {"dataset_frames", "assemble_dataset"}, {"edit_video", "train_lora"}),
        ("lora", {"filter_dataset", "train_lora"}, {"edit_video"}),
    ],
)
def test_each_stage_can_be_asked_for_alone(workspace, stage, has, has_not):
    sheet = write_sheet(workspace / "clips.csv", clips=2)
    rules = plan(workspace, stage, clips=sheet, instructions=INSTRUCTIONS).rules()
    assert has <= rules
    assert not has_not & rules


def test_clips_without_ego_motion_are_edited_but_not_driven(workspace):
    sheet = write_sheet(workspace / "clips.csv", clips=2, pai_root="")
    text = Path(sheet).read_text().replace(f",{CAMERA},,", f",{CAMERA},s3://bucket/a.mp4,")
    Path(sheet).write_text(text)
    jobs = plan(workspace, clips=sheet, instructions=INSTRUCTIONS)
    assert "edit_video" in jobs.rules()
    assert "drive_arm" not in jobs.rules()
    assert "effects" in jobs.rules()  # writes the files that say why


def test_gpu_profile_plans_in_a_fresh_clone(tmp_path):
    clone = copy_checkout(tmp_path / "clone")
    snakemake = Path(sys.executable).with_name("snakemake")
    for quiet in ([], ["--quiet", "rules"]):
        command = [snakemake, "--profile", "gpu", "-n", *quiet]
        done = subprocess.run(command, cwd=clone, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        said = done.stdout + done.stderr
        assert "Job stats:" in said
        # Every job is announced, or none.
        assert ("rule edit_video:" in said) != bool(quiet)
    assert not (clone / "profiles" / "default").exists(), "profiles/default would silently override --profile gpu"


def test_planning_needs_no_torch(workspace):
    """envs/orchestrator.txt holds no torch: with torch and friends unimportable the full plan still comes out."""
    for module in ("torch", "torchvision", "diffusers", "transformers", "av", "cv2", "sam2", "physical_ai_av"):
        (workspace / f"{module}.py").write_text(
            f"raise ImportError('{module} is not in the orchestrator environment')\n"
        )
    sheet = write_sheet(workspace / "clips.csv", clips=1)
    os.environ["PYTHONPATH"] = str(workspace)
    try:
        jobs = plan(workspace, clips=sheet, instructions=INSTRUCTIONS)
    finally:
        del os.environ["PYTHONPATH"]
    assert {"train_lora", "page"} & jobs.rules()
    names = {line.split("==")[0] for line in (ROOT / "envs" / "orchestrator.txt").read_text().splitlines()}
    assert "snakemake" in names
    assert not names & {"torch", "torchvision", "diffusers", "transformers", "av", "opencv-python-headless"}


def test_a_large_run_shows_some_clips_spread_over_the_sheet_and_drives_all(workspace):
    sheet = write_sheet(workspace / "clips.csv", clips=6)
    config = {"clips": sheet, "instructions": INSTRUCTIONS, "report": {"clips": 2}}
    jobs = plan(workspace, **config)
    assert {job["wildcards"]["clip"] for job in jobs.of("draw_overlay")} == {"clip00000", "clip00003"}
    assert len({job["wildcards"]["clip"] for job in jobs.of("drive_arm")}) == 6
    drawn = {job["wildcards"]["clip"] for job in plan(workspace, "drive", **config).of("draw_overlay")}
    assert len(drawn) == 6
