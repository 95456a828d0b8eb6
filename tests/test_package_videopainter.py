"""package_videopainter.py: the original VideoPainter scripts find the files by their own path formula."""

import csv
import json
from pathlib import Path

import numpy as np
import package_videopainter
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.errors import InputError
from relane.io.masks import mask_writer
from relane.io.video import read_frames, write_video

SHAPE = (4, 32, 48)


@pytest.fixture
def inputs(tmp_path):
    rng = np.random.default_rng(0)
    clip = tmp_path / "clip.mp4"
    write_video(clip, rng.integers(0, 255, (*SHAPE, 3), dtype=np.uint8), 10)
    facts = {"fps": 10.0, "frames": 4, "height": 32, "width": 48}
    (tmp_path / "clip.json").write_text(json.dumps(facts))
    masks = rng.random(SHAPE) < 0.3
    with mask_writer(tmp_path / "masks.npz", SHAPE) as append:
        for mask in masks:
            append(mask)
    return tmp_path, masks


def package(folder: Path, video: str, *more: str) -> Path:
    out = folder / "package" / video
    flags = {"clip": folder / "clip.mp4", "clip-json": folder / "clip.json", "masks": folder / "masks.npz"}
    flags |= {"video": video, "output": out}
    package_videopainter.main([f"--{key}={value}" for key, value in flags.items()] + list(more))
    return out


def as_the_original_reads(out: Path):
    """Row, video file and mask file as the original finds them: folders by the name without its last three letters."""
    (row,) = csv.DictReader((out / "meta.csv").read_text(encoding="utf-8").splitlines())
    assert ".0.mp4" in row["path"]
    base = row["path"].split(".")[0]
    return row, out / "raw_videos" / base[:-3] / f"{base}.0.mp4", out / "mask_root" / base / "all_masks.npz"


@pytest.mark.parametrize("video", ["3d4f-11.camera_front_wide_120fov", "solidWhiteRight", "ab", "a.b.c.d"])
def test_the_original_finds_clip_and_masks(inputs, video):
    folder, masks = inputs
    row, clip, labels = as_the_original_reads(package(folder, video, "--caption", 'a road, "wet"'))
    assert np.array_equal(read_frames(clip), read_frames(folder / "clip.mp4"))
    labels = np.load(labels)["arr_0"]
    hole = labels == int(row["mask_id"])
    start, end = int(row["start_frame"]), int(row["end_frame"])
    assert np.array_equal(hole[start:end], masks)
    assert len(read_frames(clip)[start:end]) == 4
    assert labels.dtype.kind in "iu"
    assert (row["fps"], row["frames"], row["width"], row["height"]) == ("10", "4", "48", "32")
    assert row["caption"] == 'a road, "wet"'


def test_the_originals_columns_come_first(inputs):
    header = (package(inputs[0], "v.c") / "meta.csv").read_text().splitlines()[0]
    assert header.startswith("path,fps,mask_id,start_frame,end_frame,caption,")


def test_a_rerun_replaces_the_package_with_the_same_bytes(inputs):
    out = package(inputs[0], "v.c")
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    (out / "left_over.txt").write_text("old")
    out = package(inputs[0], "v.c")
    assert {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


@settings(max_examples=30)
@given(st.text(alphabet="abc./\\", max_size=8))
def test_no_name_leaves_the_package(video):
    try:
        name = package_videopainter.package_name(video)
    except InputError:
        assert not video or "/" in video or "\\" in video
    else:
        assert not set("./\\") & set(name)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"frames": 5}, "says frames 5, but .*clip.mp4 has 4"),
        ({"width": 64}, "says width 64"),
        (None, "no such file"),
    ],
)
def test_a_sidecar_of_another_clip_is_refused(inputs, change, says):
    folder, _ = inputs
    sidecar = folder / "clip.json"
    facts = json.loads(sidecar.read_text())
    sidecar.unlink()
    if change:
        sidecar.write_text(json.dumps(facts | change))
    with pytest.raises(InputError, match=says):
        package(folder, "v.c")
    assert not (folder / "package").exists()


def test_masks_of_another_size_leave_nothing_behind(inputs):
    folder, _ = inputs
    np.savez_compressed(folder / "masks.npz", np.zeros((4, 32, 40), np.uint8))
    with pytest.raises(InputError, match=r"masks\.npz: masks of 4 frames of 40x32, but the clip has 4 frames of 48x32"):
        package(folder, "v.c")
    assert not (folder / "package").exists()


def test_a_skipped_clip_is_refused_with_its_reason(inputs):
    folder, _ = inputs
    (folder / "clip.json").write_text('{"status": "skipped", "reason": "a.mp4: too short", "frames": 0}')
    with pytest.raises(InputError, match=r"clip\.json: a\.front was skipped, .*: a\.mp4: too short"):
        package(folder, "a.front")
    assert not (folder / "package" / "a.front").exists()
