"""import_video.py: the file as it is, its frames' times from a JSON beside it or from its rate."""

import shutil
import subprocess

import import_video
import numpy as np
import pytest

from relane.errors import InputError
from relane.io.files import read_json, sha256_file, write_json
from relane.io.video import probe, read_frames, write_video
from tests import foreign_videos
from tests.foreign_videos import number_of, numbered

FRONT = "camera_front_wide_120fov"


@pytest.fixture
def video(tmp_path):
    path = tmp_path / f"in/a.{FRONT}_vp_edit_sample0.mp4"
    write_video(path, [np.full((32, 48, 3), 10 * n, np.uint8) for n in range(6)], 8)
    return path


def take(folder, uri, **more):
    """Run the script; returns the sidecar."""
    flags = {"uri": uri, "clip_id": "a", "camera": FRONT, "output": folder / "out.mp4", "sidecar": folder / "out.json"}
    import_video.main([f"--{key.replace('_', '-')}={value}" for key, value in (flags | more).items()])
    return read_json(folder / "out.json")


def test_without_a_json_times_follow_from_the_rate_and_are_said_to_be_assumed(video, tmp_path):
    record = take(tmp_path, video, start_us=2_000_000)
    assert record["t_us"] == [2_000_000 + 125_000 * n for n in range(6)]
    assert (record["times_from"], record["fps"], record["clip_id"]) == ("assumed", 8.0, "a")
    assert sha256_file(tmp_path / "out.mp4") == sha256_file(video) == record["sha256"]


def test_the_json_beside_it_says_the_times(video, tmp_path):
    write_json(tmp_path / "times.json", {"t_us": list(range(5, 12))})
    record = take(tmp_path, video, video_json=tmp_path / "times.json", start_us=99)
    assert (record["t_us"], record["times_from"]) == ([5, 6, 7, 8, 9, 10], "sidecar")


def test_a_json_without_times_leaves_them_assumed(video, tmp_path):
    write_json(tmp_path / "other.json", {"prompt": "a road"})
    assert take(tmp_path, video, video_json=tmp_path / "other.json")["times_from"] == "assumed"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"uri": "nowhere.mp4"}, "no such file"),
        ({"checksum": "sha256:00"}, "its sha256 is"),
        ({"video_json": "nowhere.json"}, "cannot be read as JSON"),
    ],
)
def test_bad_input_is_one_message_and_no_file(video, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        take(tmp_path, **({"uri": video} | flags))
    assert not (tmp_path / "out.mp4").exists()
    assert not (tmp_path / "out.json").exists()


def test_more_frames_than_times_is_bad_input(video, tmp_path):
    write_json(tmp_path / "times.json", {"t_us": [1, 2]})
    with pytest.raises(InputError, match="6 frames, but"):
        take(tmp_path, video, video_json=tmp_path / "times.json")


# What the header does not say


def clip(folder, **more):
    """The sidecar of a clip of six frames at 8 fps."""
    write_json(folder / "clip.json", {"width": 48, "height": 32, "fps": 8.0, "frames": 6} | more)
    return folder / "clip.json"


def shown(folder):
    """The numbers that the imported frames show."""
    return [number_of(frame) for frame in read_frames(folder / "out.mp4")]


def test_a_turned_video_is_upright_for_whoever_reads_it_next(tmp_path):
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24] = 200
    foreign_videos.write(tmp_path / "v.mp4", [image] * 6, rotation=180)
    record = take(tmp_path, tmp_path / "v.mp4")
    first = read_frames(tmp_path / "out.mp4")[0]
    assert first[8].mean() < 20 < 180 < first[40].mean()
    assert record["changes"] == ["made upright as its metadata says: flipped left-right, flipped top-bottom"]
    assert (record["width"], record["height"], record["frames"]) == (64, 48, 6)


def test_only_the_frames_that_are_shown_are_counted_and_kept(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(17), fps=10)
    foreign_videos.hide_frames(tmp_path / "v.mp4", 4, 13, fps=10)
    record = take(tmp_path, tmp_path / "v.mp4", start_us=1_000)
    assert record["t_us"] == [1_000 + 100_000 * n for n in range(13)]
    assert probe(tmp_path / "out.mp4").frames == record["frames"] == 13
    assert shown(tmp_path) == list(range(4, 17))
    assert record["changes"] == ["its edit list hides 4 of 17 frames; those that are shown are kept"]
    write_json(tmp_path / "times.json", {"t_us": [100_000 * n for n in range(17)]})
    with pytest.raises(InputError, match="edit list hides 4 frames"):
        take(tmp_path, tmp_path / "v.mp4", video_json=tmp_path / "times.json")


