"""Rows encoded once: latents and text embeddings on disk, so that VAE and text encoders are gone when training starts.

A file's name is the digest of all that it depends on (the picture's and the mask's bytes, or the prompts; the
encoders' weights; size, number type and seed), so a cache can never be stale and a killed run finds what it had.
"""

import functools
import gc
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from relane import noise
from relane.errors import InputError, first_line
from relane.io.files import atomic_file, sha256_file
from relane.io.weights_digest import weights_digest
from relane.models.finite import check_finite
from relane.models.flux_fill import MOST_TOKENS, hole_of, paint_region
from relane.training import dataset
from relane.training.dataset import Row
from relane.training.lora.flow import Encoded
from relane.training.lora.region import is_road, select
from relane.training.lora.settings import Settings

CLASSES = {
    "transformer": FluxTransformer2DModel,
    "vae": AutoencoderKL,
    "scheduler": FlowMatchEulerDiscreteScheduler,
}
TEXT_PARTS = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")


def load_part(folder: str | Path, part: str, dtype: torch.dtype | None = None):
    """One part of a FLUX.1-Fill folder: `transformer`, `vae`, `scheduler`, or `encoders` (the pipeline without its
    transformer). Raises InputError when it is missing or does not load."""
    options = {"local_files_only": True}
    if dtype is not None:
        options |= {"dtype": dtype, "use_safetensors": True}
    try:
        if part == "encoders":
            return FluxFillPipeline.from_pretrained(str(folder), transformer=None, **options)
        return CLASSES[part].from_pretrained(str(folder), subfolder=part, **options)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"{folder}: its {part} does not load: {first_line(error, 300)}; is it a whole FLUX.1-Fill folder?"
        ) from None


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


