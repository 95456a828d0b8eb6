"""Reading a PhysicalAI-AV folder: units, frames by time, calibration, and what is said of bad input."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from relane.data.physical_ai_av.clip import Clip
from relane.data.physical_ai_av.roots import open_dataset
from relane.drivers import alpamayo
from relane.drivers.alpamayo.action_space import initial_speed
from relane.errors import InputError
from tests.alpamayo import small_pai

SIGHT = alpamayo.sight({"cameras": 4})
T0 = 5_100_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pai.write(tmp_path_factory.mktemp("pai") / "dataset")


@pytest.mark.parametrize("fps", [8, 10, 25, 30])
def test_a_car_at_10_3_mps_is_read_as_10_3_mps_whatever_the_rate_of_its_videos(tmp_path: Path, fps: int) -> None:
    clip = Clip(open_dataset(small_pai.write(tmp_path / "pai", speed=10.3, fps=fps, video_seconds=5.5)), small_pai.CLIP)
    xyz, rot = clip.history(T0, SIGHT.history)
    assert initial_speed(xyz, rot, 0.1) == pytest.approx(10.3, abs=1e-3)
    future, _ = clip.future(T0, SIGHT.future)
    assert future[-1, 0] == pytest.approx(10.3 * 6.4, abs=1e-3)
    times = clip.frames(small_pai.FRONT, [T0 - 300_000, T0]).t_us
    assert abs((times[1] - times[0]) - 300_000) <= 1e6 / fps


def test_history_ends_at_the_origin_and_future_starts_a_step_after_it(root: Path) -> None:
    clip = Clip(open_dataset(root), small_pai.CLIP)
    xyz, rot = clip.history(T0, SIGHT.history)
    assert (xyz.shape, rot.shape, xyz.dtype) == ((16, 3), (16, 3, 3), np.float32)
    np.testing.assert_allclose(xyz[-1], 0, atol=1e-6)
    np.testing.assert_allclose(rot[-1], np.eye(3), atol=1e-6)
    np.testing.assert_allclose(xyz[0], [-15.45, 0, 0], atol=1e-4)
    assert clip.future(T0, SIGHT.future)[0][0, 0] == pytest.approx(1.03, abs=1e-4)


def test_the_nearest_frames_may_be_asked_for_and_come_with_their_errors(root: Path) -> None:
    frames = Clip(open_dataset(root), small_pai.CLIP).frames(
        "camera_front_tele_30fov", [4_800_000, 4_916_667, 5_100_000], "nearest"
    )
    # The seventh camera fires 9 ms late: frame n is at n / 30 s + 9 ms.
    assert [small_pai.number_of(image) for image in frames.images] == [144, 147, 153]
    assert frames.error_us == [9_000, -7_667, 9_000]
    assert frames.period_us == pytest.approx(33_333, abs=1)


def test_calibration_is_the_files(root: Path) -> None:
    clip = Clip(open_dataset(root), small_pai.CLIP)
    camera = clip.camera(small_pai.FRONT)
    assert camera.model.forward == pytest.approx(small_pai.FORWARD)
    pixels, seen = camera.project(np.array([[11.7, 0.0, 1.4], [-5.0, 0.0, 0.0]]))
    assert pixels[0] == pytest.approx([31.5, 17.5])
    assert seen.tolist() == [True, False]
    vehicle = clip.vehicle()
    assert (vehicle.length, vehicle.width, vehicle.height, vehicle.ahead) == (4.9, 1.9, 1.6, 1.4)


def test_a_hub_cache_is_read_offline(root: Path, tmp_path: Path) -> None:
    base, commit = tmp_path / "datasets--nvidia--PhysicalAI-Autonomous-Vehicles", "a" * 40
    (base / "refs").mkdir(parents=True)
    (base / "refs/main").write_text(commit)
    shutil.copytree(root, base / "snapshots" / commit)
    clip = Clip(open_dataset(tmp_path), small_pai.CLIP)
    assert clip.history(T0, SIGHT.history)[0][0, 0] == pytest.approx(-15.45, abs=1e-3)
    assert len(clip.frames(small_pai.FRONT, [T0]).images) == 1


def test_a_missing_calibration_is_none_not_an_error(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "pai")
    shutil.rmtree(tmp_path / "pai/calibration")
    clip = Clip(open_dataset(tmp_path / "pai"), small_pai.CLIP)
    assert clip.camera(small_pai.FRONT) is None
    assert clip.vehicle() is None


def test_an_unknown_clip_is_told_with_near_ids(root: Path) -> None:
    with pytest.raises(InputError, match=f"near it: {small_pai.CLIP}"):
        Clip(open_dataset(root), small_pai.CLIP[:-1] + "5")


@pytest.mark.parametrize("t0", [400_000, 9_000_000, 60_000_000])
def test_no_ego_motion_around_t0_is_bad_input(root: Path, t0: int) -> None:
    clip = Clip(open_dataset(root), small_pai.CLIP)
    with pytest.raises(InputError, match=f"no ego motion around t0_us {t0}"):
        clip.history(t0, SIGHT.history), clip.future(t0, SIGHT.future)


@pytest.mark.parametrize("column", ["x", "qw"])
def test_nan_in_the_ego_motion_is_bad_input(tmp_path: Path, column: str) -> None:
    ego = small_pai.ego_motion(10.3, 14.0)
    ego.loc[600:605, column] = np.nan
    clip = Clip(open_dataset(small_pai.write(tmp_path / "pai", ego=ego, video_seconds=0.2)), small_pai.CLIP)
    with pytest.raises(InputError, match=r"egomotion|NaN"):
        clip.history(T0, SIGHT.history)


def test_a_folder_that_is_no_data_set_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"neither a PhysicalAI-AV folder"):
        open_dataset(tmp_path)
    with pytest.raises(InputError, match=r"expected hf://owner/name@revision"):
        open_dataset("hf://nonsense")


def test_a_hub_root_that_is_not_cached_is_bad_input_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match="set HF_TOKEN"):
        open_dataset("hf://nobody/nothing@main")
