"""What is a reason to run a job again, and what is none: asserted on plans over a run of which every file is there.

The run is pretended (plan.py): its outputs are written and recorded by Snakemake itself, but no model has run. The
clips are two of a data set, one MP4 and one `file://`; checkpoints are folders of some bytes. tests/e2e/test_replan.py
asks the same of a run that was made.
"""

import copy
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from relane.config import schema
from tests import foreign_videos

from .conftest import ROOT, ask, lay_over, plans, respelled, touch_backwards

CAMERA = foreign_videos.CAMERA
TARGETS = ("all", "drive", "dataset", "lora")
# Of every stage there is a job, so what follows from one stage is not asked here but which jobs change themselves.
EGO = "pai/labels/egomotion.chunk_0000.zip"
DRIVEN = {f"a.{CAMERA}", f"b.{CAMERA}"}
LARGE = 9 << 20


class Run:
    """A finished run, with the questions that tests ask of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
        lay_over(self.config, yaml.safe_load((folder / "base.yaml").read_text()))

    def replan(self, *variants: dict | str) -> list:
        """The plans of some variants of the configuration."""
        return plans(self.folder, *TARGETS, configfiles=(str(self.folder / "base.yaml"),), variants=list(variants))

    def own(self, *variants: dict | str) -> list[set[str]]:
        """The rules whose jobs changed themselves."""
        return [plan.own() for plan in self.replan(*variants)]


def sources(folder: Path) -> None:
    """Two clips of a data set with ego motion, an MP4 and a `file://`, and one video that was edited elsewhere."""
    root = foreign_videos.dataset(folder / "pai", ["a", "b"])
    with open(root / "features.csv", "a") as file:
        file.write('labels,egomotion,labels/egomotion.chunk_{chunk_id:04d}.zip,"{""egomotion"": ""{clip_id}.ego""}"\n')
        file.write("calibration,camera_intrinsics,intrinsics.chunk_{chunk_id:04d}.parquet,\n")
    (root / "labels").mkdir()
    with zipfile.ZipFile(root / "labels" / "egomotion.chunk_0000.zip", "w") as archive:
        for clip in "ab":
            archive.writestr(f"{clip}.ego", f"the way of {clip}")
    (root / "intrinsics.chunk_0000.parquet").write_bytes(b"lens")
    for name in ("plain", "addressed"):
        (folder / f"{name}.mp4").write_bytes(name.encode() * (LARGE // len(name)))
    chunk = f"pai/camera/{CAMERA}/{CAMERA}.chunk_0000.zip"
    rows = [f"{clip},{CAMERA},{chunk},pai,," for clip in "ab"]
    rows += ["plain,front,plain.mp4,,,", f"addressed,front,file://{folder}/addressed.mp4,,,"]
    (folder / "clips.csv").write_text("\n".join(["clip_id,camera,uri,pai_root,size,checksum", *rows]) + "\n")
    foreign = folder / "foreign" / "dusk" / f"a.{CAMERA}_vp_edit_sample0.mp4"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"dusk" * (1 << 19))
    foreign.with_suffix(".json").write_text("{}")
    (folder / "texts.csv").write_text("slug,instruction\nyellow,lane double yellow solid\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of which every file is there."""
    folder = tmp_path_factory.mktemp("finished")
    sources(folder)
    names = schema.json_schema()["properties"]["checkpoints"]["properties"]
    for name in names:
        (folder / "weights" / name).mkdir(parents=True)
        (folder / "weights" / name / "config.json").write_text(json.dumps({"of": name}))
        with open(folder / "weights" / name / "model.safetensors", "wb") as file:
            file.write(name.encode())
            file.truncate(LARGE)
    (folder / "lora.safetensors").write_bytes(b"adapter" * (1 << 18))
    base = {
        "clips": "clips.csv",
        "instructions": "texts.csv",
        "checkpoints": {name: f"weights/{name}" for name in names},
        "drive": {"videos": "foreign"},
        "first_frame": {"lora": "lora.safetensors", "lora_scale": 1.0},
    }
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    request = {"workdir": str(folder), "targets": TARGETS, "configfiles": [str(folder / "base.yaml")], "finish": True}
    made = {job["rule"] for job in ask(request)}
    assert {"prepare_clip", "import_video", "drive_arm", "page", "caption_frames", "train_lora"} <= made
    return Run(folder)


@pytest.fixture
def changed(finished: Run) -> Iterator:
    """`changed(path, content)` writes other bytes for one test; the old ones come back, and with them the old times."""
    saved = {}

    def change(name: str, content: bytes) -> None:
        path = finished.folder / name
        saved[path] = (path.read_bytes(), path.stat())
        path.write_bytes(content)
        os.utime(path, ns=(saved[path][1].st_atime_ns, saved[path][1].st_mtime_ns))

    yield change
    for path, (content, stat) in saved.items():
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_an_undisturbed_run_plans_nothing(finished):
    assert finished.replan({}) == [[]]


