"""segment_road.py, select_region.py and collect_masks.py: their files, and what they say of bad input."""

import csv
import hashlib
import json
import os

import collect_masks
import cv2
import numpy as np
import pytest
import segment_road
import select_region

from relane.errors import InputError
from relane.io.masks import overlay, read_masks
from relane.io.video import read_frames, write_video

FRAMES, H, W = 5, 96, 128


def road_picture(index: int) -> np.ndarray:
    frame = np.full((H, W, 3), (140, 180, 220), np.uint8)
    frame[H // 2 :] = (70, 120, 60)
    cv2.fillPoly(frame, [np.array([[58, 48], [70, 48], [127, 95], [0, 95]])], (90, 90, 92))
    cv2.line(frame, (64, 50), (64, 95), (235, 235, 235), 2)
    frame[:16, :16] = 50 * index % 250
    return frame


@pytest.fixture(scope="module")
def models(tiny):
    return segment_road.load(arguments(tiny, "clip.mp4", "out"))


def arguments(tiny, clip, output, *more):
    fixed = ["--checkpoint", str(tiny("sam2")), "--device", "cpu", "--dtype", "float32"]
    return segment_road.parser().parse_args(["--clip", str(clip), "--output", str(output), *fixed, *more])


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "abc.camera_front.mp4"
    write_video(path, (road_picture(i) for i in range(FRAMES)), 10)
    return path


def digests(folder):
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "timing.json")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_masks_of_a_clip(tiny, models, clip, tmp_path):
    out = tmp_path / "sam2" / "abc.camera_front"
    (out / "masks").mkdir(parents=True)  # as Snakemake leaves it
    (out / "region.json").write_text("{}")  # another rule's file
    segment_road.run(arguments(tiny, clip, out), models)
    masks = read_masks(out / "masks.npz", (FRAMES, H, W))
    pictures = sorted((out / "masks").iterdir())
    assert [p.name for p in pictures] == [f"{i:06d}.png" for i in range(FRAMES)]
    for path, mask in zip(pictures, masks, strict=True):
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), mask * np.uint8(255))
    pictures = read_frames(out / "overlay.mp4")
    for picture, frame, mask in zip(pictures, read_frames(clip), masks, strict=True):
        assert np.abs(picture[2:14, 2:14].astype(int) - overlay(frame, mask)[2:14, 2:14]).mean() < 8
    assert (out / "region.json").exists()
    timing = json.loads((out / "timing.json").read_text())
    assert timing["status"] == "ok"
    assert timing["video"] == "abc.camera_front"
    assert timing["backend"] == "SAM2VideoPredictor"
    assert timing["frames"] == FRAMES
    assert timing["coverage"]["first"] == pytest.approx(masks[0].mean())
    assert timing["coverage"]["mean"] == pytest.approx(masks.mean())
    assert {"load", "decode", "segment", "write", "total"} == set(timing["seconds"])
    assert len(timing["points"]) == 9


def test_the_same_clip_gives_the_same_bytes(tiny, models, clip, tmp_path):
    for name in ("a", "b"):
        segment_road.run(arguments(tiny, clip, tmp_path / name), models)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == FRAMES + 2  # pictures, npz, overlay


def test_a_clip_with_too_little_road_is_skipped_by_name_and_refused_later(tiny, models, clip, tmp_path):
    out = tmp_path / "out"
    segment_road.run(arguments(tiny, clip, out, "--min-coverage", "0.99"), models)
    timing = json.loads((out / "timing.json").read_text())
    assert timing["status"] == "skipped"
    assert "first frame, less than 99.00%" in timing["reason"]
    assert (out / "masks.npz").exists()
    with pytest.raises(InputError, match=r"abc\.camera_front was skipped: the road covers"):
        select(clip, out, tmp_path / "region.npz")
    assert not (tmp_path / "region.npz").exists()


