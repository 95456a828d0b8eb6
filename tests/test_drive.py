"""drive.py on a small data set and the tiny driver."""

import json
from pathlib import Path

import draw_overlay
import drive
import numpy as np
import pytest
import torch

from relane.drivers.alpamayo import READ
from relane.drivers.alpamayo.sampling import KeyedNoise
from relane.drivers.alpamayo.tokens import STOP
from relane.drivers.scene import open_edited
from relane.errors import InputError
from relane.io.files import read_json
from relane.io.video import probe
from tests.alpamayo import small_pai
from tests.rollouts import T0, VIDEO, arguments, write_clip


def test_one_arm_gives_the_record_and_the_arrays(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    record, data = rollout()
    assert record["video_id"] == VIDEO
    assert (record["num_trajectories"], record["success"], record["noise_key"]) == (3, True, "crn")
    assert record["cameras"] == list(READ[4])
    assert data["camera_indices"].tolist() == [0, 1, 2, 6]
    assert len(record["reasoning_traces"]) == 3
    assert record["complete_share"] == 1.0
    assert record["temporal_config"]["time_step"] == 0.1
    assert record["v0_mps"] == pytest.approx(10.3, abs=0.01)
    assert list(record["by_horizon"]) == ["1", "3", "5", "6.4"]
    assert record["min_ade_meters"] == record["min_ade_k"] <= record["ade_mean"]
    assert record["min_ade_6"] is None
    assert record["corner_box"]["length"] == 4.9
    assert record["host_peak_bytes"] > 0
    assert {"read", "reasoning", "flow", "total"} <= record["seconds"].keys()
    shapes = {name: data[name].shape for name in ("pred_xyz", "pred_rot", "gt_future_xyz", "ego_history_rot")}
    assert shapes == {
        "pred_xyz": (3, 64, 3),
        "pred_rot": (3, 64, 3, 3),
        "gt_future_xyz": (64, 3),
        "ego_history_rot": (16, 3, 3),
    }
    assert data["image_frames"].shape == (4, 36, 64, 3)


@pytest.mark.parametrize(
    ("fps", "numbers"),
    [
        (10, [48, 49, 50, 51]),
        (25, [120, 122, 125, 127]),
        (30, [144, 147, 150, 153]),
    ],
)
def test_edited_frames_are_taken_by_time_at_any_rate(rollout, tmp_path: Path, fps: int, numbers: list[int]) -> None:
    write_clip(tmp_path, fps=fps, count=160)
    record, data = rollout()
    assert record["v0_mps"] == pytest.approx(10.3, abs=0.01)  # the clock is the model's, whatever the video's is
    assert [small_pai.number_of(image) for image in data["image_frames"]] == numbers
    times = record["frame_times"][small_pai.FRONT]
    assert -1e6 / fps < min(times["error_us"]) <= max(times["error_us"]) <= 0
    assert times["times_from"] == "sidecar"
    # The other cameras come from the data set, at its own 30 fps.
    tele = record["frame_times"]["camera_front_tele_30fov"]["error_us"]
    assert -33_334 <= min(tele) <= max(tele) <= 0
    assert (record["frame_choice"], record["frame_notes"]) == ("before", [])


def test_arms_share_noise_and_the_floor_does_not(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path / "a")
    write_clip(tmp_path / "b", shade=60)
    first, again = rollout(tmp_path / "a")[1], rollout(tmp_path / "a", arm="again")[1]
    edited, floor = rollout(tmp_path / "b")[1], rollout(tmp_path / "a", noise_key="floor")[1]
    assert (first["pred_xyz"] == again["pred_xyz"]).all()
    moved = [np.linalg.norm(first["pred_xyz"] - other["pred_xyz"], axis=-1).mean() for other in (edited, floor)]
    assert 0 < moved[0] < moved[1]


def test_arms_of_one_call_get_what_each_gets_alone(rollout, tmp_path: Path) -> None:
    """The original, its floor, and an edit; one of them cannot be driven."""
    names = ["original", "floor", "yellow", "short"]
    original, edit = write_clip(tmp_path / "a"), write_clip(tmp_path / "b", shade=60)
    short = write_clip(tmp_path / "c", count=40)
    files = {
        "output": [tmp_path / f"{name}.json" for name in names],
        "vis_data": [tmp_path / f"{name}.npz" for name in names],
    }
    keys = ["crn", "floor", "crn", "crn"]
    videos = [original, original, edit, short]
    sidecar = tmp_path / "a" / f"{VIDEO}.json"
    # One step of the flow: over several, untrained weights turn rounding into decimetres.
    how = {"clip_jsons": sidecar, "diffusion_steps": 1}
    rollout(videos=videos, arm=names, noise_key=keys, record_failures="true", **how, **files)
    for number, name in enumerate(names[:3]):
        together = read_json(files["output"][number])
        alone, arrays = rollout(tmp_path / name, videos=videos[number], arm=name, noise_key=keys[number], **how)
        assert together["arms_in_call"] == names[:3]
        assert (together["arm"], together["noise_key"]) == (name, keys[number])
        for key in ("videos", "reasoning_traces", "complete", "reply_lengths", "frame_times"):
            assert together[key] == alone[key], key
        with np.load(files["vis_data"][number]) as data:
            np.testing.assert_allclose(data["pred_xyz"], arrays["pred_xyz"], atol=1e-4)
    failed = read_json(files["output"][3])
    assert (failed["success"], failed["arm"]) == (False, "short")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"noise_key": ["crn"]}, "--noise-key: 1 given for 2 --arm"),
        ({"videos": ["a", "b", "c"]}, "--videos: 3 given for 2 --arm"),
        ({"reasoning": "shared", "reasoning_from": "x"}, "drive one arm a call"),
    ],
)
def test_arms_of_one_call_need_their_own_of_everything(root, tiny, tmp_path: Path, flags: dict, message: str) -> None:
    given = {"arm": ["a", "b"], "noise_key": ["crn", "crn"], "videos": ["a", "b"], "clip_jsons": None}
    given |= {"output": ["x.json", "y.json"], "vis_data": ["x.npz", "y.npz"]} | flags
    with pytest.raises(InputError, match=message):
        drive.check(drive.parser().parse_args(arguments(root, tmp_path, tiny, **given)))


