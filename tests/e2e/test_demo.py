"""The demo from end to end: every target of the design is there, the pictures are what they claim to be."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from relane.io.video import iter_frames, probe, read_frames

from .conftest import snakemake

RUN, DRIVER, T0_US = "demo", "alpamayo_r1", 5_100_000
EDIT_ARMS = ["sham", "single-white-dashed", "double-yellow-solid"]
DRIVE_ARMS = ["original", "floor", *EDIT_ARMS]


def videos(demo: Path) -> list[str]:
    """The demo's videos, by its clip sheet."""
    with open(demo / "config" / "demo_clips.csv") as file:
        return [f"{row['clip_id']}.{row['camera']}" for row in csv.DictReader(file)]


def test_every_target_of_the_design_is_there(demo):
    results = demo / "results" / RUN
    expected = ["sam2/metadata.csv", "effects.csv", "effects.json", f"{RUN}_report.txt", "report/index.html"]
    expected += ["provenance.json", "inference_summary.json"]
    for video in videos(demo):
        expected += [f"clips/{video}.mp4", f"clips/{video}.json", f"preprocessed_data_vp/{video}/meta.csv"]
        expected += [
            f"sam2/{video}/{name}" for name in ("masks", "masks.npz", "overlay.mp4", "timing.json", "region.npz")
        ]
        for arm in EDIT_ARMS:
            names = [
                "first_frame.png",
                "caption_refine",
                "vp_edit_sample0.mp4",
                "vp_edit_sample0.json",
                "generated.mp4",
            ]
            expected += [f"vp/{arm}/{video}/{video}_{name}" for name in names]
            expected += [f"vp/{arm}/{video}/eval_{video}.{ending}" for ending in ("txt", "json")]
        clip = video.split(".")[0]
        for arm in DRIVE_ARMS:
            names = ("inference.json", "vis_data.npz", "overlay.mp4")
            expected += [f"drive/{DRIVER}/{arm}/{clip}/{clip}_t0_{T0_US}_{name}" for name in names]
    missing = [name for name in expected if not (results / name).exists()]
    assert not missing


def test_a_second_run_has_nothing_to_do(demo):
    done = snakemake(demo)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stderr + done.stdout


def test_an_edit_has_the_clips_size_and_length_and_changes_the_region_only(demo):
    results = demo / "results" / RUN
    for video in videos(demo):
        clip = results / "clips" / f"{video}.mp4"
        edit = results / "vp" / "double-yellow-solid" / video / f"{video}_vp_edit_sample0.mp4"
        assert probe(clip) == probe(edit)
        region = np.load(results / "sam2" / video / "region.npz")["arr_0"].astype(bool)
        before, after = (read_frames(path).astype(int) for path in (clip, edit))
        change = np.abs(before - after).mean(-1)
        # The codec touches every pixel a little; the edit touches the region much more.
        assert change[region].mean() > 5 * change[~region].mean()


def test_the_first_frame_equals_the_source_outside_the_region(demo):
    results = demo / "results" / RUN
    for video in videos(demo):
        source = next(iter_frames(results / "clips" / f"{video}.mp4"))
        region = np.load(results / "sam2" / video / "region.npz")["arr_0"][0].astype(bool)
        for arm in EDIT_ARMS:
            painted = np.asarray(Image.open(results / "vp" / arm / video / f"{video}_first_frame.png"))
            np.testing.assert_array_equal(painted[~region], source[~region])
            assert (painted[region] != source[region]).any()


def test_arms_share_noise_and_the_floor_does_not(demo):
    """Samples of the sham arm scatter as those of the original do, sample by sample; those of the floor scatter anew.

    (An edit may change the manoeuvre, and with it the scatter.)
    """
    for video in videos(demo):
        clip = video.split(".")[0]
        scatter = {}
        for arm in DRIVE_ARMS:
            stem = demo / "results" / RUN / "drive" / DRIVER / arm / clip / f"{clip}_t0_{T0_US}"
            paths = np.load(f"{stem}_vis_data.npz")["pred_xyz"]
            assert paths.shape == (6, 64, 3)
            scatter[arm] = (paths - paths.mean(0)).ravel()
        alike = {arm: np.corrcoef(scatter["original"], scatter[arm])[0, 1] for arm in DRIVE_ARMS}
        # Not 1: the sham's pictures are painted anew. Of one clip they make one sample of six choose otherwise (0.79).
        assert alike["sham"] > 0.7, alike
        assert alike["floor"] < 0.5, alike


def test_behind_a_slower_car_a_dashed_line_makes_the_driver_overtake_and_no_other_edit_does(demo):
    """The world's rule is known: it is found in the pipeline's own edits, and nothing where there is nothing."""
    truths = [json.loads(path.read_text()) for path in (demo / "build" / "world" / "truth").glob("*.json")]
    [clip] = [truth["clip_id"] for truth in truths if truth["slower_car"]]
    with (demo / "results" / RUN / "effects.csv").open() as file:
        left = {row["arm"]: float(row["lateral_end_m"]) for row in csv.DictReader(file) if row["clip_id"] == clip}
    assert left["single-white-dashed"] > 1.5
    assert abs(left["sham"]) < 0.5
    assert abs(left["double-yellow-solid"]) < 0.5


