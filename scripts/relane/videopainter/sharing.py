"""What several instructions on one clip share, kept on disk: tensors by a key that says all they depend on.

Prompt embeddings (the negative prompt's above all) and the VAE's posterior statistics of the source's windows. An
entry is exactly what computing it again would give, so sharing changes no byte of any result.
"""

import hashlib
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLCogVideoX
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from relane.files import atomic_file
from relane.videopainter import latents as codec

NAME = "tensor"


class TensorFolder:
    """Tensors in one folder, a safetensors file each.

    Jobs may use it at the same time: files are renamed into place whole, and two jobs that miss the same entry write
    the same bytes. A damaged file, or one with NaN in it, counts as absent and is written anew.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, *key: object) -> Path:
        """The file of an entry, by everything that it depends on."""
        text = "\x1f".join(map(str, key))
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"

    def read(self, path: Path) -> torch.Tensor | None:
        """An entry, on the CPU; None where there is none."""
        try:
            found = load_file(path)[NAME]
        except (FileNotFoundError, SafetensorError, KeyError):
            return None
        return found if torch.isfinite(found).all() else None

    def write(self, path: Path, tensor: torch.Tensor, about: dict[str, str] | None = None) -> None:
        """Keep an entry; `about` goes into the file's header, for people who look at it."""
        with atomic_file(path) as partial:
            save_file({NAME: tensor.cpu().contiguous()}, partial, about)


class Posteriors:
    """Posterior statistics of videos: read where they are known, else computed and kept. Counts both."""

    def __init__(self, folder: str | Path, weights: str):
        """weights: digest of the VAE's weights."""
        self.weights = weights
        self.kept = TensorFolder(folder)
        self.read = self.computed = 0

    def __call__(self, vae: AutoencoderKLCogVideoX, video: torch.Tensor) -> torch.Tensor:
        """As `latents.statistics`. The pixels themselves are the key: they stand for clip, window, size and crop."""
        pixels = hashlib.sha256(memoryview(video.contiguous().numpy()).cast("B")).hexdigest()
        how = (vae.dtype, vae.use_tiling, vae.device.type, torch.__version__, diffusers.__version__)
        path = self.kept.path(pixels, tuple(video.shape), self.weights, *how)
        found = self.kept.read(path)
        if found is not None:
            self.read += 1
            return found.to(vae.device)
        self.computed += 1
        found = codec.statistics(vae, video)
        self.kept.write(path, found)
        return found