def test_every_key_at_its_own_value_in_another_order_and_spelling_plans_nothing(finished):
    overlay = finished.folder / "respelled.yaml"
    overlay.write_text(yaml.safe_dump(respelled(finished.config), sort_keys=False))
    words = {"clip": {"fps": "10.0", "crf": "18"}, "video": {"guidance_scale": "6", "num_inference_steps": "70.0"}}
    assert finished.replan(str(overlay), words) == [[], []]


def test_touched_files_plan_nothing(finished):
    """Sources, sheets, checkpoints, a LoRA, and every result up to 256 MB."""
    touched = {
        path.relative_to(finished.folder).as_posix(): path.stat().st_size for path in touch_backwards(finished.folder)
    }
    assert {"plain.mp4", "lora.safetensors", "texts.csv", "weights/sam2/config.json"} <= touched.keys()
    assert touched["results/002/clips/plain.front.mp4"] > 1 << 20
    assert finished.replan({}) == [[]]


def test_moved_checkpoints_plan_nothing(finished):
    elsewhere = finished.folder / "elsewhere"
    shutil.copytree(finished.folder / "weights", elsewhere)
    shutil.copy(finished.folder / "lora.safetensors", elsewhere / "renamed.safetensors")
    config = {"checkpoints": {name: f"{elsewhere}/{name}" for name in finished.config["checkpoints"]}}
    config["first_frame"] = {"lora": "elsewhere/renamed.safetensors"}
    assert finished.replan(config) == [[]]


