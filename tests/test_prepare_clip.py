"""From a source to a clip and its sidecar: the window, the record, and nothing half-written on bad input."""

import json
import subprocess
import sys
from pathlib import Path

import collect_clips
import numpy as np
import prepare_clip
import pytest
import reencode_clip

from relane.errors import InputError
from relane.io.files import sha256_file
from relane.io.video import probe, read_frames, write_video
from tests import foreign_videos
from tests.foreign_videos import CAMERA, number_of, numbered


def prepare(tmp_path: Path, uri: Path, *flags: str) -> tuple[np.ndarray, dict]:
    out = tmp_path / "out"
    prepare_clip.main(
        ["--uri", str(uri), "--clip-id", "a", "--camera", "front", "--output", str(out / "a.mp4"),
         "--sidecar", str(out / "a.json"), "--min-frames", "1", "--record-failures", "false", *flags]
    )  # fmt: skip
    return read_frames(out / "a.mp4"), json.loads((out / "a.json").read_text())


def numbers(frames: np.ndarray) -> list[int]:
    return [number_of(frame) for frame in frames]


def test_thirty_frames_a_second_become_ten_by_taking_every_third(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(30))
    frames, record = prepare(tmp_path, tmp_path / "v.mp4")
    assert numbers(frames) == list(range(0, 30, 3))
    assert record["wanted_us"] == list(range(0, 1_000_000, 100_000))
    assert record["t_us"] == record["wanted_us"]
    assert record["max_error_us"] == 0
    assert probe(tmp_path / "out" / "a.mp4").fps == 10


def test_a_variable_rate_video_is_sampled_by_time(tmp_path: Path):
    times = [0, 10_000, 20_000, 30_000, 210_000, 400_000, 440_000, 500_000]
    foreign_videos.write(tmp_path / "v.mp4", numbered(8), times_us=times)
    frames, record = prepare(tmp_path, tmp_path / "v.mp4")
    assert record["wanted_us"] == [0, 100_000, 200_000, 300_000, 400_000, 500_000]
    assert record["t_us"] == [0, 30_000, 210_000, 210_000, 400_000, 500_000]
    assert numbers(frames) == [0, 3, 4, 4, 5, 7]


def test_the_sidecar_says_where_the_clip_comes_from_and_what_it_is(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", [np.zeros((47, 63, 3), np.uint8)] * 9, pix_fmt="yuv444p", rotation=90)
    _, record = prepare(tmp_path, tmp_path / "v.mp4")
    assert (record["video"], record["clip_id"], record["camera"]) == ("a.front", "a", "front")
    assert record["source"] == {
        "uri": str(tmp_path / "v.mp4"),
        "pai_root": "",
        "sha256": sha256_file(tmp_path / "v.mp4"),
        "fps": 30.0,
        "width": 63,
        "height": 47,
        "frames": 9,
    }
    assert (record["width"], record["height"], record["frames"], record["fps"]) == (46, 62, 3, 10.0)
    assert record["sha256"] == sha256_file(tmp_path / "out" / "a.mp4")
    assert record["t0_us"] is None
    assert [change.split()[0] for change in record["changes"]] == ["made", "cropped", "cropped", "converted"]


def test_the_window_that_ends_at_t0_holds_the_times_the_driving_model_reads(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(50))
    frames, record = prepare(tmp_path, tmp_path / "v.mp4", "--anchor", "t0", "--t0-us", "1240000", "--max-frames", "5")
    assert record["wanted_us"] == [840_000, 940_000, 1_040_000, 1_140_000, 1_240_000]
    assert record["t0_us"] == 1_240_000
    assert record["max_error_us"] <= 16_667
    assert numbers(frames) == [25, 28, 31, 34, 37]


def test_a_clip_of_the_data_set_is_on_the_data_sets_clock_and_its_grid_goes_through_t0(tmp_path: Path):
    root = foreign_videos.dataset(tmp_path / "pai", ["a"], frames=40, offset_us=25_000)
    zipped = root / "camera" / CAMERA / f"{CAMERA}.chunk_0000.zip"
    flags = ["--pai-root", str(root), "--camera", CAMERA, "--t0-us", "1000000"]
    frames, record = prepare(tmp_path, zipped, *flags)
    assert record["video"] == f"a.{CAMERA}"
    assert record["wanted_us"][:2] == [100_000, 200_000]
    assert 1_000_000 in record["wanted_us"]
    assert record["t0_us"] == 1_000_000
    assert record["t_us"][:3] == [91_667, 191_667, 291_667]
    assert numbers(frames[:3]) == [2, 5, 8]


def test_max_frames_caps_the_clip_and_the_same_input_gives_the_same_bytes(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(50))
    _, first = prepare(tmp_path, tmp_path / "v.mp4", "--max-frames", "7")
    _, second = prepare(tmp_path, tmp_path / "v.mp4", "--max-frames", "7")
    assert first == second
    assert first["frames"] == 7


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--min-frames", "49"], "10 frames at 10 fps, but 49 are needed"),
        (["--anchor", "t0", "--t0-us", "5100000"], "end at t0_us 5100000, but the source covers only 0 to"),
        (["--fps", "0"], r"clip\.fps: 0 should be greater than 0"),
        (["--min-frames", "20", "--max-frames", "10"], "max_frames must be at least min_frames"),
    ],
)
def test_a_source_that_does_not_suffice_is_refused_and_nothing_is_written(tmp_path: Path, flags: list[str], words: str):
    foreign_videos.write(tmp_path / "v.mp4", numbered(30))
    with pytest.raises(InputError, match=words):
        prepare(tmp_path, tmp_path / "v.mp4", *flags)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [(["--min-frames", "49"], "10 frames at 10 fps, but 49 are needed"), (["--uri", "gone.mp4"], "no such file")],
)
def test_where_failures_are_recorded_the_clip_is_empty_and_its_record_says_why(tmp_path: Path, flags, words):
    foreign_videos.write(tmp_path / "v.mp4", numbered(30))
    out = tmp_path / "out"
    with pytest.raises(InputError, match="the file is empty"):  # as every later reader of such a clip would say
        prepare(tmp_path, tmp_path / "v.mp4", "--record-failures", "true", *flags)
    assert (out / "a.mp4").stat().st_size == 0
    record = json.loads((out / "a.json").read_text())
    assert (record["video"], record["status"], record["frames"], record["t_us"]) == ("a.front", "skipped", 0, [])
    assert words in record["reason"]