def skipped_clip(folder, reason="a.mp4: 3 frames at 10 fps, but 49 are needed"):
    """What prepare_clip.py leaves of a source that cannot be used."""
    folder.mkdir(exist_ok=True)
    (folder / "abc.front.mp4").touch()
    record = {"video": "abc.front", "status": "skipped", "reason": reason, "frames": 0}
    (folder / "abc.front.json").write_text(json.dumps(record))
    return folder / "abc.front.mp4"


def test_a_clip_without_a_usable_source_is_a_skipped_row_and_refused_later(tiny, models, clip, tmp_path):
    empty, out = skipped_clip(tmp_path / "clips"), tmp_path / "out"
    record = ["--clip-json", str(empty.with_suffix(".json"))]
    segment_road.run(arguments(tiny, empty, out, *record), models)
    for name in ("masks", "masks.npz", "overlay.mp4"):  # what the rule promises
        assert (out / name).exists()
    assert list((out / "masks").iterdir())  # object stores keep no empty folders
    segment_road.run(arguments(tiny, clip, tmp_path / "whole"), models)
    timing = [str(folder / "timing.json") for folder in (tmp_path / "whole", out)]
    collect_masks.main(["--timing", *timing, "--output", str(tmp_path / "metadata.csv")])
    whole, row = csv.DictReader((tmp_path / "metadata.csv").read_text().splitlines())
    assert (whole["status"], row["status"], row["frames"]) == ("ok", "skipped", "0")
    assert row["reason"] == "a.mp4: 3 frames at 10 fps, but 49 are needed"
    with pytest.raises(InputError, match=r"abc\.front was skipped: a\.mp4: 3 frames .*mend the source"):
        select(empty, out, tmp_path / "region.npz")


def test_when_no_source_at_all_can_be_used_the_run_ends(tiny, models, tmp_path):
    """Then it is the network, the login or the settings, and nobody is served by a run of nothing."""
    empty, out = skipped_clip(tmp_path / "clips", "hf://x: cannot be fetched"), tmp_path / "out"
    segment_road.run(arguments(tiny, empty, out, "--clip-json", str(empty.with_suffix(".json"))), models)
    with pytest.raises(InputError, match=r"none of the 1 clips .*hf://x: cannot be fetched"):
        collect_masks.main(["--timing", str(out / "timing.json"), "--output", str(tmp_path / "m.csv")])
    assert not (tmp_path / "m.csv").exists()


def test_new_masks_never_stand_beside_an_old_record(tiny, models, clip, tmp_path, monkeypatch):
    out = tmp_path / "out"
    segment_road.run(arguments(tiny, clip, out), models)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(segment_road, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_road.run(arguments(tiny, clip, out, "--dilate", "5"), models)
    assert not (out / "timing.json").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--points", "[[2, 0.5]]"], r"sam2\.points"),
        (["--points", "[]"], r"sam2\.points: at least one"),
        (["--negative-points", "5"], r"sam2\.negative_points"),
        (["--bonnet", "1.5"], r"sam2\.bonnet"),
    ],
)
def test_bad_flags_leave_nothing_behind(tiny, models, clip, tmp_path, flags, says):
    with pytest.raises(InputError, match=says):
        segment_road.run(arguments(tiny, clip, tmp_path / "out", *flags), models)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_a_truncated_clip_leaves_nothing_behind(tiny, models, tmp_path):
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_video(whole, (road_picture(i) for i in range(30)), 10)
    cut.write_bytes(whole.read_bytes()[:-3000])  # the index comes first, so the header still promises 30 frames
    with pytest.raises(InputError, match=r"cut\.mp4"):
        segment_road.run(arguments(tiny, cut, tmp_path / "out"), models)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_help_needs_no_torch():
    import subprocess
    import sys
    from pathlib import Path

    script = Path(segment_road.__file__)
    code = f"import sys; sys.modules['torch'] = None; sys.argv = ['x', '--help']; exec(open({str(script)!r}).read())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(script.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert "--min-coverage" in done.stdout


