"""Masks reach the latent grid without loss, and decoding piece by piece changes no bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.videopainter.latents import covering_mask, decode, mask_tensor, nearest_mask, video_tensor


@given(st.integers(0, 8), st.integers(0, 31), st.integers(0, 47))
@settings(max_examples=50, deadline=None)
def test_any_masked_pixel_masks_its_cell(frame, row, column):
    mask = torch.zeros(1, 1, 9, 32, 48)
    mask[0, 0, frame, row, column] = 1
    cells = covering_mask(mask)
    assert cells.shape == (1, 3, 1, 4, 6)
    assert cells.nonzero().tolist() == [[0, -(-frame // 4), 0, row // 8, column // 8]]


def test_the_originals_rule_loses_thin_masks():
    mask = torch.zeros(1, 1, 9, 32, 48)
    mask[..., 5, :] = 1
    assert nearest_mask(mask).sum() == 0
    assert covering_mask(mask)[:, :, :, 0].min() == 1


def test_the_originals_rule_takes_these_frames_of_49():
    mask = torch.arange(49.0)[None, None, :, None, None].expand(1, 1, 49, 8, 8)
    assert nearest_mask(mask).flatten().tolist() == [0, 3, 7, 11, 15, 18, 22, 26, 30, 33, 37, 41, 45]


@pytest.mark.parametrize("latents", [1, 2, 3, 4, 5])
def test_streaming_decode_gives_the_bits_of_decoding_at_once(golden, latents):
    vae = golden.models().vae.eval()
    z = torch.randn(1, latents, 16, 4, 6, generator=torch.Generator().manual_seed(latents))
    with torch.no_grad():
        whole = vae.decode(1 / vae.config.scaling_factor * z.permute(0, 2, 1, 3, 4)).sample
        pieces = list(decode(vae, z))
    expected = (whole * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 3, 0).numpy()
    np.testing.assert_array_equal(np.concatenate(pieces), expected)
    assert max(len(piece) for piece in pieces) <= 12


def test_frames_of_the_right_size_keep_their_values():
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    tensor = video_tensor(frames, 32, 48)
    assert tensor.shape == (1, 3, 2, 32, 48)
    np.testing.assert_array_equal(np.rint((tensor[0].permute(1, 2, 3, 0).numpy() + 1) * 127.5), frames)
    masks = frames[..., 0] > 128
    np.testing.assert_array_equal(mask_tensor(masks, 32, 48)[0, 0].numpy(), masks)