def test_what_a_hub_client_and_people_leave_in_a_checkpoint_plans_nothing(finished):
    folder = finished.folder / "weights" / "sam2"
    for name in (".cache/huggingface/download/model.lock", ".git/HEAD", ".revision", "README.md", "LICENSE"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of no weight")
    assert finished.replan({}) == [[]]


def others(sub: dict, value):
    """Another value that the schema allows."""
    kind = sub.get("type", [])
    if "enum" in sub:
        return next(item for item in sub["enum"] if item != value)
    if kind == "boolean":
        return not value
    if kind == "string":
        return f"{value}x" if value != "auto" else "cpu"
    if "maximum" in sub or kind == "number":
        return value / 2 if value else min(0.5, sub.get("maximum", 0.5))
    return value + sub.get("multipleOf", 1)


def test_keys_that_the_schema_calls_no_reason_are_none(finished):
    config = {}
    for name, sub in schema.every_key():
        section, _, key = name.partition(".")
        parent = schema.json_schema()["properties"][section]
        no_reason = not sub.get("rerun", True) or not parent.get("rerun", True)
        if key and section != "checkpoints" and no_reason:
            config.setdefault(section, {})[key] = others(sub, finished.config[section][key])
    assert {"devices", "workers", "video"} <= config.keys()
    assert config["clip"] == {"min_frames": 50, "record_failures": False}
    assert finished.replan(config) == [[]]


def test_only_a_clip_that_is_too_short_by_now_runs_again(finished, changed):
    changed("results/002/clips/plain.front.json", json.dumps({"frames": 55}).encode())
    (plan,) = finished.replan({"clip": {"min_frames": 60}})
    assert [job["wildcards"]["video"] for job in plan.of("prepare_clip")] == ["plain.front"]


def test_a_clip_that_was_left_out_as_too_short_runs_again_where_less_is_asked(finished, changed):
    skipped = {"status": "skipped", "frames": 0, "min_frames": 49, "reason": "30 frames at 10 fps"}
    changed("results/002/clips/plain.front.json", json.dumps(skipped).encode())
    same, fewer = finished.replan({}, {"clip": {"min_frames": 30}, "video": {"stride": 8}})
    assert same.of("prepare_clip") == []
    assert [job["wildcards"]["video"] for job in fewer.of("prepare_clip")] == ["plain.front"]


def test_an_instant_changes_the_clips_whose_frames_it_decides(finished):
    """The data set's clips start at its first frame, on a grid through the instant; the others know no instant."""
    second_later, between = finished.replan({"clip": {"t0_us": 6_100_000}}, {"clip": {"t0_us": 6_150_000}})
    assert "drive_arm" in second_later.own()
    assert second_later.of("prepare_clip") == []
    assert {job["wildcards"]["video"] for job in between.of("prepare_clip")} == DRIVEN
    (anchored,) = finished.replan({"clip": {"anchor": "t0"}})
    assert {job["wildcards"]["video"] for job in anchored.of("prepare_clip")} == DRIVEN


def documented() -> dict[str, set[str]]:
    """What docs/targets.md says that a section of the configuration makes run again: section -> rules."""
    text = (ROOT / "docs" / "targets.md").read_text()
    table = text.partition("## What runs again")[2]
    return {
        section: set(re.findall(r"`([a-z_]+)`", rules))
        for sections, rules in re.findall(r"^\| (`[a-z0-9_.`, ]+) \| (.+?) \|$", table, flags=re.M)
        for section in re.findall(r"`([a-z_.0-9]+)`", sections)
    }


def test_each_part_of_the_configuration_makes_run_again_what_the_documentation_names(finished):
    """Every key of a section is changed at once; the rules are those that change themselves, without the record's."""
    (finished.folder / "other.csv").write_text("slug,instruction\nyellow,make the lines a bright double yellow\n")
    sections, table = schema.json_schema()["properties"], documented()
    hole = finished.config["first_frame"]["keep_masked_pixels"]
    variants = {}
    for section in ("sam2", "region", "first_frame", "video", "quality", "effects", "lora", "dataset", "clip", "drive"):
        variants[section] = {section: {}}
        for key, sub in sections[section]["properties"].items():
            if f"{section}.{key}" not in table and sub.get("rerun", True) and key not in ("points", "negative_points"):
                old = copy.deepcopy(finished.config[section][key])
                variants[section][section][key] = old if isinstance(old, list | dict) else others(sub, old)
    variants["lora"]["lora"]["resume"] = "never"
    variants["clip"]["clip"] = {"fps": 20, "max_frames": 140, "crf": 17}
    variants["first_frame"]["first_frame"].pop("lora")
    variants["first_frame"]["first_frame"].pop("paint_size")
    for key in ("mode", "fuse_projections", "background_refresh", "first_block_cache", "guidance_skip"):
        # They exclude others.
        variants["video"]["video"].pop(key)
    variants["drive"]["drive"] = {"seed": 7, "num_traj_samples": 5, "temperature": 0.5, "top_p": 0.9}
    variants |= {
        "video.crf": {"video": {"crf": 17}},
        "first_frame.keep_masked_pixels": {"first_frame": {"keep_masked_pixels": not hole}},
        "dataset.frames": {"dataset": {"frames": [1, 7]}},
        "drive.videos_start_us": {"drive": {"videos_start_us": 9}},
        "instructions": {"instructions": "other.csv"},
    }
    for (section, _), rules in zip(variants.items(), finished.own(*variants.values()), strict=True):
        assert rules - {"provenance"} == table[section], section


@pytest.mark.parametrize(
    ("name", "rules", "wildcards"),
    [
        ("plain.mp4", {"prepare_clip", "take_frames"}, {"plain.front"}),
        ("addressed.mp4", {"prepare_clip", "take_frames"}, {"addressed.front"}),
        (f"foreign/dusk/a.{CAMERA}_vp_edit_sample0.mp4", {"import_video"}, {f"a.{CAMERA}"}),
        ("weights/sam2/model.safetensors", {"segment_road", "dataset_frames"}, set()),
        ("weights/alpamayo/model.safetensors", {"drive_arm"}, set()),
        ("lora.safetensors", {"first_frame"}, set()),
        ("pai/intrinsics.chunk_0000.parquet", {"drive_arm"}, set()),
    ],
)
def test_other_content_of_the_same_size_and_time_is_a_reason(finished, changed, name, rules, wildcards):
    path = finished.folder / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    changed(name, bytes(content))
    (plan,) = finished.replan({})
    assert plan.own() == rules
    assert {job["wildcards"]["video"] for job in plan if job["own"] and "video" in job["wildcards"]} >= wildcards


def test_another_clip_of_a_chunk_is_no_reason(finished, changed):
    """Of a zip that holds many clips only a clip's own files count: pictures for its clip, ego motion for its drive."""
    for name, member in ((f"pai/camera/{CAMERA}/{CAMERA}.chunk_0000.zip", f"a.{CAMERA}.mp4"), (EGO, "a.ego")):
        path = finished.folder / name
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
        members[member] = members[member][::-1]
        with zipfile.ZipFile(finished.folder / "other.zip", "w") as archive:
            for key, value in members.items():
                archive.writestr(key, value)
        changed(name, (finished.folder / "other.zip").read_bytes())
    (plan,) = finished.replan({})
    assert {job["wildcards"]["video"] for job in plan.of("prepare_clip")} == {f"a.{CAMERA}"}
    assert {job["wildcards"]["clip"] for job in plan.of("drive_arm")} == {"a"}