def test_the_report_opens_from_disk_with_every_medium_it_names(demo):
    page = demo / "results" / RUN / "report" / "index.html"
    html = page.read_text()
    media = re.findall(r'(?:src|href)="(media/[^"]+)"', html)
    assert media
    assert not [name for name in media if not (page.parent / name).exists()]
    assert not re.search(r'(?:src|href)="https?://', html)
    for arm in EDIT_ARMS:
        assert arm in html


def test_two_clips_give_numbers_without_p_values_and_say_why(demo):
    effects = json.loads((demo / "results" / RUN / "effects.json").read_text())
    effects = effects["drivers"][DRIVER]
    assert effects["clips"] == 2
    assert any("at least 5 clips" in note for note in effects["notes"])
    for arm in DRIVE_ARMS[1:]:
        displacement = effects["arms"][arm]["quantities"]["displacement_m"]
        assert displacement["mean"] > 0
        assert displacement["p"] is None
        assert displacement["mean_low"] is None


def test_provenance_holds_the_configuration_the_versions_and_the_weights(demo):
    record = json.loads((demo / "results" / RUN / "provenance.json").read_text())
    assert record["config"]["run"] == RUN
    assert record["packages"]["torch"]
    assert record["checkpoints"]["sam2"]["digest"] not in ("", "absent")
    assert set(record["code"]) == {"commit", "clean"}


def test_a_video_of_ones_own_is_edited_and_the_missing_drive_is_explained(demo, tmp_path):
    """Any MP4 can be edited and judged; without ego motion driving is left out, with a line that says why."""
    world = demo / "results" / RUN / "clips" / f"{videos(demo)[0]}.mp4"
    own = tmp_path / "my drive.mp4"
    own.write_bytes(world.read_bytes())
    words = ["--config", f"clips={own}", "run=own", "instructions=lane double yellow solid"]
    done = snakemake(demo, "results/own/own_report.txt", "results/own/vp/double-yellow-solid/report.csv", *words)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    assert "where their ego motion lies" in (demo / "results" / "own" / "own_report.txt").read_text()
    edits = list((demo / "results" / "own" / "vp" / "double-yellow-solid").glob("*/*_vp_edit_sample0.mp4"))
    assert len(edits) == 1
    assert not (demo / "results" / "own" / "drive").exists()


def test_a_damaged_video_is_named_leaves_nothing_and_takes_no_other_with_it(demo, tmp_path):
    good = (demo / "results" / RUN / "clips" / f"{videos(demo)[0]}.mp4").read_bytes()
    for name, content in (("good", good), ("cut", good[: len(good) // 3]), ("empty", b""), ("text", b"no video")):
        (tmp_path / f"{name}.mp4").write_bytes(content)
    strict = "clip={record_failures: false}"
    done = snakemake(demo, "clips", "--config", f"clips={tmp_path}", "run=damaged", strict)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert all(f"error: {tmp_path}/{name}.mp4" in said for name in ("cut", "empty", "text")), said[-4000:]
    assert {path.name for path in (demo / "results" / "damaged" / "clips").iterdir()} == {
        "good.front.mp4",
        "good.front.json",
    }


def test_a_killed_job_leaves_nothing_half_written_and_the_rerun_finishes(demo):
    """SIGKILL in the middle of the masks, then the same command again; the masks equal the undisturbed run's."""
    target = "results/killed/sam2/metadata.csv"
    command = [Path(sys.executable).with_name("snakemake"), "--profile", "profiles/demo", target]
    command += ["--config", "run=killed"]
    process = subprocess.Popen(
        command, cwd=demo, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    time.sleep(7)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    snakemake(demo, "--unlock")
    done = snakemake(demo, target, "--config", "run=killed")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    for video in videos(demo):
        first, second = (demo / "results" / run / "sam2" / video / "masks.npz" for run in (RUN, "killed"))
        assert first.read_bytes() == second.read_bytes()


def test_models_were_loaded_for_fewer_items_than_there_are(demo):
    results = demo / "results" / RUN
    for pattern in ("vp/*/*/*_first_frame.json", "vp/*/*/*_vp_edit_sample0.json", "vp/*/*/eval_*.json"):
        costs = [json.loads(path.read_text())["worker"] for path in results.glob(pattern)]
        assert len(costs) == len(EDIT_ARMS) * len(videos(demo))
        loads = sum(not cost["models_were_loaded"] for cost in costs)
        assert 1 <= loads < len(costs), pattern
        assert all(cost["work_seconds"] > 0 for cost in costs)
