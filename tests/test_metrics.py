"""The metrics' formulas: cases with a known answer, and what a region must not see."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

from relane.evaluation import metrics

H, W = 24, 32


def picture(seed: int, height: int = H, width: int = W) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (3, height, width))).float() / 255


def box(height: int = H, width: int = W) -> torch.Tensor:
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[6:18, 8:20] = True
    return mask


@given(offset=st.integers(1, 100))
def test_a_constant_offset_has_the_error_and_psnr_of_the_textbook(offset: int):
    a = torch.full((3, H, W), 100 / 255)
    b = a + offset / 255
    assert metrics.mse(a, b) == pytest.approx((offset / 255) ** 2, rel=1e-5)
    assert metrics.mae(a, b) == pytest.approx(offset / 255, rel=1e-5)
    assert metrics.psnr(metrics.mse(a, b)) == pytest.approx(20 * math.log10(255 / offset), abs=1e-4)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_psnr_and_ssim_are_those_of_torchmetrics(seed: int):
    a, b = picture(seed), (picture(seed) * 0.8 + picture(seed + 1) * 0.2)
    assert metrics.psnr(metrics.mse(a, b)) == pytest.approx(
        float(peak_signal_noise_ratio(a, b, data_range=1.0)), abs=1e-4
    )
    reference = float(structural_similarity_index_measure(a[None], b[None], data_range=1.0))
    assert metrics.ssim(a, b) == pytest.approx(reference, abs=1e-5)


def test_equal_frames_have_a_psnr_that_json_can_say():
    assert metrics.psnr(0.0) == metrics.PSNR_CAP == 100.0
    assert metrics.psnr(1e-10) == pytest.approx(100.0)
    assert metrics.psnr(2e-10) < 100.0


def test_ssim_of_equal_frames_is_one_even_where_they_are_flat():
    flat = torch.full((3, H, W), 0.353)
    flat[:, 10:, 12:16] = 0.78
    assert metrics.ssim(flat, flat) == metrics.ssim(flat, flat, box()) == 1.0


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_nothing_outside_a_region_moves_its_metrics(seed: int):
    mask, a, b = box(), picture(seed), picture(seed + 1)
    other = torch.where(mask, b, picture(seed + 2))
    for metric in (metrics.mse, metrics.mae, metrics.ssim):
        assert metric(a, other, mask) == pytest.approx(metric(a, b, mask), abs=1e-6)
        assert metric(a, other, ~mask) != pytest.approx(metric(a, b, ~mask), abs=1e-6)


def test_a_change_inside_the_mask_leaves_the_background_perfect():
    mask, a = box(), picture(0)
    b = torch.where(mask, picture(1), a)
    assert metrics.mse(a, b, ~mask) == 0
    assert metrics.ssim(a, b, ~mask) == pytest.approx(1.0, abs=1e-6)
    assert metrics.ssim(a, b, mask) < 0.5


def test_the_seam_is_the_step_that_the_edit_adds_across_the_edge():
    mask, a = box(), torch.full((3, H, W), 0.5)
    assert metrics.seam(a, a, mask) == {"added": 0.0, "source": 0.0, "edited": 0.0}
    b = a + mask * (20 / 255)
    assert metrics.seam(a, b, mask) == pytest.approx({"added": 20.0, "source": 0.0, "edited": 20.0}, abs=1e-4)
    everywhere = a + 20 / 255
    assert metrics.seam(a, everywhere, mask)["added"] == pytest.approx(0.0, abs=1e-4)


def test_the_seam_counts_every_edge_pair_once():
    """A box of 12 x 12 pixels has 48 neighbours across its edge; one pixel of it raised by 48 levels adds 1 or 2."""
    mask, a = box(), torch.full((3, H, W), 0.5)
    edge, corner = a.clone(), a.clone()
    edge[:, 6, 12] += 48 / 255
    corner[:, 6, 8] += 48 / 255
    assert metrics.seam(a, edge, mask)["added"] == pytest.approx(1.0, abs=1e-4)
    assert metrics.seam(a, corner, mask)["added"] == pytest.approx(2.0, abs=1e-4)


def test_a_mask_without_an_edge_has_no_seam():
    a = picture(0)
    assert metrics.seam(a, a, torch.zeros(H, W, dtype=torch.bool)) is None
    assert metrics.seam(a, a, torch.ones(H, W, dtype=torch.bool)) is None


def test_an_edit_that_stays_the_same_does_not_flicker_and_one_that_alternates_does():
    mask = box()
    source = (picture(0) * 0.5, picture(1) * 0.5)
    steady = tuple(frame + 30 / 255 for frame in source)
    assert metrics.flicker(source, steady)["added"] == pytest.approx(0.0, abs=1e-4)
    blinking = (source[0], source[1] + mask * (12 / 255))
    assert metrics.flicker(source, blinking, mask)["added"] == pytest.approx(12.0, abs=1e-4)
    assert metrics.flicker(source, blinking)["added"] == pytest.approx(12.0 * mask.sum().item() / (H * W), abs=1e-4)
    assert metrics.flicker(source, blinking, ~mask)["added"] == 0.0


def test_videopainters_own_masked_error_counts_the_sources_brightness_in_the_hole():
    """What makes it no background metric: an untouched video is charged with the hole it was given."""
    mask, a = box(), torch.full((3, H, W), 0.5)
    own = metrics.videopainter_masked(a, a, mask)
    share = mask.float().mean().item()
    assert own["mse"] == pytest.approx(0.25 * share, rel=1e-5)
    assert own["mae"] == pytest.approx(0.5 * share, rel=1e-5)
    assert own["psnr"] == pytest.approx(-10 * math.log10(0.25 * share), rel=1e-5)
    assert own["ssim"] < 0.9
