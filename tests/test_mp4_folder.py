"""A folder of MP4s with ego motion beside them: read, driven, drawn, and refused by file and line."""

import json
import shutil
from pathlib import Path

import draw_overlay
import numpy as np
import pytest
import resolve_clips

from relane.data import faults, module_name, open_clip, sources
from relane.data.camera import FTheta, Pinhole
from relane.data.sheet import read_sheet
from relane.drivers import alpamayo
from relane.errors import InputError, UndrivableError
from relane.io.video import probe
from relane.report.overlay import draw_frame
from tests import own_drive
from tests.alpamayo import small_pai
from tests.own_drive import CLIP, FRONT
from tests.rollouts import T0, write_clip

SIGHT = alpamayo.sight({"cameras": 4})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_drive.write(tmp_path_factory.mktemp("own") / "drives")


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A folder of the test's own."""
    return Path(shutil.copytree(folder, tmp_path / "drives"))


def ego_line(copy: Path, number: int, change) -> Path:
    """Change one line of the ego motion, counted as editors do."""
    path = copy / f"{CLIP}.ego.csv"
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1].split(","))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_same_drive_is_driven_alike_from_either_data_set(rollout, tmp_path: Path) -> None:
    """Frames, poses and vehicle are those of the PhysicalAI-AV folder; only the bytes lie elsewhere."""
    write_clip(tmp_path)
    one, want = rollout()
    root = own_drive.write(tmp_path / "own", clip=small_pai.CLIP)
    other, got = rollout(pai_root=root)
    for name in ("pred_xyz", "gt_future_xyz", "ego_history_xyz", "gt_future_rot"):
        np.testing.assert_allclose(got[name], want[name], atol=1e-3, err_msg=name)
    assert one["frame_times"] == other["frame_times"]
    assert other["pai_root"] == str(root)
    assert other["corner_box"] == one["corner_box"]


