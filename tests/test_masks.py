"""Road masks: what is kept of SAM2's answer, and mask files."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from relane.config.arguments import add_options
from relane.config.sections.sam2 import Sam2
from relane.errors import InputError
from relane.io import masks as masks_module
from relane.io.masks import grow, mask_writer, overlay, read_masks
from relane.road.segmentation import clean, fill_holes, keep_road

SMALL = arrays(bool, st.tuples(st.integers(4, 24), st.integers(4, 24)))


# What is kept of SAM2's answer


@given(SMALL, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4))
def test_first_frame_keeps_exactly_the_pieces_under_a_point(mask, points):
    kept = keep_road(mask, points)
    height, width = mask.shape
    under = {(min(int(y * height), height - 1), min(int(x * width), width - 1)) for x, y in points}
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    for label in range(1, pieces.max() + 1):
        piece = pieces == label
        assert kept[piece].all() == kept[piece].any() == any(piece[at] for at in under)
    assert not kept[~mask].any()


def test_later_frames_follow_the_road_and_find_it_again_when_lost():
    mask = np.zeros((20, 20), bool)
    mask[2:5, 2:5] = mask[10:18, 10:18] = True
    small = np.zeros_like(mask)
    small[3, 3] = True
    assert keep_road(mask, [], previous=small)[3, 3]
    assert not keep_road(mask, [], previous=small)[12, 12]
    lost = keep_road(mask, [], previous=np.zeros_like(mask))
    assert lost[12, 12]
    assert not lost[3, 3]


def test_a_thin_gap_is_filled_whole_and_a_vehicle_not_at_all():
    road = np.ones((80, 120), bool)
    road[:10] = False
    line, vehicle = np.zeros_like(road), np.zeros_like(road)
    line[20:80, 30:36] = True  # a lane line, cut by the picture's bottom
    vehicle[30:50, 70:95] = True
    filled = fill_holes(road & ~line & ~vehicle, 15)
    assert filled[line].all()
    assert not filled[vehicle].any()
    assert not filled[:10].any()


@given(SMALL, st.integers(0, 9))
def test_filling_only_adds(mask, width):
    assert fill_holes(mask, width)[mask].all()


def test_bonnet_is_cut_after_growing():
    mask = np.zeros((20, 20), bool)
    mask[8:16, 8:12] = True
    (road,) = clean([mask], [(0.5, 0.5)], Sam2(close_holes=0, dilate=5, bonnet=0.25))
    assert road[6:15, 6:14].all()
    assert not road[15:].any()
    assert road.sum() == 9 * 8


@given(SMALL, st.integers(0, 7))
def test_grow_is_cv2_dilation_by_a_square_of_ones(mask, size):
    expected = cv2.dilate(mask.astype(np.uint8), np.ones((max(size, 1), max(size, 1)), np.uint8)) > 0
    assert np.array_equal(grow(mask, size), expected)


@pytest.mark.parametrize("wrong", [{"bonnet": 1.0}, {"bonnet": -0.1}, {"dilate": -1}, {"close_holes": -3}])
def test_cleaning_names_the_wrong_key(wrong):
    with pytest.raises(InputError, match=f"sam2.{next(iter(wrong))}"):
        Sam2.of(wrong)


@pytest.mark.parametrize("text", ["[[0.5]]", "[0.5, 0.5]", "{}x", "[[1.2, 0.5]]", '[["a", 1]]', "3"])
def test_bad_points_name_the_key(text):
    parser = argparse.ArgumentParser()
    add_options(parser, Sam2)
    with pytest.raises(InputError, match=r"sam2\.points"):
        parser.parse_args(["--points", text])


def test_overlay_of_an_odd_picture_can_be_encoded():
    frame = np.zeros((31, 45, 3), np.uint8)
    mask = np.zeros((31, 45), bool)
    mask[10:20, 10:20] = True
    picture = overlay(frame, mask)
    assert picture.shape == (30, 44, 3)
    assert picture[15, 15].any()
    assert not picture[25, 35].any()


# Mask files


@settings(max_examples=15)
@given(
    masks=arrays(
        np.uint8, st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)), elements={"max_value": 1}
    )
)
def test_mask_files_hold_what_numpy_would_save(tmp_path_factory, masks):
    folder = tmp_path_factory.mktemp("npz")
    for name in ("a.npz", "b.npz"):
        with mask_writer(folder / name, masks.shape) as append:
            for mask in masks:
                append(mask.astype(bool))
    loaded = np.load(folder / "a.npz")
    assert loaded.files == ["arr_0"]
    assert loaded["arr_0"].dtype == np.uint8
    assert np.array_equal(loaded["arr_0"], masks)
    assert np.array_equal(read_masks(folder / "a.npz", masks.shape), masks > 0)
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()


def test_mask_file_is_whole_or_absent(tmp_path):
    with (
        pytest.raises(ValueError, match="1 masks written, 3 announced"),
        mask_writer(tmp_path / "m.npz", (3, 2, 2)) as w,
    ):
        w(np.zeros((2, 2), bool))
    assert not list(tmp_path.iterdir())


def test_masks_are_the_same_bytes_at_any_time(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "localtime", lambda *_: time.struct_time((2001, 2, 3, 4, 5, 6, 0, 34, 0)))
    for name in ("a.npz", "b.npz"):
        with mask_writer(tmp_path / name, (1, 2, 2)) as append:
            append(np.ones((2, 2), bool))
        monkeypatch.undo()
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def broken_files(folder):
    np.savez_compressed(folder / "whole.npz", np.ones((2, 40, 40), np.uint8))
    whole = (folder / "whole.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped.npz").write_bytes(whole[:60] + bytes(b ^ 255 for b in whole[60:90]) + whole[90:])
    (folder / "text.npz").write_text("no zip")
    np.savez(folder / "key.npz", masks=np.zeros((2, 4, 4)))
    np.savez(folder / "flat.npz", np.zeros((4, 4), np.uint8))
    np.savez(folder / "float.npz", np.zeros((2, 4, 4)))
    np.savez(folder / "objects.npz", np.array([{}], object))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gone", "no such file"),
        ("cut", "not a readable .npz"),
        ("flipped", "not a readable .npz"),
        ("text", "not a readable .npz"),
        ("key", "no array arr_0"),
        ("flat", r"must be \(T, H, W\)"),
        ("float", r"must be \(T, H, W\)"),
        ("objects", "not a readable .npz"),
        ("whole", "2 frames of 40x40, but the clip has 3 frames of 40x40"),
    ],
)
def test_bad_mask_files_are_named(tmp_path, name, says):
    broken_files(tmp_path)
    with pytest.raises(InputError, match=says) as error:
        read_masks(tmp_path / f"{name}.npz", (3, 40, 40))
    assert f"{name}.npz" in str(error.value)


def test_masks_module_imports_without_torch():
    code = "import sys, relane.io.masks, relane.road.regions; sys.exit('torch' in sys.modules)"
    scripts = str(Path(masks_module.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": scripts}).returncode == 0
