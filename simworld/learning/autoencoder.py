"""Autoencoders for road pictures and road video: what they are trained on, and the first one blown up to the second.

The lines are a small part of a picture and all of this project, so their error weighs more than the rest's.
"""

from typing import Any

import torch
import torch.nn.functional as F

from relane.prompts.lanes import Attributes

LINES = 4.0  # a line's error weighs 1 + LINES
KL = 2e-4


def line_weight(marking: torch.Tensor) -> torch.Tensor:
    """Weights (N, 1, H, W) float32 of a marking mask (N, H, W) bool: the paint and a pixel around it count more."""
    return 1 + LINES * F.max_pool2d(marking[:, None].float(), 3, 1, 1)


def error(made: torch.Tensor, true: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """L1 of values and of their differences to the right and down, weighted; all (..., H, W), made in any dtype."""
    off = made.float() - true
    across = (weight[..., 1:] * (off[..., 1:] - off[..., :-1]).abs()).mean()
    down = (weight[..., 1:, :] * (off[..., 1:, :] - off[..., :-1, :]).abs()).mean()
    return (weight * off.abs()).mean() + 0.5 * (across + down)


def loss(vae: Any, x: torch.Tensor, weight: torch.Tensor, autocast) -> tuple[torch.Tensor, dict]:
    """Reconstruction and a little KL: x (N, 3[, T], H, W) float32 in [-1, 1], weight broadcast over it."""
    with autocast:
        posterior = vae.encode(x).latent_dist
        mean, log_variance = posterior.mean.float(), posterior.logvar.float().clamp(-30, 20)
        made = vae.decode(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)).sample
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    total = error(made, x, weight) + KL * kl
    return total, {"l1": (made.detach().float() - x).abs().mean(), "kl": kl.detach()}


def inflate(flat: dict[str, torch.Tensor], video: torch.nn.Module) -> None:
    """Put a 2D autoencoder's weights into CogVideoX's 3D one of the same widths, which then repeats it frame by frame.

    A kernel lies on the last of its taps in time, the present frame (convolutions are causal). The decoder's norms are
    modulated by the latents: factor 1, offset 0.
    """
    state = video.state_dict()
    for name, value in state.items():
        if "conv_y.conv" in name or "conv_b.conv" in name:
            state[name] = torch.full_like(value, float("conv_y" in name and name.endswith("bias")))
            continue
        state[name] = _over_time(flat[_flat_name(name)], value)
    video.load_state_dict(state)


def _flat_name(name: str) -> str:
    for conv in ("conv1", "conv2", "conv_in", "conv_out", "conv_shortcut"):
        name = name.replace(f"{conv}.conv.", f"{conv}.")
    return name.replace("norm_layer.", "").replace("norm_out", "conv_norm_out")


def _over_time(weight: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    if weight.ndim != 4 or like.ndim != 5:
        return weight.clone()
    kernel = torch.zeros_like(like)
    kernel[:, :, -1] = weight
    return kernel


def prompt_of(attributes: Attributes, drop: int | None = None) -> str:
    """The caption of these attributes; with `drop` (0 to 2) one of them is left out, as where nobody asked for it."""
    words = [attributes.count, attributes.color, attributes.pattern]
    if drop is not None:
        del words[drop]
    return f"road with {' '.join(words)} lane markings"