@pytest.mark.parametrize("kind", ["cut", "broken"])
def test_a_damaged_video_is_refused_as_a_damaged_source_is(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), np.uint8)
    foreign_videos.write(tmp_path / "v.mp4", noise, faststart=True)
    data = (tmp_path / "v.mp4").read_bytes()
    half = len(data) // 2
    (tmp_path / "v.mp4").write_bytes(
        data[:half] + (b"\xff" * 9_000 + data[half + 9_000 :] if kind == "broken" else b"")
    )
    with pytest.raises(InputError, match=r"v\.mp4: .*(damaged|cut short)"):
        take(tmp_path, tmp_path / "v.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_times_are_those_of_the_stream_and_not_of_its_mean_rate(tmp_path):
    times = [0, 125_000, 250_000, 500_000, 625_000, 750_000]
    foreign_videos.write(tmp_path / "v.mp4", numbered(6), times_us=times)
    record = take(tmp_path, tmp_path / "v.mp4", clip_json=clip(tmp_path, width=64, height=48))
    assert record["t_us"] == times


def test_an_edit_written_at_another_rate_than_its_clips_is_refused_with_what_to_do(video, tmp_path):
    """A 10 fps edit rewritten at 8 had its frames 0.3 s too old at 1.5 s, and success was reported."""
    with pytest.raises(InputError, match=r"8 fps and the clip at 10.*-itsscale 0\.8 .*t_us"):
        take(tmp_path, video, clip_json=clip(tmp_path, fps=10.0))
    write_json(tmp_path / "times.json", {"t_us": [100_000 * n for n in range(6)]})
    record = take(tmp_path, video, clip_json=clip(tmp_path, fps=10.0), video_json=tmp_path / "times.json")
    assert record["t_us"] == [100_000 * n for n in range(6)]
    assert record["changes"] == ["written at 8 fps, placed at 10 by the times of its JSON"]


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_the_command_against_another_rate_works(video, tmp_path):
    command = ["ffmpeg", "-v", "error", "-itsscale", "0.8", "-i"]
    subprocess.run([*command, video, "-c", "copy", tmp_path / "v.mp4"], check=True)
    record = take(tmp_path, tmp_path / "v.mp4", clip_json=clip(tmp_path, fps=10.0))
    assert np.abs(np.array(record["t_us"]) - 100_000 * np.arange(6)).max() < 1_000


def test_a_resampled_video_is_not_given_the_times_of_frames_that_it_dropped(tmp_path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(40), fps=8)
    write_json(tmp_path / "times.json", {"t_us": [100_000 * n for n in range(50)]})
    with pytest.raises(InputError, match="40 frames at 8 fps last as long as its JSON's 50 times at 10 fps"):
        take(tmp_path, tmp_path / "v.mp4", video_json=tmp_path / "times.json")


def test_fewer_frames_than_the_clip_are_placed_by_their_times(video, tmp_path):
    record = take(tmp_path, video, clip_json=clip(tmp_path, frames=150))
    assert record["changes"] == ["6 frames where the clip has 150: placed by their times"]
    assert sha256_file(tmp_path / "out.mp4") == sha256_file(video)


@pytest.mark.parametrize("t_us", [[0, 2, 1, 3, 4, 5], ["a"] * 6, "now", [0, 1, 2, 2, 3, 4]])
def test_a_json_whose_times_are_no_times_is_refused(video, tmp_path, t_us):
    write_json(tmp_path / "times.json", {"t_us": t_us})
    with pytest.raises(InputError, match="t_us"):
        take(tmp_path, video, video_json=tmp_path / "times.json")


# Which picture it is


def test_the_four_panels_of_the_original_are_refused_and_the_edit_is_named(tmp_path):
    panels = tmp_path / f"a.{FRONT}_vp_edit_sample0.mp4"
    edit = tmp_path / f"a.{FRONT}_generated.mp4"
    write_video(panels, [np.zeros((120, 720, 3), np.uint8)] * 6, 8)
    with pytest.raises(InputError, match=rf"720x120 is four pictures .*{edit.name}, if it is there"):
        take(tmp_path, panels, clip_json=clip(tmp_path, width=1920, height=1080))
    write_video(edit, [np.zeros((120, 180, 3), np.uint8)] * 6, 8)
    with pytest.raises(InputError, match=f"{edit}, which stands beside it: .*--take generated"):
        take(tmp_path, panels, clip_json=clip(tmp_path, width=1920, height=1080))


def test_the_originals_own_size_is_stretched_back_to_the_cameras_shape(tmp_path):
    """It squashes 16:9 into 720x480; a driving model that sees the squashed road sees another."""
    image = np.full((480, 720, 3), 60, np.uint8)
    image[:, 360:] = 200
    write_video(tmp_path / "v.mp4", [image] * 3, 8)
    record = take(tmp_path, tmp_path / "v.mp4", clip_json=clip(tmp_path, width=320, height=180))
    first = read_frames(tmp_path / "out.mp4")[0]
    assert first.shape == (180, 320, 3)
    assert first[90, 150].mean() < 70 < 190 < first[90, 170].mean()
    assert record["changes"][0].startswith("stretched from 720x480 to the clip's 320x180")


@pytest.mark.parametrize("size", [(48, 48), (48, 32), (32, 96)])
def test_a_picture_of_another_shape_than_the_cameras_is_refused(tmp_path, size):
    write_video(tmp_path / "v.mp4", [np.zeros((*size, 3), np.uint8)] * 6, 8)
    with pytest.raises(InputError, match="another shape than the camera's 48x32"):
        take(tmp_path, tmp_path / "v.mp4", clip_json=clip(tmp_path))
    assert not (tmp_path / "out.mp4").exists()


def test_a_smaller_picture_of_the_same_shape_is_taken(tmp_path):
    write_video(tmp_path / "v.mp4", [np.zeros((32, 48, 3), np.uint8)] * 6, 8)
    assert take(tmp_path, tmp_path / "v.mp4", clip_json=clip(tmp_path, width=480, height=320))["changes"] == []
