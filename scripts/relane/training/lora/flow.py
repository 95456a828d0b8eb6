"""Flow matching on FLUX Fill's inputs: noise levels, what the transformer reads, and the loss.

Rectified flow (Liu et al. 2023, arXiv:2209.03003): x_s = (1 - s) x_0 + s n, and the model learns the velocity n - x_0.
Noise levels s are the scheduler's own sigmas, at logit-normal times (Esser et al. 2024, arXiv:2403.03206).
"""

from dataclasses import dataclass

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline, FluxTransformer2DModel
from diffusers.training_utils import compute_density_for_timestep_sampling

from relane import noise


@dataclass
class Encoded:
    """One row, encoded. N is the number of 16x16-pixel tokens, L of text tokens.

    latents: (N, 64) of the picture. masked: (N, 64) of the picture with the mask painted out (0, mid-grey).
    mask: (N, 256) 0 or 1, the mask's pixels. grid: tokens down and across. prompt: (L, D) of T5. pooled: (P,) of CLIP.
    """

    latents: torch.Tensor
    masked: torch.Tensor
    mask: torch.Tensor
    grid: tuple[int, int]
    prompt: torch.Tensor
    pooled: torch.Tensor


@dataclass
class Draw:
    """What chance decides for one row at one time: the noise (N, 64) float32, and the noise level's place (0 to 1)."""

    noise: torch.Tensor
    place: float


def draw(shape: torch.Size, logit_mean: float, logit_std: float, *key: object) -> Draw:
    """Noise and a logit-normal time, from a generator of their own: no resume and no number of GPUs changes them."""
    generator = noise.generator(*key)
    place = compute_density_for_timestep_sampling("logit_normal", 1, logit_mean, logit_std, generator=generator)
    return Draw(torch.randn(shape, generator=generator), float(place))


def noise_level(scheduler: FlowMatchEulerDiscreteScheduler, place: float) -> float:
    """The scheduler's sigma at a place from 0 (all noise) to 1, as its training table lists them."""
    table = scheduler.sigmas
    return float(table[min(int(place * len(table)), len(table) - 1)])


def loss(
    transformer: FluxTransformer2DModel,
    scheduler: FlowMatchEulerDiscreteScheduler,
    rows: list[Encoded],
    draws: list[Draw],
    guidance_scale: float,
    masked_weight: float,
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The mean loss of a batch of rows of one size, a scalar float32.

    Squared error of the velocity, the mean over channels and over tokens; a token whose share m of pixels is masked
    weighs 1 + (masked_weight - 1) m, so 1 is the loss over all and more looks harder at what is repainted.
    """
    levels = torch.tensor([noise_level(scheduler, one.place) for one in draws], device=device)
    clean = torch.stack([row.latents for row in rows]).to(device, torch.float32)
    noises = torch.stack([one.noise for one in draws]).to(device)
    mask = torch.stack([row.mask for row in rows]).to(device, torch.float32)
    masked = torch.stack([row.masked for row in rows]).to(device, torch.float32)
    s = levels[:, None, None]
    noisy = (1 - s) * clean + s * noises  # (B, N, 64)
    prompt = torch.stack([row.prompt for row in rows]).to(device, dtype)
    grid = rows[0].grid
    velocity = transformer(
        hidden_states=torch.cat((noisy, masked, mask), dim=2).to(dtype),  # (B, N, 64 + 64 + 256)
        timestep=levels.to(dtype),
        guidance=torch.full((len(rows),), guidance_scale, device=device) if _guided(transformer) else None,
        pooled_projections=torch.stack([row.pooled for row in rows]).to(device, dtype),
        encoder_hidden_states=prompt,
        txt_ids=torch.zeros(prompt.shape[1], 3, device=device, dtype=dtype),
        img_ids=FluxFillPipeline._prepare_latent_image_ids(len(rows), *grid, device, dtype),
        return_dict=False,
    )[0]
    error = (velocity.float() - (noises - clean)).square().mean(2)  # (B, N)
    weight = 1 + (masked_weight - 1) * mask.mean(2)
    return ((error * weight).sum(1) / weight.sum(1)).mean()


def _guided(transformer: torch.nn.Module) -> bool:
    # Under several processes the model is wrapped, and the wrapper has no config.
    return getattr(transformer, "module", transformer).config.guidance_embeds