# select_region.py


def select(clip, folder, output, *more):
    paths = ["--clip", clip, "--masks", folder / "masks.npz", "--timing", folder / "timing.json"]
    files = ["--output", output, "--sidecar", output.with_suffix(".json")]
    select_region.main([str(value) for value in [*paths, *files, *more]])
    return read_masks(output), json.loads(output.with_suffix(".json").read_text())


@pytest.fixture
def masked(tmp_path):
    """A folder as segment_road.py leaves it, with a perfect mask."""
    mask = np.zeros((H, W), np.uint8)
    cv2.fillPoly(mask, [np.array([[58, 48], [70, 48], [127, 95], [0, 95]])], 1)
    folder = tmp_path / "masked"
    folder.mkdir()
    np.savez_compressed(folder / "masks.npz", np.stack([mask] * FRAMES))
    (folder / "timing.json").write_text('{"status": "ok", "video": "abc"}')
    return folder


def test_road_region_is_the_dilated_mask(clip, masked, tmp_path):
    region, sidecar = select(clip, masked, tmp_path / "r.npz", "--region", "road", "--dilate-size", "7")
    mask = np.load(masked / "masks.npz")["arr_0"][0]
    assert np.array_equal(region[0], cv2.dilate(mask, np.ones((7, 7), np.uint8)) > 0)
    assert (sidecar["region"], sidecar["dilate_size"]) == ("road", 7)
    assert sidecar["coverage"]["mean"] == pytest.approx(region.mean())


def test_corridor_region_follows_the_line(clip, masked, tmp_path):
    region, sidecar = select(clip, masked, tmp_path / "r.npz", "--dilate-size", "0", "--camera-height", "1.5")
    road = np.load(masked / "masks.npz")["arr_0"] > 0
    assert sidecar["region"] == "corridor"
    assert sidecar["fallback"] is None
    assert region[:, 60:, 64].all()
    assert not region[~road].any()
    assert region.sum() < 0.6 * road.sum()
    assert region.shape == (FRAMES, H, W)


def test_masks_of_another_clip_are_refused(clip, masked, tmp_path):
    for shape, says in [((3, H, W), "3 frames"), ((FRAMES, H, 64), f"{FRAMES} frames of 64x{H}")]:
        np.savez_compressed(masked / "masks.npz", np.ones(shape, np.uint8))
        with pytest.raises(InputError, match=f"masks of {says}"):
            select(clip, masked, tmp_path / "r.npz")
    assert not (tmp_path / "r.npz").exists()


def test_negative_dilation_is_refused(clip, masked, tmp_path):
    with pytest.raises(InputError, match=r"region\.dilate_size"):
        select(clip, masked, tmp_path / "r.npz", "--dilate-size", "-1")


# collect_masks.py


def test_table_has_a_row_for_each_clip(tiny, models, clip, tmp_path):
    for name, least in (("a", "0.01"), ("b", "0.99")):
        arguments_ = arguments(tiny, clip, tmp_path / name, "--min-coverage", least)
        segment_road.run(arguments_, models)
    files = [str(tmp_path / name / "timing.json") for name in ("a", "b")]
    collect_masks.main(["--timing", *files, "--output", str(tmp_path / "metadata.csv")])
    rows = list(csv.DictReader((tmp_path / "metadata.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok", "skipped"]
    assert [row["frames"] for row in rows] == [str(FRAMES)] * 2
    assert "less than 99.00%" in rows[1]["reason"]
    assert tuple(rows[0]) == collect_masks.COLUMNS


def test_table_names_a_file_that_is_no_timing(tmp_path):
    (tmp_path / "timing.json").write_text('{"video": "x"}')
    with pytest.raises(InputError, match=r"timing\.json: not a timing\.json of segment_road\.py"):
        collect_masks.main(["--timing", str(tmp_path / "timing.json"), "--output", str(tmp_path / "m.csv")])
    assert not (tmp_path / "m.csv").exists()
