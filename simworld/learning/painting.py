"""FLUX Fill learns to repaint lane lines: flow matching on the latents of true re-renders.

The model sees a hole where it paints, as the released one did: never the old picture under it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL, FluxFillPipeline, FluxTransformer2DModel

from simworld.learning.autoencoder import line_weight, prompt_of
from simworld.learning.pictures import ALL, PAINT_SIZE
from simworld.tiny import text

TEXT_TOKENS = 16  # what the demo passes as max_sequence_length
MASKED = 4.0  # a masked token weighs this much more than another
GUIDANCE = 30.0  # FLUX Fill's default; most of the training is at it
GRID = (PAINT_SIZE[0] // 16, PAINT_SIZE[1] // 16)


def unit(images: torch.Tensor) -> torch.Tensor:
    """(N, h, w, 3) uint8 to (N, 3, h, w) float32 in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def batches(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` over `count`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


class Pictures:
    """The rendered moments on the training device."""

    def __init__(self, rows: dict[str, np.ndarray], device: torch.device) -> None:
        """rows: as `simworld.learning.pictures.painted_moments` gives them, joined."""
        as_tensor = {name: torch.from_numpy(np.ascontiguousarray(values)).to(device) for name, values in rows.items()}
        self.source, self.target = as_tensor["source"], as_tensor["target"].flatten(0, 1)
        self.marking, self.asked = as_tensor["marking"].flatten(0, 1), as_tensor["asked"].flatten()
        self.masks = torch.stack([as_tensor["corridor"], as_tensor["road"]])  # (2, M, h, w)
        self.each = len(self.target) // len(self.source)
        self.device = device

    def batch(self, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Pictures for the autoencoder (B, 3, h, w), a quarter of them with a hole, and the weights of their error."""
        chosen = torch.randint(len(self.target), (size,), device=self.device)
        x, weight = unit(self.target[chosen]), line_weight(self.marking[chosen])
        kind = torch.randint(2, (size,), device=self.device)
        hole = self.masks[kind, chosen // self.each][:, None]
        cut = torch.rand(size, 1, 1, 1, device=self.device) < 0.25
        return torch.where(cut & hole, 0.0, x), torch.where(cut, 1.0, weight)


def transformer(seed: int) -> FluxTransformer2DModel:
    """The transformer that learns: 2 double and 5 single blocks, 4 heads of 32, 2.4 million parameters."""
    with text.seeded(seed):
        return FluxTransformer2DModel(
            patch_size=1,
            in_channels=384,
            out_channels=64,
            num_layers=2,
            num_single_layers=5,
            attention_head_dim=32,
            num_attention_heads=4,
            joint_attention_dim=64,
            pooled_projection_dim=64,
            guidance_embeds=True,
            axes_dims_rope=(4, 14, 14),
        )


def pack(latents: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) to (N, h/2 w/2, 4 C), as the pipeline packs."""
    return FluxFillPipeline._pack_latents(latents, *latents.shape)


def pack_mask(mask: torch.Tensor) -> torch.Tensor:
    """Pixel mask (N, H, W) bool to (N, H/16 W/16, 256) float16: its 8x8 pixels as channels, then packed."""
    count, height, width = mask.shape
    cells = mask.view(count, height // 8, 8, width // 8, 8).permute(0, 2, 4, 1, 3)
    return pack(cells.reshape(count, 64, height // 8, width // 8)).half()


@torch.no_grad()
def measure(vae: AutoencoderKL, data: Pictures) -> tuple[float, float]:
    """Mean and deviation of latents: FLUX's shift and 1 / scale, which the checkpoint's config holds."""
    chosen = torch.linspace(0, len(data.target) - 1, min(512, len(data.target))).long()
    parts = [vae.encode(unit(data.target[chosen[part]])).latent_dist.mean for part in batches(len(chosen), 128)]
    latents = torch.cat(parts)
    return latents.mean().item(), latents.std().item()


@dataclass
class Latents:
    """Packed, scaled latents in float16: targets (N, G, 64), sources with the corridor or the road cut
    out (2, M, G, 64), masks (2, M, G, 256); and what each target shows (N,)."""

    target: torch.Tensor
    holed: torch.Tensor
    masks: torch.Tensor
    asked: torch.Tensor
    each: int


@torch.no_grad()
def encode(vae: AutoencoderKL, data: Pictures) -> Latents:
    """All pictures through the autoencoder, once."""

    def latents(images: torch.Tensor, masks: torch.Tensor | None = None) -> torch.Tensor:
        parts = []
        for part in batches(len(images), 128):
            x = unit(images[part])
            x = x if masks is None else torch.where(masks[part][:, None], 0.0, x)
            z = vae.encode(x).latent_dist.mean
            parts.append(pack((z - vae.config.shift_factor) * vae.config.scaling_factor).half())
        return torch.cat(parts)

    return Latents(
        latents(data.target),
        torch.stack([latents(data.source, masks) for masks in data.masks]),
        torch.stack([pack_mask(masks) for masks in data.masks]),
        data.asked,
        data.each,
    )


class Prompts:
    """Embeddings of every caption: (8, 4) of attributes and what is left out (nothing, or one of the three)."""

    @torch.no_grad()
    def __init__(self, pipeline: FluxFillPipeline, device: torch.device) -> None:
        """pipeline: with tokenizers and text encoders."""
        captions = [prompt_of(attributes, drop) for attributes in ALL for drop in (None, 0, 1, 2)]
        prompt, pooled, _ = pipeline.encode_prompt(captions, None, max_sequence_length=TEXT_TOKENS)
        self.prompt, self.pooled = (part.unflatten(0, (len(ALL), 4)).to(device) for part in (prompt, pooled))


def loss(net: FluxTransformer2DModel, data: Latents, prompts: Prompts, size: int, autocast):
    """Loss of a random batch and figures."""
    device = data.target.device
    chosen = torch.randint(len(data.target), (size,), device=device)
    moment, kind = chosen // data.each, (torch.rand(size, device=device) < 0.2).long()
    clean = data.target[chosen].float()
    seen = data.holed[kind, moment].float()  # as the released model: it never saw what lies under the mask
    mask = data.masks[kind, moment].float()
    level = torch.sigmoid(torch.randn(size, device=device) + 0.3)
    level = torch.where(torch.rand(size, device=device) < 0.15, torch.rand(size, device=device), level).clamp(0.002, 1)
    noise = torch.randn_like(clean)
    noisy = (1 - level[:, None, None]) * clean + level[:, None, None] * noise
    drop = torch.where(torch.rand(size, device=device) < 0.9, 0, torch.randint(1, 4, (size,), device=device))
    guidance = torch.where(torch.rand(size, device=device) < 0.6, GUIDANCE, 1 + 49 * torch.rand(size, device=device))
    asked = data.asked[chosen]
    with autocast:
        velocity = net(
            hidden_states=torch.cat([noisy, seen, mask], 2),
            timestep=level,
            guidance=guidance,
            pooled_projections=prompts.pooled[asked, drop],
            encoder_hidden_states=prompts.prompt[asked, drop],
            txt_ids=torch.zeros(TEXT_TOKENS, 3, device=device),
            img_ids=FluxFillPipeline._prepare_latent_image_ids(size, *GRID, device, torch.float32),
            return_dict=False,
        )[0].float()
    off = (velocity - (noise - clean)).square().mean(-1)
    weight = 1 + MASKED * (mask.mean(-1) > 0.02)
    total = (off * weight).sum() / weight.sum()
    masked = (mask.mean(-1) > 0.02).float()
    return total, {"masked": ((off * masked).sum() / masked.sum()).detach()}
