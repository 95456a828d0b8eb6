"""One source that cannot be used: its clip is left out by name, and the others are edited all the same."""

import csv
import json
from pathlib import Path

import pytest

from relane.io.video import write_video
from tests.test_segment_road import road_picture

from .conftest import run_small

SETTINGS = {
    "clips": "drives",
    "instructions": "lane double yellow solid",
    "arms": {"sham": False, "floor": False},
    "clip": {"anchor": "start"},
    "sam2": {"min_coverage": 0.0},
    "first_frame": {"num_inference_steps": 1, "caption_refine_iters": 0, "paint_size": ""},
    "video": {"num_inference_steps": 1},
    "dataset": {"frames": [1, 2]},
    "datasets": {"lanes": {"start": 0, "limit": 0}},
    "workers": {"enabled": True},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with two drives: one of 17 frames, one cut off."""
    folder = tmp_path_factory.mktemp("skipped")
    (folder / "drives").mkdir()
    write_video(folder / "drives" / "good.mp4", (road_picture(i) for i in range(17)), 10)
    whole = (folder / "drives" / "good.mp4").read_bytes()
    (folder / "drives" / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "mine.json").write_text(json.dumps(SETTINGS))
    return folder


def test_the_others_are_edited_and_the_clip_is_a_skipped_row_with_its_reason(folder):
    done = run_small(folder, "edits", "masks", "dataset")
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    run = folder / "results" / "demo"
    rows = {row["video"]: row for row in csv.DictReader((run / "sam2" / "metadata.csv").open(newline=""))}
    assert (rows["good.front"]["status"], rows["cut.front"]["status"]) == ("ok", "skipped")
    assert "cut.mp4" in rows["cut.front"]["reason"]
    edits = [path.name for path in run.glob("vp/*/*/*_vp_edit_sample0.mp4")]
    assert edits == ["good.front_vp_edit_sample0.mp4"]
    assert [path.name for path in (run / "preprocessed_data_vp").iterdir()] == ["good.front"]
    stats = json.loads((folder / "results" / "datasets" / "lanes" / "stats.json").read_text())
    assert stats["dropped"] == {"unusable_source": 2}
    again = run_small(folder, "edits", "masks", "dataset")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_an_edit_of_that_clip_asked_for_by_name_fails_with_the_reason(folder):
    video = "cut.front"
    target = f"results/demo/vp/double-yellow-solid/{video}/{video}_vp_edit_sample0.mp4"
    done = run_small(folder, target)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "cut.front was skipped" in said
    assert "cut.mp4" in said.partition("cut.front was skipped")[2]
    assert not (folder / target).exists()


def test_where_failures_are_not_recorded_the_job_fails(folder):
    again = ("--forcerun", "results/demo/clips/cut.front.mp4")  # as docs/targets.md says
    done = run_small(folder, "clips", *again, config=("clip={record_failures: false}",))
    assert done.returncode != 0
    assert "cut.mp4" in done.stdout + done.stderr
    assert not (folder / "results" / "demo" / "clips" / "cut.front.json").exists()
