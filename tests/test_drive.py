"""drive.py and draw_overlay.py on a small data set and the tiny driver."""

import json
from pathlib import Path

import draw_overlay
import drive
import numpy as np
import pytest

from relane.alpamayo.scene import CAMERAS, open_edited
from relane.errors import InputError
from relane.files import read_json, write_json
from relane.names import parse_name
from relane.overlay import draw_frame
from relane.video import probe, read_frames, write_video
from tests.alpamayo import small_pai

T0 = 5_100_000
VIDEO = f"{small_pai.CLIP}.{small_pai.FRONT}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pai.write(tmp_path_factory.mktemp("pai") / "dataset")


@pytest.fixture(scope="module")
def models(tiny):
    return drive.load(drive.parser().parse_args(arguments(Path("none"), Path("none"), tiny)))


def write_clip(folder: Path, *, fps: float = 10, count: int = 56, first_us: int = 1_500, shade: int = 0) -> Path:
    """An edited video whose frame n shows n, with its sidecar; `shade` is added to every pixel."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{VIDEO}_vp_edit_sample0.mp4"
    frames = [np.clip(small_pai.bits(n).astype(int) + shade, 0, 255).astype(np.uint8) for n in range(count)]
    write_video(path, frames, fps)
    times = (first_us + np.round(np.arange(count) * 1e6 / fps)).astype(int).tolist()
    write_json(folder / f"{VIDEO}.json", {"clip_id": small_pai.CLIP, "camera": small_pai.FRONT, "t_us": times})
    return path


def arguments(root: Path, folder: Path, tiny, **changes: object) -> list[str]:
    """A command line; `None` leaves a flag out."""
    flags = {
        "pai_root": root,
        "clip_id": small_pai.CLIP,
        "videos": folder / f"{VIDEO}_vp_edit_sample0.mp4",
        "clip_jsons": folder / f"{VIDEO}.json",
        "arm": "yellow",
        "alpamayo": tiny("alpamayo"),
        "num_traj_samples": 3,
        "device": "cpu",
        "dtype": "float32",
        "output": folder / "inference.json",
        "vis_data": folder / "vis_data.npz",
    } | changes
    return [
        part for key, value in flags.items() if value is not None for part in (f"--{key.replace('_', '-')}", str(value))
    ]


@pytest.fixture
def rollout(root: Path, tiny, models, tmp_path: Path):
    """rollout(folder, **flags) drives one arm and returns its JSON and NPZ."""

    def go(folder: Path = tmp_path, **changes: object):
        args = drive.parser().parse_args(arguments(root, folder, tiny, **changes))
        drive.run(args, models)
        with np.load(args.vis_data) as data:
            return read_json(args.output), dict(data)

    return go


def test_one_arm_gives_the_record_and_the_arrays(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    record, data = rollout()
    assert record["video_id"] == VIDEO
    assert (record["num_trajectories"], record["success"], record["noise_key"]) == (3, True, "crn")
    assert record["cameras"] == list(CAMERAS[4])
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
    ("fps", "numbers"), [(10, [48, 49, 50, 51]), (30, [144, 147, 150, 153]), (8, [38, 39, 40, 41])]
)
def test_edited_frames_are_taken_by_time_at_any_rate(rollout, tmp_path: Path, fps: int, numbers: list[int]) -> None:
    write_clip(tmp_path, fps=fps, count=160)
    record, data = rollout()
    assert [small_pai.number_of(image) for image in data["image_frames"]] == numbers
    times = record["frame_times"][small_pai.FRONT]
    assert max(map(abs, times["error_us"])) <= 0.5e6 / fps
    assert times["times_from"] == "sidecar"
    # The other cameras come from the data set, at its own 30 fps.
    assert max(map(abs, record["frame_times"]["camera_front_tele_30fov"]["error_us"])) <= 16_667


def test_arms_share_noise_and_the_floor_does_not(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path / "a")
    write_clip(tmp_path / "b", shade=60)
    first, again = rollout(tmp_path / "a")[1], rollout(tmp_path / "a", arm="again")[1]
    edited, floor = rollout(tmp_path / "b")[1], rollout(tmp_path / "a", noise_key="floor")[1]
    assert (first["pred_xyz"] == again["pred_xyz"]).all()
    moved = [np.linalg.norm(first["pred_xyz"] - other["pred_xyz"], axis=-1).mean() for other in (edited, floor)]
    assert 0 < moved[0] < moved[1]


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


def test_an_incomplete_reply_is_recorded_not_hidden(rollout, tmp_path: Path) -> None:
    write_clip(tmp_path)
    record, data = rollout(max_generation_length=2)
    assert (record["complete"], record["complete_share"]) == ([False] * 3, 0.0)
    assert not data["complete"].any()


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
        ({}, {"num_traj_samples": 0}, "num_traj_samples is 0"),
        ({}, {"reasoning": "shared"}, "needs --reasoning-from"),
        ({}, {"videos": "dashcam.mp4"}, "cannot tell clip and camera from this name"),
        ({"first_us": 4_860_000}, {}, "more than half a frame period"),
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
    record, _ = rollout(allow_late_frames="true")
    assert record["frame_times"][small_pai.FRONT]["error_us"][0] == 60_000


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


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("a-1.camera_front_wide_120fov.mp4", ("a-1", "camera_front_wide_120fov")),
        ("a.b.camera_rear_left_70fov_vp_edit_sample0.mp4", ("a.b", "camera_rear_left_70fov")),
        ("camera_front_wide_120fov.mp4", None),
        ("a.camera_front_wide_120fovx.mp4", None),
        ("a.camera_dash_90fov.mp4", None),
    ],
)
def test_names(name: str, parsed: tuple[str, str] | None) -> None:
    if parsed:
        assert parse_name(name) == parsed
        return
    with pytest.raises(InputError, match="expected <clip_id>"):
        parse_name(name)


def test_a_sidecar_of_another_video_is_bad_input(tmp_path: Path) -> None:
    path = write_clip(tmp_path)
    sidecar = tmp_path / f"{VIDEO}.json"
    record = read_json(sidecar)
    for wrong in ({"camera": "camera_front_tele_30fov"}, {"t_us": record["t_us"][:10]}):
        sidecar.write_text(json.dumps(record | wrong))
        with pytest.raises(InputError, match=str(sidecar)):
            open_edited(path, sidecar)


def test_every_rollout_of_a_folder_is_drawn_beside_it(rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside: dict[str, bool] = {}

    def spy(frame, camera, paths, labels, *rest):
        beside[labels.arm] = paths.original is not None
        return draw_frame(frame, camera, paths, labels, *rest)

    monkeypatch.setattr("relane.overlay.draw_frame", spy)
    for arm in ("original", "yellow"):
        folder = tmp_path / arm / small_pai.CLIP
        write_clip(folder, shade=60 * (arm == "yellow"))
        stem = folder / small_pai.CLIP
        rollout(folder, arm=arm, output=f"{stem}_inference.json", vis_data=f"{stem}_vis_data.npz")
    draw_overlay.main(["--folder", str(tmp_path)])
    assert beside == {"original": False, "yellow": True}
    video = tmp_path / "yellow" / small_pai.CLIP / f"{small_pai.CLIP}_overlay.mp4"
    info = probe(video)
    assert (info.width, info.height, info.frames, info.fps) == (960, 540, 56, 10.0)
    assert (tmp_path / "original" / small_pai.CLIP / f"{small_pai.CLIP}_overlay.mp4").is_file()
    last = read_frames(video)[51].astype(int)
    colored = (last.max(axis=-1) - last.min(axis=-1))[300:, 300:] > 80  # paths on grey bars
    assert colored.sum() > 50


def test_a_folder_without_rollouts_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no \*_vis_data.npz"):
        draw_overlay.main(["--folder", str(tmp_path)])
