"""import_video.py: the file as it is, its frames' times from a JSON beside it or from its rate."""

import import_video
import numpy as np
import pytest

from relane.errors import InputError
from relane.files import read_json, sha256_file, write_json
from relane.video import write_video

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