@torch.no_grad()
def encode_picture(
    pipe: FluxFillPipeline, image: np.ndarray, mask: np.ndarray, *key: object, keep_masked_pixels: bool = False
) -> dict:
    """Tensors of a picture (H, W, 3) uint8 and its mask (H, W) bool, H and W multiples of 16, N = H / 16 * W / 16:
    latents (N, 64), masked (N, 64), mask (N, 32) uint8 bits, grid (2,).

    By the pipeline's own methods, so that training sees what painting will: `masked` is of the picture with a hole, or
    with `keep_masked_pixels` of the whole one. The VAE's posterior is sampled, as there,
    from a generator with this key.
    """
    height, width = mask.shape
    vae, generator = pipe.vae, noise.generator(*key, "posterior")
    picture = pipe.image_processor.preprocess(Image.fromarray(image), height=height, width=width)
    hole = pipe.mask_processor.preprocess(Image.fromarray(mask.astype(np.uint8) * 255), height=height, width=width)
    picture, hole = picture.to(vae.device, vae.dtype), hole.to(vae.device, vae.dtype)
    latents = vae.encode(picture).latent_dist.sample(generator)  # (1, 16, H / 8, W / 8)
    latents = (latents - vae.config.shift_factor) * vae.config.scaling_factor
    channels = vae.config.latent_channels
    size = height // pipe.vae_scale_factor, width // pipe.vae_scale_factor
    packed = FluxFillPipeline._pack_latents(latents, 1, channels, *size)
    holes, masked = pipe.prepare_mask_latents(
        hole,
        picture if keep_masked_pixels else picture * (1 - hole),
        1,
        channels,
        1,
        height,
        width,
        vae.dtype,
        vae.device,
        generator,
    )
    return {
        "latents": packed[0].cpu(),
        "masked": masked[0].cpu(),
        "mask": torch.from_numpy(np.packbits(holes[0].cpu().float().numpy() > 0.5, axis=-1)),
        "grid": torch.tensor([size[0] // 2, size[1] // 2]),
    }


@torch.no_grad()
def encode_texts(pipe: FluxFillPipeline, texts: tuple[str, str], max_sequence_length: int) -> dict:
    """Tensors of a (CLIP text, T5 text) pair: pooled (P,), prompt (max_sequence_length, D)."""
    prompt, pooled, _ = pipe.encode_prompt(
        [texts[0]], [texts[1]], device=pipe.text_encoder.device, max_sequence_length=max_sequence_length
    )
    return {"prompt": prompt[0].cpu(), "pooled": pooled[0].cpu()}


def decoded(picture: dict, texts: dict) -> Encoded:
    """The row that `encode_picture` and `encode_texts` describe."""
    mask = torch.from_numpy(np.unpackbits(picture["mask"].numpy(), axis=-1))
    grid = tuple(picture["grid"].tolist())
    return Encoded(picture["latents"], picture["masked"], mask, grid, texts["prompt"], texts["pooled"])


class Cache:
    """The rows of a dataset, encoded, in a folder; `cache[n]` is row n. `digest` stands for all of them."""

    def __init__(self, folder: str | Path, flux_fill: str | Path, source: str | Path, rows: list[Row], how: Settings):
        self.folder, self.flux_fill, self.source = Path(folder), Path(flux_fill), Path(source)
        self.rows, self.how = rows, how
        # The masks of frames of videos are roads, of which a part is painted; others are taken as they are.
        self.roads = [is_road(dataset.read_caption(self.source, row)) for row in rows]
        vae = weights_digest(self.flux_fill / "vae")
        text = [weights_digest(self.flux_fill / part) for part in TEXT_PARTS]
        files = [[sha256_file(self.source / name) for name in (row.image, row.mask)] for row in rows]
        shared = (vae, how.size, how.dtype, how.seed, how.keep_masked_pixels, MOST_TOKENS)
        regions = [tuple(how.region.model_dump().values()) if road else None for road in self.roads]
        self.pictures = [_digest(*file, *shared, region) for file, region in zip(files, regions, strict=True)]
        self.texts = [_digest(row.texts, text, how.max_sequence_length, how.dtype) for row in rows]
        self.digest = _digest(self.pictures, self.texts)
        self._texts = functools.lru_cache(64)(self._load)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def _load(self, key: str) -> dict:
        return load_file(self._file(key))

    def _write(self, key: str, tensors: dict, part: str) -> None:
        for name, tensor in tensors.items():
            check_finite(tensor, name, self.flux_fill / part, self.how.dtype, "lora.dtype: float32")
        with atomic_file(self._file(key)) as partial:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)

    def pixels(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (H, W, 3) uint8 and mask (H, W) bool of a row at training size: as the editor would cut them."""
        row = self.rows[number]
        image, mask = dataset.read_image(self.source / row.image), dataset.read_mask(self.source / row.mask)
        if self.roads[number]:
            mask = select(image, mask, self.how.region)
        region = paint_region(mask, self.how.size)
        return region.to_model(image), hole_of(region, mask)

    def fill(self, device: torch.device, process: int = 0, processes: int = 1) -> int:
        """Encode what is missing; of several processes each does its share. Returns how many files it wrote."""
        numbers = range(process, len(self.rows), processes)
        pictures = {self.pictures[n]: n for n in numbers if not self._file(self.pictures[n]).exists()}
        texts = {self.texts[n]: n for n in numbers if not self._file(self.texts[n]).exists()}
        if not pictures and not texts:
            return 0
        pipe = load_part(self.flux_fill, "encoders", getattr(torch, self.how.dtype)).to(device)
        for key, number in tqdm(pictures.items(), desc="latents", disable=None):
            keep = self.how.keep_masked_pixels
            encoded = encode_picture(pipe, *self.pixels(number), self.how.seed, key, keep_masked_pixels=keep)
            self._write(key, encoded, "vae")
        for key, number in tqdm(texts.items(), desc="prompts", disable=None):
            self._write(key, encode_texts(pipe, self.rows[number].texts, self.how.max_sequence_length), "text_encoder")
        # The memory must be free before the first step, not when the collector gets to it.
        del pipe
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return len(pictures) + len(texts)

    def prune(self) -> None:
        """Delete what belongs to rows, settings or weights of before."""
        for path in set(self.folder.glob("*.safetensors")) - {self._file(key) for key in (*self.pictures, *self.texts)}:
            path.unlink()

    def check_sizes(self) -> None:
        """Raise InputError when rows of different sizes would meet in one batch."""
        sizes = {}
        for key, row in zip(self.pictures, self.rows, strict=True):
            sizes.setdefault(tuple(self._load(key)["grid"].tolist()), row.image)
        if len(sizes) > 1:
            (one, first), (other, second) = [(f"{16 * w}x{16 * h}", name) for (h, w), name in sizes.items()][:2]
            raise InputError(
                f"{self.source}: {first} is {one} and {second} is {other} in training; "
                "a batch needs one size: set lora.height and lora.width, or lora.train_batch_size to 1"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> Encoded:
        return decoded(self._load(self.pictures[number]), self._texts(self.texts[number]))
