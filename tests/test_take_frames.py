"""Frames of a source for a dataset: exact, of one fetch, and a source that cannot be used is counted."""

import json

import dataset_frames
import pytest

from relane.data import clips
from relane.errors import InputError
from relane.io.video import write_video
from relane.training import dataset

from .test_dataset import PaintsRoad, assemble, item_args, levels, make_items, take


def test_frame_n_is_exactly_the_nth_counted_from_one(tmp_path):
    video, numbers = tmp_path / "a.mp4", (1, 2, 7, 12, 13)
    write_video(video, levels(*range(10, 250, 20)), 10)
    folder = take(video, numbers, tmp_path / "frames")
    for number in numbers[:-1]:
        found = dataset.read_image(folder / f"frame{number}.png")
        assert abs(found.mean() - (20 * number - 10)) < 4
    record = json.loads((folder / "frames.json").read_text())
    assert (list(record["frames"]), record["decoded"]) == ([str(n) for n in numbers[:-1]], 12)
    assert not (folder / "frame13.png").exists()


def test_all_frames_of_a_video_come_of_one_fetch(tmp_path, monkeypatch):
    video = tmp_path / "a.mp4"
    write_video(video, levels(80, 90, 100), 10)
    fetches, fetch = [], clips.fetch
    monkeypatch.setattr(clips, "fetch", lambda *args: fetches.append(args) or fetch(*args))
    make_items(tmp_path / "roads", video, "one", (1, 2, 3))
    assert len(fetches) == 1


def test_a_source_that_cannot_be_used_is_counted_where_failures_are_recorded(tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"not a video")
    with pytest.raises(InputError, match="not a readable video"):
        take(tmp_path / "b.mp4", (1, 2), tmp_path / "frames")
    assert not (tmp_path / "frames").exists()
    write_video(tmp_path / "a.mp4", levels(80, 120), 10)
    folder = tmp_path / "roads"
    part = make_items(folder, tmp_path / "a.mp4", "a", (1, 2))
    taken = take(tmp_path / "b.mp4", (1, 2), folder / "frames/b.front", "b", "--record-failures", "true")
    dataset_frames.run(item_args(taken, (1, 2), folder / "items"), PaintsRoad())
    record = json.loads((folder / "items/b.front_frame1/record.json").read_text())
    assert (record["status"], record["reason"]) == ("dropped", "unusable_source")
    assert "not a readable video" in record["error"]
    captions = folder / "captioned/b.json"
    captions.write_text('{"captions": {}}')
    assemble(folder, [part, ([folder / f"items/b.front_frame{n}" for n in (1, 2)], captions)])
    assert json.loads((folder / "stats.json").read_text())["dropped"] == {"unusable_source": 2}
    assert len(dataset.read_rows(folder)) == 2


def test_what_may_pass_is_recorded_at_the_last_attempt_only(tmp_path):
    away = "http://127.0.0.1:9/a.mp4"
    flags = ("--record-failures", "true", "--last-attempt")
    with pytest.raises(InputError, match="cannot be fetched"):
        take(away, (1,), tmp_path / "frames", "one", *flags, "0")
    take(away, (1,), tmp_path / "frames", "one", *flags, "1")
    assert "cannot be fetched" in json.loads((tmp_path / "frames/frames.json").read_text())["reason"]


def test_a_frame_is_counted_from_one(tmp_path):
    write_video(tmp_path / "a.mp4", levels(80), 10)
    with pytest.raises(InputError, match="frames are counted from 1"):
        take(tmp_path / "a.mp4", (0,), tmp_path / "frames")
