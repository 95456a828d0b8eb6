"""Masks reach the latent grid without loss, and decoding piece by piece changes no bit."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLCogVideoX
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.editors.videopainter.latents import (
    covering_mask,
    decode,
    mask_tensor,
    nearest_mask,
    set_tiling,
    video_tensor,
)


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


class Enlarge(torch.nn.Module):
    """In place of a decoder: each cell becomes its 8x8 pixels. Tiles of it must fit together."""

    def forward(self, z, conv_cache=None):
        return torch.nn.functional.interpolate(z[:, :3], scale_factor=(1, 8, 8)), None


class Shrink(torch.nn.Module):
    """In place of an encoder: a cell is the first of its pixels."""

    def forward(self, video, conv_cache=None):
        return video[..., ::8, ::8], None


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=15)
def test_tiles_of_any_size_fit_together(height, width, own_height, own_width):
    """For checkpoints of `own` latent cells and pictures of any size."""
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        latent_channels=4,
        sample_height=8 * own_height,
        sample_width=8 * own_width,
    )
    vae.decoder, vae.encoder = Enlarge(), Shrink()
    z = torch.rand(1, 4, 2, height, width)
    whole, _ = vae.decoder(z)
    set_tiling(vae, True)
    # Blending a tile with the same values rounds.
    torch.testing.assert_close(vae.decode(z).sample, whole, rtol=0, atol=1e-6)
    torch.testing.assert_close(vae._encode(whole), z[:, :3], rtol=0, atol=1e-6)
    set_tiling(vae, False)
    assert not vae.use_tiling


def test_tiling_keeps_the_librarys_tiles_for_the_released_size():
    vae = AutoencoderKLCogVideoX(
        sample_height=480, sample_width=720, block_out_channels=(4, 4, 4, 4), norm_num_groups=2
    )
    names = [f"tile_{name}_{side}" for name in ("sample_min", "latent_min") for side in ("height", "width")]
    before = [getattr(vae, name) for name in names]
    set_tiling(vae, True)
    assert [getattr(vae, name) for name in names] == before == [240, 360, 30, 45]
    assert (vae.tile_overlap_factor_height, vae.tile_overlap_factor_width) == (Fraction(1, 6), Fraction(1, 5))


@pytest.mark.parametrize("height", [4, 8])
def test_one_tile_is_the_whole_picture(tiny, height):
    """128x192 pixels is the tiny checkpoint's size, so 64x96 a tile."""
    from relane.editors.videopainter.loading import load_vae

    vae = load_vae(tiny("cogvideox"), torch.float32).eval()
    z = torch.randn(1, 3, 16, height, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = np.concatenate(list(decode(vae, z)))
        set_tiling(vae, True)
        np.testing.assert_allclose(np.concatenate(list(decode(vae, z))), whole, atol=1e-5)


def test_frames_of_the_right_size_keep_their_values():
    frames = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    tensor = video_tensor(frames, 32, 48)
    assert tensor.shape == (1, 3, 2, 32, 48)
    np.testing.assert_array_equal(np.rint((tensor[0].permute(1, 2, 3, 0).numpy() + 1) * 127.5), frames)
    masks = frames[..., 0] > 128
    np.testing.assert_array_equal(mask_tensor(masks, 32, 48)[0, 0].numpy(), masks)