def test_a_wrong_setting_is_no_fault_of_the_source(tmp_path: Path):
    foreign_videos.write(tmp_path / "v.mp4", numbered(30))
    with pytest.raises(InputError, match=r"clip\.fps: 0 should be greater than 0"):
        prepare(tmp_path, tmp_path / "v.mp4", "--record-failures", "true", "--fps", "0")
    assert not list((tmp_path / "out").glob("*"))


def test_what_may_pass_by_itself_is_tried_again_before_it_is_recorded(tmp_path: Path):
    away = "http://127.0.0.1:9/v.mp4"  # nobody listens there
    with pytest.raises(InputError, match="cannot be fetched"):
        prepare(tmp_path, away, "--record-failures", "true", "--last-attempt", "0")
    assert not list((tmp_path / "out").glob("*"))
    with pytest.raises(InputError, match="the file is empty"):
        prepare(tmp_path, away, "--record-failures", "true", "--last-attempt", "1")
    assert "cannot be fetched" in json.loads((tmp_path / "out" / "a.json").read_text())["reason"]


def test_a_new_clip_never_stands_beside_an_old_record(tmp_path: Path, monkeypatch):
    foreign_videos.write(tmp_path / "v.mp4", numbered(30))
    prepare(tmp_path, tmp_path / "v.mp4")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_clip, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, tmp_path / "v.mp4", "--fps", "5")
    assert not (tmp_path / "out" / "a.json").exists()


def test_clips_without_a_source_are_listed_with_their_reason(tmp_path: Path):
    records = {"a.front": {"status": "skipped", "reason": "too\nshort"}, "b.front": {"frames": 9}}
    for video, record in records.items():
        (tmp_path / f"{video}.json").write_text(json.dumps({"video": video, **record}))
    sidecars = [str(tmp_path / f"{video}.json") for video in records]
    collect_clips.main(["--sidecars", *sidecars, "--output", str(tmp_path / "skipped.txt")])
    assert (tmp_path / "skipped.txt").read_text() == "a.front: too short\n"
    with pytest.raises(InputError, match=r"none of the 1 clips .*a\.front: too short"):
        collect_clips.main(["--sidecars", sidecars[0], "--output", str(tmp_path / "none.txt")])


@pytest.mark.parametrize("kind", ["truncated", "broken in the middle", "empty", "text"])
def test_damage_writes_nothing_and_the_command_ends_with_one_line_and_status_2(tmp_path: Path, kind: str):
    path = tmp_path / "v.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), np.uint8)
    foreign_videos.write(path, noise, faststart=True)
    if kind == "truncated":
        foreign_videos.truncate(path, 0.6)
    elif kind == "broken in the middle":
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + b"\xff" * 9_000 + data[len(data) // 2 + 9_000 :])
    else:
        path.write_text("" if kind == "empty" else "not a video")
    command = [sys.executable, prepare_clip.__file__, "--uri", str(path), "--clip-id", "a", "--camera", "front"]
    command += ["--output", str(tmp_path / "out" / "a.mp4"), "--sidecar", str(tmp_path / "out" / "a.json")]
    command += ["--record-failures", "false"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert str(path) in errors[0]
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out").glob("*"))


def test_the_original_arm_is_the_clip_coded_once_more(tmp_path: Path):
    write_video(tmp_path / "clip.mp4", numbered(6), 10)
    reencode_clip.main(["--clip", str(tmp_path / "clip.mp4"), "--output", str(tmp_path / "again.mp4")])
    again, before = read_frames(tmp_path / "again.mp4"), read_frames(tmp_path / "clip.mp4")
    assert again.shape == before.shape
    assert np.abs(again.astype(int) - before).max() <= 4
    assert probe(tmp_path / "again.mp4").fps == 10
