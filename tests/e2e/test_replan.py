"""What a change makes run again, on top of a finished run: asserted on the plan."""

import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from tests.dag.conftest import lay_over, plan, plans, respelled, touch_backwards

EDITS_AND_AFTER = {
    "edit_video",
    "evaluate_edit",
    "instruction_report",
    "drive_arm",
    "draw_overlay",
    "effects",
    "provenance",
    "page",
    "all",
}


def replan(demo: Path, *targets: str, **config):
    """What would run again."""
    return plan(demo, *targets, configfiles=(str(demo / "config" / "demo.yaml"),), **config)


@pytest.fixture
def edited(demo):
    """Change a file for one test: `edited(path, old, new)`; restored afterwards with its old times."""
    saved = {}

    def change(name: str, old: str, new: str) -> None:
        path = demo / name
        saved.setdefault(path, (path.read_text(), path.stat()))
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new, 1))

    yield change
    for path, (text, stat) in saved.items():
        path.write_text(text)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_an_undisturbed_run_plans_nothing(demo):
    assert replan(demo) == []


def test_touching_any_file_replans_nothing(demo):
    """Scripts, the chunk zips of the world (some megabytes each), checkpoints, sheets and results."""
    touched = touch_backwards(demo)
    assert any(path.suffix == ".zip" and path.stat().st_size > 1 << 20 for path in touched)
    assert replan(demo) == []


def test_a_comment_or_docstring_in_what_every_stage_imports_replans_nothing(demo, edited):
    for name in ("errors", "io/files", "cli"):
        edited(f"scripts/relane/{name}.py", '"""', '"""In other words: ')
        edited(f"scripts/relane/{name}.py", "\n\n\n", "\n\n# So it is.\n\n\n")
    assert replan(demo) == []


def test_spelling_places_and_devices_replan_nothing(demo):
    """Every key at its own value, in reverse order and as 10.0 for 10; checkpoints moved; other devices and workers."""
    config = yaml.safe_load((demo / "config" / "config.yaml").read_text())
    lay_over(config, yaml.safe_load((demo / "config" / "demo.yaml").read_text()))
    spelled = demo / "respelled.yaml"
    spelled.write_text(yaml.safe_dump(respelled(config), sort_keys=False))
    shutil.copytree(demo / "resources" / "tiny", demo / "build" / "moved", dirs_exist_ok=True)
    moved = {name: f"build/moved/{Path(path).name}" for name, path in config["checkpoints"].items() if "tiny" in path}
    places = {"checkpoints": moved, "devices": dict.fromkeys(config["devices"], "cpu"), "workers": {"enabled": False}}
    places |= {"video": {"share_posteriors": False}, "clip": {"record_failures": False}}
    variants = [str(spelled), places]
    assert plans(demo, configfiles=(str(demo / "config" / "demo.yaml"),), variants=variants) == [[], []]


def test_every_record_says_what_made_it_and_the_runs_record_counts_them(demo):
    results = demo / "results" / "demo"
    folders = ("clips", "sam2/*", "vp/*/*", "drive/*/*/*", ".")
    records = [path for folder in folders for path in results.glob(f"{folder}/*.json")]
    records = [path for path in records if path.name not in ("provenance.json", "inference_summary.json")]
    scripts = {path: json.loads(path.read_text()).get("made_by", {}).get("script") for path in records}
    assert [str(path) for path, script in scripts.items() if script is None] == []
    groups = json.loads((results / "provenance.json").read_text())["made_by"]
    counted = {group["script"]: group["files"] for group in groups}
    assert counted == {script: list(scripts.values()).count(script) for script in set(scripts.values())}
    by_script = {group["script"]: set(group["weights"]) for group in groups}
    assert by_script["edit_video.py"] == {"cogvideox", "videopainter"}
    assert by_script["first_frame.py"] == {"flux_fill", "qwen"}
    assert by_script["prepare_clip.py"] == set()


def test_one_instructions_text_replans_that_instruction_only(demo):
    """Slugs stay, one text changes: as in a sheet of instructions."""
    sheet = demo / "two.csv"
    rows = ["slug,instruction", "single-white-dashed,lane single white dashed", "double-yellow-solid,{}"]
    sheet.write_text("\n".join(rows).format("lane double yellow solid") + "\n")
    # The same texts from a sheet: only the record of the configuration is another.
    assert replan(demo, instructions=str(sheet)).rules() == {"provenance", "page", "all"}
    sheet.write_text("\n".join(rows).format("make the lane lines a bright double yellow") + "\n")
    jobs = replan(demo, instructions=str(sheet))
    for rule in ("first_frame", "edit_video", "evaluate_edit", "instruction_report"):
        assert {job["wildcards"]["instruction"] for job in jobs.of(rule)} == {"double-yellow-solid"}
    assert {job["wildcards"]["arm"] for job in jobs.of("drive_arm")} == {"double-yellow-solid"}
    assert not jobs.rules() & {"prepare_clip", "segment_road", "select_region"}


def test_a_line_in_the_painter_replans_the_edits_and_what_follows_and_no_masks(demo, edited):
    edited("scripts/relane/editors/videopainter/windows.py", "\nimport", "\nA_LINE_MORE = 1\nimport")
    assert replan(demo).rules() == EDITS_AND_AFTER


def test_a_line_in_the_masks_code_replans_everything_after_the_masks(demo, edited):
    edited("scripts/relane/road/sam2_video.py", "\nimport", "\nA_LINE_MORE = 1\nimport")
    rules = replan(demo).rules()
    assert {"segment_road", "select_region", "first_frame", *EDITS_AND_AFTER} <= rules
    assert "prepare_clip" not in rules


def test_a_parameter_replans_the_stage_that_uses_it(demo):
    rules = replan(demo, drive={"seed": 7}).rules()
    assert rules == {"drive_arm", "draw_overlay", "effects", "page", "provenance", "all"}


def test_other_weights_replan_what_their_model_made(demo):
    config = demo / "resources" / "tiny" / "alpamayo" / "config.json"
    text, stat = config.read_text(), config.stat()
    try:
        config.write_text(text + "\n")
        jobs = replan(demo)
    finally:
        config.write_text(text)
        os.utime(config, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert "drive_arm" in jobs.rules()
    others = {"segment_road", "first_frame", "edit_video"}
    assert {job["rule"]: job["reason"] for job in jobs if job["rule"] in others} == {}


def test_a_deleted_edit_replans_that_edit_and_what_follows(demo):
    video = next((demo / "results" / "demo" / "vp" / "sham").glob("*/*_vp_edit_sample0.mp4"))
    aside = video.with_suffix(".aside")
    video.rename(aside)
    try:
        jobs = replan(demo, str(video.relative_to(demo)))
    finally:
        aside.rename(video)
    assert [job["rule"] for job in jobs] == ["edit_video"]