def test_its_overlay_is_drawn_by_the_pinhole(rollout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = {}

    def spy(frame, camera, paths, labels, *rest):
        drawn.update(camera=camera, notes=labels.notes)
        return draw_frame(frame, camera, paths, labels, *rest)

    monkeypatch.setattr("relane.report.overlay.draw_frame", spy)
    root = own_drive.write(tmp_path / "own", clip=small_pai.CLIP)
    write_clip(tmp_path)
    rollout(pai_root=root, output=tmp_path / "c_inference.json", vis_data=tmp_path / "c_vis_data.npz")
    draw_overlay.main(["--folder", str(tmp_path)])
    assert probe(tmp_path / "c_overlay.mp4").frames == 56
    assert isinstance(drawn["camera"].model, Pinhole)
    assert drawn["camera"].calibrated
    assert drawn["notes"] == []


def test_frames_are_taken_by_their_table_of_times_or_by_the_videos_own(copy: Path) -> None:
    clip = open_clip(copy, CLIP)
    assert clip.times(FRONT)[:3].tolist() == [1_500, 34_833, 68_167]
    assert small_pai.number_of(clip.frames(FRONT, [T0]).images[0]) == 152
    (copy / f"{CLIP}.{FRONT}.times.csv").unlink()
    assert clip.times(FRONT)[:3].tolist() == [0, 33_333, 66_667]
    assert small_pai.number_of(clip.frames(FRONT, [T0]).images[0]) == 153
    assert clip.times("camera_rear_tele_30fov") is None


def test_a_turn_is_interpolated_between_its_rows(tmp_path: Path) -> None:
    """A circle of 50 m at 10 m/s, ten rows a second: half way between rows the rig is on the circle still."""
    table = own_drive.ego_table()[::10].reset_index(drop=True)
    angle = table.t_us / 1e6 * 10 / 50
    table = table.assign(x=50 * np.sin(angle), y=50 - 50 * np.cos(angle), qz=np.sin(angle / 2), qw=np.cos(angle / 2))
    clip = open_clip(own_drive.write(tmp_path, table=table, cameras=[FRONT]), CLIP)
    xyz, rot = clip.poses(2_000_000, [3_050_000])
    turned = 1.05 * 10 / 50
    np.testing.assert_allclose(xyz[0], [50 * np.sin(turned), 50 - 50 * np.cos(turned), 0], atol=1e-3)
    assert np.arctan2(rot[0, 1, 0], rot[0, 0, 0]) == pytest.approx(turned, abs=1e-5)


def test_ego_motion_may_be_json_and_in_seconds_since_1970(copy: Path) -> None:
    want = open_clip(copy, CLIP).history(T0, SIGHT.history)[0]
    start = 1_700_000_000
    rows = own_drive.ego_table().to_dict("records")
    rows = [{"t_s": start + row.pop("t_us") / 1e6, **row} for row in rows]
    (copy / f"{CLIP}.ego.csv").unlink()
    (copy / f"{CLIP}.ego.json").write_text(json.dumps(rows))
    clip = open_clip(copy, CLIP)
    np.testing.assert_allclose(clip.history(start * 10**6 + T0, SIGHT.history)[0], want, atol=1e-4)


def test_the_calibration_may_be_of_the_whole_folder_and_of_a_fisheye(copy: Path) -> None:
    assert isinstance(open_clip(copy, CLIP).camera(FRONT).model, Pinhole)
    (copy / f"{CLIP}.cameras.json").unlink()
    assert open_clip(copy, CLIP).camera(FRONT) is None
    (copy / "cameras.json").write_text(json.dumps({"cameras": {FRONT: own_drive.FISHEYE}}))
    clip = open_clip(copy, CLIP)
    assert isinstance(clip.camera(FRONT).model, FTheta)
    assert clip.camera("camera_front_tele_30fov") is None
    assert clip.vehicle() is None


@pytest.mark.parametrize(
    ("line", "change", "words"),
    [
        (1, lambda cells: ",".join(cells).replace("qy", "q2"), r"no column qy; it needs t_us or t_s, x, y, z, qw"),
        (1, lambda cells: ",".join(cells).replace("t_us", "time"), r"line 2: no t_us or t_s"),
        (
            40,
            lambda cells: ",".join(["-700000", *cells[1:]]),
            r"line 40: its time, -700000 us, is not after",
        ),
        (40, lambda cells: ",".join([*cells[:4], "0.5", *cells[5:]]), r"line 40: the length of the quaternion .* 0.5;"),
        (40, lambda cells: ",".join([cells[0], "nan", *cells[2:]]), r"line 40: x is nan, not a finite number"),
        (40, lambda cells: ",".join([cells[0], "", *cells[2:]]), r"line 40: x is '', not a number"),
        (40, lambda cells: ",".join(cells[:5]), r"line 40: fewer cells than columns"),
    ],
    ids=["no column", "no time", "backwards", "no unit quaternion", "NaN", "blank", "short"],
)
def test_ego_motion_of_no_use_names_file_and_line_as_early_as_planning(copy: Path, line, change, words: str) -> None:
    path = ego_line(copy, line, change)
    with pytest.raises(UndrivableError, match=words) as caught:
        open_clip(copy, CLIP).history(T0, SIGHT.history)
    assert str(path) in str(caught.value)
    (found,) = faults([(str(copy), CLIP)], SIGHT.cameras)
    assert str(found) == str(caught.value)


def test_a_gap_and_a_video_longer_than_the_ego_motion_are_named(tmp_path: Path) -> None:
    table = own_drive.ego_table()
    gap = table[(table.t_us <= 4_900_000) | (table.t_us >= 5_400_000)]
    clip = open_clip(own_drive.write(tmp_path / "gap", table=gap, cameras=[FRONT]), CLIP)
    with pytest.raises(UndrivableError, match=r"drive1.ego.csv has no rows from 4900000 to 5400000 us \(0.50 s\)"):
        clip.future(T0, SIGHT.future)
    short = table[table.t_us < 8_000_000]
    clip = open_clip(own_drive.write(tmp_path / "short", table=short, cameras=[FRONT]), CLIP)
    with pytest.raises(UndrivableError, match=r"to 11500000 us, .*drive1.ego.csv has -1000000 to 7990000"):
        clip.future(T0, SIGHT.future)


def test_cameras_that_the_driver_reads_and_the_folder_lacks_are_named(copy: Path) -> None:
    for camera in ("camera_cross_left_120fov", "camera_front_tele_30fov"):
        (copy / f"{CLIP}.{camera}.mp4").unlink()
    (found,) = faults([(str(copy), CLIP)], SIGHT.cameras)
    words = "reads 4 cameras, and 2 of them are not there: drive1.camera_cross_left_120fov.mp4, "
    assert words + "drive1.camera_front_tele_30fov.mp4; add them" in str(found)
    with pytest.raises(UndrivableError, match=r"camera_front_tele_30fov.mp4: no such file, and the driver reads"):
        open_clip(copy, CLIP).frames("camera_front_tele_30fov", [T0])


def test_more_times_than_frames_are_refused(copy: Path) -> None:
    path = copy / f"{CLIP}.{FRONT}.times.csv"
    path.write_text(path.read_text() + "9000000\n")
    with pytest.raises(InputError, match=r"drive1.camera_front_wide_120fov.mp4: 180 frames but 181 time stamps"):
        open_clip(copy, CLIP).frames(FRONT, [T0])
    path.write_text("t_us\n0\n33333\n33333\n")
    with pytest.raises(UndrivableError, match=r"times.csv line 4: its time, 33333 us, is not after"):
        open_clip(copy, CLIP).times(FRONT)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fy": None}, "no fy; it needs width, height, cx, cy, fx, fy"),
        ({"focal": 3}, "unknown focal; it needs width"),
        ({"fx": "wide"}, "fx is 'wide', not a number"),
        ({"qw": 3.0}, "the length of the quaternion"),
        ({"width": 0}, "width is 0.0, not a number of pixels"),
        ({"polynomial": 5, "fx": None, "fy": None}, "polynomial is 5, not a list of numbers"),
    ],
)
def test_a_calibration_of_no_use_names_file_camera_and_key(copy: Path, change: dict, words: str) -> None:
    given = {key: value for key, value in (own_drive.PINHOLE | change).items() if value is not None}
    path = copy / f"{CLIP}.cameras.json"
    path.write_text(json.dumps({"cameras": {FRONT: given}}))
    with pytest.raises(UndrivableError, match=words) as caught:
        open_clip(copy, CLIP).camera(FRONT)
    assert f"{path}, camera {FRONT}" in str(caught.value)


