"""Between pixels and latents: pre-processing, VAE encoding and streaming decoding, masks on the latent grid.

Video tensors are (1, 3, F, H, W) in [-1, 1]; latents are (1, L, 16, h, w), scaled by the VAE's factor; a mask is 1
where it is to be inpainted.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.video_processor import VideoProcessor
from PIL import Image

from relane.editors.videopainter.windows import FRAMES_PER_LATENT, latent_frames
from relane.models.finite import check_finite, origin

SPATIAL = 8  # pixels a latent cell, in height and in width
_pixels = VideoProcessor(vae_scale_factor=SPATIAL)
_masks = VideoProcessor(vae_scale_factor=SPATIAL, do_normalize=False, do_binarize=True, do_convert_grayscale=True)


def video_tensor(frames: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Frames (F, any, any, 3) uint8 to (1, 3, F, height, width) float32, resized by Lanczos as the original does."""
    return _pixels.preprocess_video([Image.fromarray(frame) for frame in frames], height=height, width=width)


def mask_tensor(masks: np.ndarray, height: int, width: int) -> torch.Tensor:
    """Masks (F, any, any) bool to (1, 1, F, height, width) float32, 0 or 1; Lanczos, then cut at one half."""
    images = [Image.fromarray(mask.astype(np.uint8) * 255) for mask in masks]
    return _masks.preprocess_video(images, height=height, width=width)


def set_tiling(vae: AutoencoderKLCogVideoX, on: bool) -> None:
    """Encode and decode in overlapping tiles of half the checkpoint's size, or whole pictures at once.

    The library takes the overlap as a share of a tile, and places tiles wrongly where that is no whole number of latent
    cells, which it is for 480x720 alone. Here it is the nearest whole number, at least one.
    """
    vae.use_tiling = on
    for side, share in (("height", 1 / 6), ("width", 1 / 5)):  # the library's own
        cells = getattr(vae.config, f"sample_{side}") // 2 // SPATIAL
        if cells < 2:
            vae.use_tiling = False  # the whole picture is hardly more than a tile
            return
        setattr(vae, f"tile_sample_min_{side}", cells * SPATIAL)
        setattr(vae, f"tile_latent_min_{side}", cells)
        # A fraction, because the library rounds down what it makes of it.
        setattr(vae, f"tile_overlap_factor_{side}", Fraction(max(1, round(cells * share)), cells))


def statistics(vae: AutoencoderKLCogVideoX, video: torch.Tensor) -> torch.Tensor:
    """The VAE's posterior of a video, mean and log variance on channels (1, 32, L, h, w), in its dtype and place."""
    video = video.to(device=vae.device, dtype=vae.dtype)
    # One layout whatever kernels ran, because those that come after choose by it.
    parameters = vae.encode(video).latent_dist.parameters.contiguous()
    check_finite(parameters, "latents of the source", origin(vae), vae.dtype, "vae_tiling: false")
    return parameters


def sample(vae: AutoencoderKLCogVideoX, posterior: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Scaled latents (1, L, 16, h, w) drawn from `statistics`."""
    latents = DiagonalGaussianDistribution(posterior).sample(generator)
    return vae.config.scaling_factor * latents.permute(0, 2, 1, 3, 4)


def decode(vae: AutoencoderKLCogVideoX, latents: torch.Tensor) -> Iterator[np.ndarray]:
    """Decode latents (1, L, 16, h, w) piece by piece: arrays (n, H, W, 3) float32 in [0, 1], in order.

    The VAE decodes two latents at a time and carries its convolutions' state; yielding after each piece gives the
    bits of decoding all at once, in memory that does not grow with L. With tiling on, the library decodes at once.
    """
    latents = latents.to(device=vae.device, dtype=vae.dtype)
    latents = 1 / vae.config.scaling_factor * latents.permute(0, 2, 1, 3, 4)
    if vae.use_tiling:
        yield _images(vae, vae.decode(latents).sample)
        return
    batch = vae.num_latent_frames_batch_size
    count = latents.shape[2]
    ends = [count % batch + batch * (index + 1) for index in range(max(count // batch, 1))]
    state = None
    for start, end in zip([0, *ends], ends, strict=False):
        piece = latents[:, :, start:end]
        if vae.post_quant_conv is not None:
            piece = vae.post_quant_conv(piece)
        piece, state = vae.decoder(piece, conv_cache=state)
        yield _images(vae, piece)


def _images(vae: AutoencoderKLCogVideoX, video: torch.Tensor) -> np.ndarray:
    check_finite(video, "painted frames", origin(vae), vae.dtype, "vae_tiling: false")
    return _pixels.postprocess_video(video, output_type="np")[0]


def nearest_mask(mask: torch.Tensor) -> torch.Tensor:
    """Mask (1, 1, F, H, W) to (1, L, 1, h, w) by the original's rule: one pixel and frame stands for its cell."""
    frames, height, width = mask.shape[2:]
    size = (latent_frames(frames), height // SPATIAL, width // SPATIAL)
    return F.interpolate(mask, size=size).permute(0, 2, 1, 3, 4)


def covering_mask(mask: torch.Tensor) -> torch.Tensor:
    """Mask (1, 1, F, H, W) to (1, L, 1, h, w): a cell is masked if any of its pixels is, in any of its frames."""
    cells = F.max_pool3d(mask, (1, SPATIAL, SPATIAL))
    first, rest = cells[:, :, :1], cells[:, :, 1:]
    if rest.shape[2]:
        first = torch.cat([first, F.max_pool3d(rest, (FRAMES_PER_LATENT, 1, 1))], dim=2)
    return first.permute(0, 2, 1, 3, 4)