def test_the_npz_is_the_same_to_the_byte(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    rollout()
    first = (tmp_path / "vis_data.npz").read_bytes()
    rollout()
    assert (tmp_path / "vis_data.npz").read_bytes() == first


def test_shared_reasoning_feeds_the_originals_words(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path / "original")
    write_clip(tmp_path / "edit", shade=120)
    original, _ = rollout(tmp_path / "original", arm="original", reasoning="shared")
    edited, _ = rollout(
        tmp_path / "edit", reasoning="shared", reasoning_from=tmp_path / "original/inference.json", noise_key="other"
    )
    assert edited["reasoning_traces"] == original["reasoning_traces"]
    assert edited["ade_mean"] != original["ade_mean"]


def test_seven_cameras_are_marked_as_outside_training(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    record, data = rollout(cameras=7)
    assert record["outside_training"]
    assert data["camera_indices"].tolist() == list(range(7))


def test_several_edited_cameras_of_a_clip_go_into_one_rollout(rollout, tmp_path: Path) -> None:
    tele = "camera_front_tele_30fov"
    videos = [write_clip(tmp_path, shade=60, camera=camera) for camera in (small_pai.FRONT, tele)]
    sidecars = [tmp_path / f"{small_pai.CLIP}.{camera}.json" for camera in (small_pai.FRONT, tele)]
    both, _ = rollout(videos=videos, clip_jsons=sidecars)
    assert both["videos"] == list(map(str, videos))
    sources = {camera: times["times_from"] for camera, times in both["frame_times"].items()}
    assert [camera for camera, source in sources.items() if source == "sidecar"] == [small_pai.FRONT, tele]
    one, _ = rollout()
    assert one["ade_mean"] != both["ade_mean"]
    with pytest.raises(InputError, match="two edited videos are of the same camera"):
        rollout(videos=videos[:1] * 2, clip_jsons=sidecars[:1] * 2)


def test_instants_of_one_clip_have_noise_and_frames_of_their_own(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    first, at_first = rollout(t0_us=4_100_000)
    second, at_second = rollout(t0_us=T0)
    assert (first["t0_us"], second["t0_us"]) == (4_100_000, T0)
    assert [small_pai.number_of(image) for image in at_first["image_frames"]] == [38, 39, 40, 41]
    assert not (at_first["action"] == at_second["action"]).any()


def test_a_clip_that_cannot_be_driven_is_recorded_where_config_says_so(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path, count=40)
    record, data = rollout(record_failures="true")
    assert (record["success"], record["min_ade_meters"], record["reasoning_traces"]) == (False, None, [])
    assert "does not reach t0_us 5100000" in record["error"]
    assert (record["video_id"], record["arm"], record["t0_us"]) == (VIDEO, "yellow", T0)
    assert data == {}
    unknown, _ = rollout(record_failures="true", clip_id="nowhere")
    assert "clip 'nowhere' is not among" in unknown["error"]
    rollout(record_failures="true")
    # The other arms of a clip whose original arm failed have no words to share.
    write_clip(tmp_path / "edit")
    with pytest.raises(InputError, match="the original arm was not driven"):
        rollout(tmp_path / "edit", reasoning="shared", reasoning_from=tmp_path / "inference.json")
    draw_overlay.main(
        [
            f"--inference={tmp_path / 'inference.json'}",
            f"--vis-data={tmp_path / 'vis_data.npz'}",
            f"--output={tmp_path / 'overlay.mp4'}",
        ]
    )
    assert probe(tmp_path / "overlay.mp4").frames == 40


def test_a_wrong_setting_is_never_recorded_as_a_clips_fault(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    for wrong in ({"pai_root": tmp_path}, {"num_traj_samples": 0}, {"temperature": 0}):
        with pytest.raises(InputError):
            rollout(record_failures="true", **wrong)
    assert not (tmp_path / "inference.json").exists()


@pytest.mark.parametrize("column", ["x", "qw"])
def test_nan_in_the_history_is_bad_input(rollout, tmp_path: Path, column: str) -> None:
    ego = small_pai.ego_motion(10.3, 14.0)
    ego.loc[600:605, column] = np.nan
    write_clip(tmp_path)
    broken = small_pai.write(tmp_path / "pai", ego=ego, video_seconds=5.5)
    with pytest.raises(InputError, match=r"NaN|no readable egomotion"):
        rollout(pai_root=broken)
    assert "clip" in rollout(pai_root=broken, record_failures="true")[0]["error"]


def test_an_incomplete_reply_is_recorded_not_hidden(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    record, data = rollout(max_generation_length=2)
    assert (record["complete"], record["complete_share"]) == ([False] * 3, 0.0)
    assert not data["complete"].any()


@pytest.mark.parametrize("written", ["<|im_end|>", "!", "<|image_pad|>", "<|im_start|>"])
def test_replies_that_nobody_can_read_stop_the_job_and_name_what_made_them(
    rollout, models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    write_clip(tmp_path)
    token = models.driver.policy.tokenizer.convert_tokens_to_ids(written)
    monkeypatch.setattr(KeyedNoise, "token", lambda self, step, scores: torch.full((len(scores),), token))
    said = (
        r"alpamayo: none of its 3 replies can be read, .*float32, arm yellow, .*top_p 0\.98, .*max_generation_length 4"
    )
    with pytest.raises(InputError, match=said):
        rollout(max_generation_length=4)
    assert not list(tmp_path.glob("inference.json")) + list(tmp_path.glob("vis_data.npz"))


def test_one_reply_that_can_be_read_is_enough(rollout, models, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(tmp_path)
    stop, lost = models.driver.policy.tokenizer.convert_tokens_to_ids([STOP, "<|im_end|>"])
    monkeypatch.setattr(KeyedNoise, "token", lambda self, step, scores: torch.tensor([lost, stop, lost]))
    record, _ = rollout(max_generation_length=4)
    assert record["complete"] == [False, True, False]


def test_without_a_sidecar_times_are_assumed_and_said_to_be(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    record, _ = rollout(clip_jsons=None)
    assert record["frame_times"][small_pai.FRONT]["times_from"] == "assumed"


@pytest.mark.parametrize(
    ("clip", "flags", "message"),
    [
        ({"count": 40}, {}, "does not reach t0_us 5100000"),
        ({}, {"clip_id": "nowhere"}, "clip 'nowhere' is not among the 1 clips"),
        ({}, {"t0_us": 9_000_000}, "no ego motion around t0_us 9000000"),
        ({}, {"num_traj_samples": 0}, r"drive\.num_traj_samples: 0 should be greater than or equal to 1"),
        ({}, {"reasoning": "shared"}, "needs --reasoning-from"),
        ({}, {"videos": "dashcam.mp4"}, "cannot tell clip and camera from this name"),
        ({"first_us": 4_860_000}, {}, "no frame at or before 4800000 us"),
        ({"first_us": 4_860_000}, {"frame_choice": "nearest"}, "more than half a frame period"),
        ({"fps": 8}, {}, "set drive.allow_repeated_frames"),
    ],
)
def test_bad_input_is_one_message_and_no_file(rollout, tmp_path: Path, clip: dict, flags: dict, message: str) -> None:
    write_clip(tmp_path, **clip)
    with pytest.raises(InputError, match=message):
        rollout(**flags)
    assert not (tmp_path / "inference.json").exists()
    assert not (tmp_path / "vis_data.npz").exists()


def test_late_frames_pass_when_config_allows_them(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path, first_us=4_860_000)
    for choice in ("before", "nearest"):
        record, _ = rollout(allow_late_frames="true", frame_choice=choice)
        assert record["frame_times"][small_pai.FRONT]["error_us"][0] == 60_000
        assert "serves two slots" in record["frame_notes"][0]


def test_the_original_studys_eight_frames_a_second_are_driven_where_config_says_so_and_it_is_told(
    rollout, tmp_path: Path
) -> None:
    write_clip(tmp_path, fps=8, first_us=100_000)
    record, data = rollout(allow_repeated_frames="true")
    assert [time - T0 for time in record["frame_times"][small_pai.FRONT]["t_us"]] == [-375_000, -250_000, -125_000, 0]
    assert [small_pai.number_of(image) for image in data["image_frames"]] == [37, 38, 39, 40]
    assert record["temporal_config"]["vp_video_fps"] == 8
    assert record["temporal_config"]["time_step"] == 0.1
    (note,) = record["frame_notes"]
    assert "8 frames a second and the model reads 10" in note


def test_a_clip_of_fewer_frames_than_slots_is_recorded_as_not_driven(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path, fps=8)
    record, _ = rollout(record_failures="true")
    assert not record["success"]
    assert "serves two slots" in record["error"]


def test_the_record_has_the_fields_of_the_thesis_under_its_names(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path, fps=25, count=160)
    record, _ = rollout()
    clock = record["temporal_config"]
    assert {name: clock[name] for name in ("vp_video_fps", "time_step_seconds", "num_frames_per_camera")} == {
        "vp_video_fps": 25.0,
        "time_step_seconds": 0.1,
        "num_frames_per_camera": 4,
    }
    assert clock["frame_window_seconds"] == pytest.approx(0.3)
    metrics = record["metrics"]
    assert metrics["inference_time_seconds"] == record["seconds"]["total"] > 0
    assert 0 < metrics["ram_used_mb"] <= metrics["ram_peak_mb"]
    assert metrics["ram_peak_mb"] == pytest.approx(record["host_peak_bytes"] / 1024**2, rel=0.5)
    assert metrics["gpu_memory_used_gb"] <= metrics["gpu_memory_peak_gb"] == record["gpu_peak_bytes"] / 1024**3


def test_the_frames_of_all_cameras_are_saved_on_request(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    edited = rollout()[1]["image_frames"]
    _, data = rollout(save_frames="all")
    assert edited.shape == (4, 36, 64, 3)
    assert data["image_frames"].shape == (4, 4, 36, 64, 3)
    front = data["camera_indices"].tolist().index(1)
    assert (data["image_frames"][front] == edited).all()
    tele = [small_pai.number_of(image) for image in data["image_frames"][3]]
    assert tele == [143, 146, 149, 152]


def test_a_camera_that_the_model_does_not_read_is_bad_input(rollout, tmp_path: Path) -> None:
    path = write_clip(tmp_path)
    rear = path.rename(tmp_path / f"{small_pai.CLIP}.camera_rear_tele_30fov.mp4")
    with pytest.raises(InputError, match="does not read camera_rear_tele_30fov"):
        rollout(videos=rear, clip_jsons=None)


def test_words_of_another_rollout_are_bad_input(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    rollout(arm="original")
    with pytest.raises(InputError, match="drive the original arm with the same settings first"):
        rollout(reasoning="shared", reasoning_from=tmp_path / "inference.json", num_traj_samples=2)


def test_a_sidecar_of_another_video_is_bad_input(tmp_path: Path) -> None:
    path = write_clip(tmp_path)
    sidecar = tmp_path / f"{VIDEO}.json"
    record = read_json(sidecar)
    for wrong in ({"camera": "camera_front_tele_30fov"}, {"t_us": record["t_us"][:10]}):
        sidecar.write_text(json.dumps(record | wrong))
        with pytest.raises(InputError, match=str(sidecar)):
            open_edited(path, sidecar)
