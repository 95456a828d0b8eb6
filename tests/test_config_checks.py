"""The check of the whole configuration: what no stage could carry out is named while planning, with its key."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import yaml

from relane.config import reading
from relane.data.sheet import Clip
from relane.errors import InputError
from relane.workflow import checks

ROOT = Path(__file__).parents[1]
FRONT = "camera_front_wide_120fov"
CLIPS = [Clip(name, FRONT, "", "hf://x/y@main") for name in ("one", "two")]
ARMS = ["sham", "single-white-dashed"]


def merged(*overlays: dict) -> dict:
    """The defaults with sections laid over them."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    for overlay in overlays:
        for key, value in overlay.items():
            config[key] = config[key] | value if isinstance(value, dict) and key not in REPLACED else value
    reading.validate(config)
    return config


REPLACED = ("datasets", "loras")


def check(config: dict, clips=CLIPS, edit_arms=ARMS) -> None:
    checks.check(config, {clip.video: clip for clip in clips}, edit_arms, ["original", "floor", *edit_arms])


def overlay(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / name).read_text())


@pytest.mark.parametrize("names", [[], ["demo.yaml"], ["fast.yaml"], ["thesis.yaml"]])
def test_the_shipped_configurations_can_be_carried_out(names):
    check(merged(*map(overlay, names)))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"run": "datasets"}, r"run 'datasets': results/datasets/ holds what runs share"),
        ({"loras": {"lanes": {"dataset": "lanes__single_blue_solid"}}}, r"loras\.lanes\.dataset.*unknown color 'blue'"),
        ({"loras": {"lanes": {"dataset": "lanes__single_white"}}}, r"loras\.lanes\.dataset.*too short"),
        ({"loras": {"lanes": {"dataset": "lanes__any_any_any_limit0"}}}, r"loras\.lanes\.dataset"),
        ({"loras": {"x": {"dataset": "lane"}}}, r"loras\.x\.dataset 'lane': .*did you mean 'lanes'"),
        ({"loras": {"x y": {"dataset": "lanes"}}}, r"loras\.x y: a LoRA's name is made of"),
        ({"datasets": {"a__b": {"start": 0, "limit": 0}}, "loras": {}}, r"datasets\.a__b: a dataset's name"),
        ({"sam2": {"vos_optimized": True}, "devices": {"sam2": "cpu"}}, r"sam2\.vos_optimized .* devices\.sam2 is cpu"),
        ({"first_frame": {"fp8": True}, "devices": {"painter": "cpu"}}, r"first_frame\.fp8 .* devices\.painter is cpu"),
        ({"video": {"fp8": True}, "devices": {"editor": "cpu"}}, r"video\.fp8 true needs a GPU, .*devices\.editor"),
        (
            {"video": {"attention_backend": "flash_4"}, "devices": {"editor": "cpu"}},
            r"video\.attention_backend flash_4 needs a GPU",
        ),
        ({"datasets": {"lanes": {"start": 2, "limit": 0}}}, r"datasets\.lanes\.start 2: the clip sheet has 2 videos"),
        ({"clip": {"min_frames": 151}}, r"clip\.max_frames 150, clip\.min_frames 151: .*at least min_frames"),
        ({"clip": {"anchor": "t0", "t0_us": 1_000_000}}, r"clip\.anchor t0: .*11 frames.*clip\.min_frames is 49"),
        ({"clip": {"t0_us": 15_000_000}}, r"clip\.t0_us 15000000 is after every clip's end"),
        ({"clip": {"anchor": "t0", "max_frames": 49, "t0_us": [5_000_000, 9_800_000]}}, r"raise clip\.max_frames"),
        ({"drive": {"together": True, "reasoning": "shared"}}, r"drive\.together: with drive\.reasoning shared"),
        ({"drive": {"video_name": "a"}}, r"drive\.video_name 'a' chooses one of drive\.videos, which is empty"),
        ({"effects": {"action_unchanged": ["single-white-dash"]}}, r"did you mean 'single-white-dashed'"),
        ({"effects": {"action_unchanged": ["nothing-alike"]}}, r"action_unchanged.*there are: original, floor, sham"),
        ({"video": {"mode": "exact", "background_refresh": 3}}, r"config: video\.background_refresh: mode exact"),
        ({"video": {"mode": "exact", "first_block_cache": 0.1}}, r"video\.first_block_cache: mode exact"),
        ({"video": {"mode": "exact", "guidance_skip": 0.5}}, r"video\.guidance_skip: mode exact"),
        ({"video": {"mode": "exact", "fp8": True}}, r"video\.fp8: not in mode exact"),
        ({"video": {"fp8": True, "offload": "model"}}, r"video\.fp8: .*not with video\.offload"),
        ({"video": {"prev_clip_weight": 0.5, "guidance_skip": 0.5}}, r"video\.guidance_skip and video\.prev"),
        ({"video": {"prev_clip_weight": 0.5, "first_block_cache": 0.5}}, r"video\.first_block_cache and video\.p"),
        ({"video": {"background_refresh": 3, "mask_add": False}}, r"video\.background_refresh needs video\.rep"),
        ({"video": {"num_inference_steps": 1, "strength": 0.5}}, r"config: video\.num_inference_steps times video"),
        ({"video": {"fuse_projections": True}, "checkpoints": {"videopainter_id": "x"}}, r"video\.fuse_projections"),
        ({"checkpoints": {"qwen": ""}}, r"checkpoints\.qwen is blank.*first_frame\.caption_refine_iters"),
        ({"first_frame": {"fp8": True, "offload": "model"}}, r"first_frame\.fp8: not with"),
        ({"first_frame": {"strength": 0.01, "num_inference_steps": 5}}, r"strength 0\.01 with first_frame\.num"),
        ({"first_frame": {"paint_size": "100x160"}}, r"first_frame\.paint_size: '100x160' should .*multiples of 16"),
        ({"lora": {"height": 160}}, r"lora\.height, lora\.width: 160x0"),
        ({"lora": {"resume": "nowhere"}}, r"lora\.resume nowhere: no checkpoint here"),
        ({"sam2": {"points": []}}, r"sam2\.points: at least one point"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_named_with_its_key(section, words):
    with pytest.raises(InputError, match=words):
        check(merged(section))


def test_stages_that_do_nothing_are_not_asked():
    """A wrong setting of a stage without work stops nobody."""
    nothing_edited = merged({"checkpoints": {"qwen": ""}, "video": {"mode": "exact", "fp8": True}})
    check(nothing_edited, edit_arms=[])
    check(merged({"lora": {"resume": "nowhere"}, "loras": {}}))
    undrivable = [Clip("one", "front", "a.mp4")]
    check(merged({"clip": {"anchor": "t0", "t0_us": 1_000_000}, "loras": {}}), clips=undrivable)
    check(merged({"drive": {"enabled": False, "together": True, "reasoning": "shared"}}))


def test_a_lora_by_path_must_be_safetensors_that_are_there(tmp_path):
    weights = tmp_path / "mine.safetensors"

    def named(path: Path | str) -> dict:
        return merged({"first_frame": {"lora": str(path), "lora_scale": 1.0}})

    with pytest.raises(InputError, match=r"first_frame\.lora '.*mine\.safetensors': no such file"):
        check(named(weights))
    weights.touch()
    check(named(weights))
    (tmp_path / "mine.bin").touch()
    with pytest.raises(InputError, match=r"only \.safetensors files are loaded"):
        check(named(tmp_path / "mine.bin"))
    with pytest.raises(InputError, match=r"this folder has neither"):
        check(named(tmp_path))
    with pytest.raises(InputError, match=r"first_frame\.lora 'lane': neither .*did you mean 'lanes'"):
        check(named("lane"))
    check(named("lanes"))
    check(merged({"first_frame": {"lora": "nowhere.safetensors", "lora_scale": 0.0}}))  # not loaded
    (tmp_path / "adapter_model.safetensors").touch()
    check(named(tmp_path))


def with_window(folder: Path, frames: int) -> dict:
    (folder / "transformer").mkdir(parents=True, exist_ok=True)
    (folder / "transformer" / "config.json").write_text(json.dumps({"sample_frames": frames}))
    return {"checkpoints": {"cogvideox": str(folder)}}


def test_clips_that_are_shorter_than_a_window_cannot_be_edited(tmp_path):
    model = with_window(tmp_path / "cogvideox", 49)
    checks.check_edits(merged(model))
    for clip in ({"min_frames": 48}, {"min_frames": 20, "max_frames": 30}):
        with pytest.raises(InputError, match=r"clip\.min_frames \d+: .* 49 frames"):
            checks.check_edits(merged(model, {"clip": clip}))
    with pytest.raises(InputError, match=r"config: video: stride 41: take a multiple of 4"):
        checks.check_edits(merged(model, {"video": {"stride": 41}}))
    checks.check_edits(merged(model, {"video": {"stride": 49, "mode": "exact"}}))
    checks.check_edits(merged({"clip": {"min_frames": 1}}))  # which model, nobody knows yet


def test_checkpoints_of_what_is_to_come_must_be_there(tmp_path):
    clips = {clip.video: clip for clip in CLIPS}
    config = merged()
    for name in config["checkpoints"]:
        if config["checkpoints"][name]:
            config["checkpoints"][name] = str(tmp_path / name)
            (tmp_path / name).mkdir()

    def ask(*rules: str, arms=ARMS) -> None:
        checks.check_checkpoints(config, checks.to_come(config, rules, arms, clips))

    ask("segment_road", "collect_masks", "page")
    shutil.rmtree(tmp_path / "cogvideox")
    ask("segment_road")
    ask("page")  # every edit is there: nothing loads it
    ask("segment_road", "collect_masks", "page", arms=[])
    for rules in (["edit_video"], ["segment_road", "collect_masks", "page"], ["collect_masks", "edits"]):
        with pytest.raises(InputError, match=r"checkpoints\.cogvideox '.*': no such folder"):
            ask(*rules)
    config["checkpoints"]["alpamayo"] = ""
    with pytest.raises(InputError, match=r"checkpoints\.alpamayo is blank"):
        ask("drive_arm")
    config["drive"]["enabled"] = False
    ask("drive_arm")


def test_a_check_changes_nothing():
    config = merged(overlay("demo.yaml"))
    before = copy.deepcopy(config)
    check(config)
    assert config == before
