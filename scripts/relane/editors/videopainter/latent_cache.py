"""The VAE's posterior statistics of the source's windows, which all instructions on a clip share on disk."""

import hashlib

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX

from relane.editors.videopainter import latents as codec
from relane.io.tensor_cache import TensorFolder


class LatentCache:
    """Posterior statistics of videos: read where they are known, else computed and kept."""

    def __init__(self, folder: TensorFolder, weights: str):
        """weights: digest of the VAE's weights."""
        self.folder, self.weights = folder, weights

    def __call__(self, vae: AutoencoderKLCogVideoX, video: torch.Tensor) -> torch.Tensor:
        """As `latents.statistics`. The pixels themselves are the key: they stand for clip, window, size and crop."""
        pixels = hashlib.sha256(memoryview(video.contiguous().numpy()).cast("B")).hexdigest()
        how = (vae.dtype, vae.use_tiling, vae.device.type, torch.__version__, diffusers.__version__)
        path = self.folder.path(pixels, tuple(video.shape), self.weights, *how)
        found = self.folder.read(path)
        if found is not None:
            return found.to(vae.device)
        found = codec.statistics(vae, video)
        self.folder.write(path, found)
        return found