def test_a_clip_without_ego_motion_names_near_ones(folder: Path) -> None:
    with pytest.raises(UndrivableError, match=r"drive2.ego.csv: no such file, .* near it: drive1"):
        open_clip(folder, "drive2")
    with pytest.raises(InputError, match="no such folder"):
        open_clip("mp4://nowhere", CLIP)


@pytest.mark.parametrize("scheme", ["", "mp4://"])
def test_as_a_source_it_gives_the_front_cameras_and_is_their_data_set(folder: Path, tmp_path: Path, scheme) -> None:
    resolve_clips.main([f"{scheme}{folder}", "--output", str(tmp_path / "clips.csv")])
    (clip,) = read_sheet(tmp_path / "clips.csv")
    assert (clip.clip_id, clip.camera, clip.pai_root, clip.drivable) == (CLIP, FRONT, str(folder), True)
    assert clip.checksum.startswith("sha256:")
    two = sources.resolve(f"{scheme}{folder}?cameras={FRONT},camera_front_tele_30fov")
    assert [clip.camera for clip in two] == [FRONT, "camera_front_tele_30fov"]
    with pytest.raises(InputError, match=r"no camera 'front'; the dataset has"):
        sources.resolve(f"{scheme}{folder}?cameras=front")


def test_videos_elsewhere_may_name_it_as_their_data_set(folder: Path, tmp_path: Path) -> None:
    (tmp_path / f"{CLIP}.{FRONT}.mp4").write_bytes(b"video")
    (clip,) = sources.resolve(str(tmp_path), f"mp4://{folder}")
    assert (clip.pai_root, clip.drivable) == (str(folder), True)
    with pytest.raises(InputError, match=r"no <clip>\.ego\.csv"):
        sources.resolve(f"mp4://{tmp_path}")


def test_a_prepared_clip_depends_on_the_times_of_its_frames_alone(copy: Path) -> None:
    from relane.data import data_set

    def content() -> str:
        return data_set(copy).times_content(copy, CLIP, FRONT)

    before, path = content(), copy / f"{CLIP}.{FRONT}.times.csv"
    (copy / f"{CLIP}.ego.csv").write_text("other motion\n")
    assert content() == before
    path.write_text(path.read_text().replace("1500", "1501"))
    assert content() != before
    path.unlink()
    assert content() == ""


def test_its_content_is_that_of_the_files_that_are_read(copy: Path) -> None:
    from relane.data import data_set

    def content() -> str:
        return data_set(copy).content(copy, CLIP, SIGHT.cameras)

    before = content()
    (copy / "drive2.ego.csv").write_text("another clip\n")
    (copy / f"{CLIP}.camera_rear_tele_30fov.mp4").write_bytes(b"not read")
    assert content() == before
    seen = {before}
    for name in ("ego.csv", "cameras.json", f"{FRONT}.times.csv", "camera_front_tele_30fov.mp4"):
        path = copy / f"{CLIP}.{name}"
        path.write_bytes(path.read_bytes() + b" ")
        seen.add(content())
    assert len(seen) == 5


def test_a_folder_is_known_by_what_lies_in_it(folder: Path, root: Path) -> None:
    assert module_name(folder) == module_name("mp4://x") == "relane.data.mp4_folder"
    assert module_name(root) == module_name("hf://x/y@main") == "relane.data.physical_ai_av"
