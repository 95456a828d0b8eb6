"""Compositing: the source's pixels survive outside the mask, boxes hold the mask, feathers fall off evenly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.io.compose import Region, choose_region, feather, paste, place

FITS = ("crop", "letterbox", "squash")


@st.composite
def scenes(draw) -> tuple[np.ndarray, np.ndarray]:
    """A frame of noise and a mask of one rectangle in it."""
    height, width = draw(st.integers(24, 90)), draw(st.integers(24, 120))
    top, left = draw(st.integers(0, height - 2)), draw(st.integers(0, width - 2))
    bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    frame = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 3), np.uint8)
    return frame, mask


def painted_for(region: Region, value: int = 128) -> np.ndarray:
    return np.full((region.model_height, region.model_width, 3), value, np.uint8)


@given(scenes(), st.sampled_from(FITS), st.integers(0, 12), st.booleans())
@settings(max_examples=60, deadline=None)
def test_pixels_outside_the_feathered_mask_are_the_sources_own(scene, fit, pixels, color_match):
    frame, mask = scene
    region = choose_region(mask, (32, 48), fit, pixels)
    result = paste(frame, painted_for(region), mask, region, pixels, color_match)
    rows, columns = np.nonzero(mask)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    # Distance to a rectangle, without the distance transform that the code uses.
    distance = np.hypot(
        np.maximum(np.maximum(rows.min() - y, y - rows.max()), 0),
        np.maximum(np.maximum(columns.min() - x, x - columns.max()), 0),
    )
    outside = distance > pixels + 1
    np.testing.assert_array_equal(result[outside], frame[outside])
    if not color_match:
        assert (result[mask] == 128).all()


@given(scenes(), st.sampled_from(FITS), st.integers(0, 12))
@settings(max_examples=60, deadline=None)
def test_the_box_holds_the_whole_mask(scene, fit, margin):
    _, mask = scene
    region = choose_region(mask, (32, 48), fit, margin)
    assert region.covers(mask.shape)[mask].all()
    if fit != "squash":
        assert region.width / region.height == pytest.approx(1.5, abs=2 / region.height)


def test_a_box_that_fits_stays_inside_the_frame_and_one_that_does_not_is_padded():
    mask = np.zeros((180, 320), bool)
    mask[120:170, 130:200] = True
    region = choose_region(mask, (64, 96), "crop")
    assert region.left >= 0
    assert region.left + region.width <= 320
    assert region.top >= 0
    assert region.top + region.height <= 180
    mask[120, :] = True  # the whole width: 320x214 does not fit into 180 rows
    region = choose_region(mask, (64, 96), "crop")
    assert (region.left, region.width) == (0, 320)
    assert region.top < 0
    box = region.cut(np.full((180, 320, 3), 7, np.uint8))
    assert box.shape == (region.height, region.width, 3)
    assert (box == 7).all()  # edges repeat, no black bars


def test_beyond_the_frame_the_masks_edge_repeats_with_the_picture():
    """A box that reaches below the frame repeats the frame's last row; where that row is masked, so is its repeat."""
    mask = np.zeros((20, 30), bool)
    mask[10:, 12:15] = True
    frame = np.where(mask[..., None], np.uint8(255), np.uint8(60)).repeat(3, axis=2)
    region = Region(0, 0, 30, 26, 30, 26)
    np.testing.assert_array_equal(region.cut(mask), region.cut(frame)[..., 0] == 255)
    assert region.mask_to_model(mask)[20:, 12:15].all()


@given(scenes(), st.integers(-20, 60), st.integers(-20, 60))
@settings(max_examples=60, deadline=None)
def test_at_the_models_own_size_cut_and_lay_are_inverse(scene, left, top):
    frame, _ = scene
    region = Region(left, top, 48, 32, 48, 32)
    inside = region.covers(frame.shape)
    if not inside.any():
        return
    laid = region.to_source(region.to_model(frame), np.zeros_like(frame))
    np.testing.assert_array_equal(laid[inside], frame[inside])
    assert (laid[~inside] == 0).all()


@given(scenes(), st.integers(0, 15))
@settings(max_examples=60, deadline=None)
def test_a_feather_is_one_inside_falls_with_distance_and_grows_with_its_width(scene, pixels):
    _, mask = scene
    weight, wider = feather(mask, pixels), feather(mask, pixels + 1)
    assert (weight[mask] == 1).all()
    assert ((weight >= 0) & (weight <= 1)).all()
    assert (wider >= weight).all()
    row = np.flatnonzero(mask.any(axis=1))[0]
    last = np.flatnonzero(mask[row])[-1]
    assert (np.diff(weight[row, last:]) <= 0).all()
    assert np.count_nonzero(weight[row, last + 1 :]) <= pixels


def test_a_thin_mask_survives_the_way_to_the_model():
    mask = np.zeros((360, 640), bool)
    mask[200, 100:500] = True
    region = choose_region(mask, (32, 48), "letterbox")
    columns = region.mask_to_model(mask).any(axis=0)
    assert columns[9:36].all()


def test_colour_match_takes_a_constant_cast_away():
    frame = np.random.default_rng(0).integers(60, 180, (32, 48, 3), np.uint8)
    mask = np.zeros((32, 48), bool)
    mask[10:20, 15:30] = True
    region = Region(0, 0, 48, 32, 48, 32)
    cast = (frame.astype(int) + np.array((20, -10, 5))).astype(np.uint8)
    np.testing.assert_array_equal(paste(frame, cast, mask, region, 4, color_match=True), frame)
    assert (paste(frame, cast, mask, region, 4, color_match=False)[mask] != frame[mask]).any()


def test_colour_match_does_not_reach_beyond_the_box():
    frame = np.full((32, 64, 3), 100, np.uint8)
    mask = np.zeros((32, 64), bool)
    mask[10:20, 30:46] = True
    region = Region(0, 0, 48, 32, 48, 32)  # ends two columns beside the mask, inside its feather
    result = paste(frame, painted_for(region, 60), mask, region, 8, color_match=True)
    assert (result[:, 48:] == 100).all()


@pytest.mark.parametrize(("low", "high", "start"), [(60, 100, -20), (0, 40, 0), (0, 100, -10), (30, 60, -10)])
def test_a_box_longer_than_the_frame_reaches_beyond_it_on_the_side_away_from_the_mask(low, high, start):
    assert place(low, high, 120, 100) == start
