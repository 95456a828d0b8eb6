"""Videos edited elsewhere, nothing edited here: a clip without a usable source is left out, and named in the report."""

import json

import pytest

from relane.io.video import write_video
from tests import foreign_videos
from tests.foreign_videos import CAMERA, numbered

from .conftest import run_small


@pytest.fixture
def folder(tmp_path):
    """Two data sets of one clip each, one of them too short to reach the instant; an edit of each."""
    rows = ["clip_id,camera,uri,pai_root,size,checksum"]
    for clip, frames in (("long", 200), ("short", 30)):
        root = foreign_videos.dataset(tmp_path / clip, [clip], frames=frames)
        rows.append(f"{clip},{CAMERA},{root}/camera/{CAMERA}/{CAMERA}.chunk_0000.zip,{root},,")
        (tmp_path / "edits" / "dusk").mkdir(parents=True, exist_ok=True)
        video = tmp_path / "edits" / "dusk" / f"{clip}.{CAMERA}_vp_edit_sample0.mp4"
        write_video(video, numbered(52), 10)
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    settings = {
        "clips": "clips.csv",
        "instructions": "",
        "arms": {"sham": False, "floor": False},
        "drive": {"videos": "edits"},
        "effects": {"bootstrap": 100},
    }
    (tmp_path / "mine.json").write_text(json.dumps(settings))
    return tmp_path


def test_the_other_clips_are_driven_and_the_report_names_the_one_left_out(folder):
    done = run_small(folder, "drive")
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    run = folder / "results" / "demo"
    assert {path.parent.name for path in run.glob("drive/*/*/*/*_inference.json")} == {"long"}
    report = (run / "demo_report.txt").read_text()
    assert f"short.{CAMERA}: " in report
    assert "the source covers only" in report
