"""The parts of the model with the checkpoint's own tensor names: VLM, expert, action projections, action statistics."""

import copy
import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers import Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from relane.drivers.alpamayo.config import PolicyConfig
from relane.errors import InputError

if TYPE_CHECKING:
    from transformers import Qwen3VLConfig


class FourierFeatures(nn.Module):
    """sqrt(2) [sin, cos](2 pi f x) of one number, at `count`/2 frequencies, logarithmic from 1 to `max_freq`."""

    def __init__(self, count: int, max_freq: float) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.logspace(0, math.log10(max_freq), count // 2)[None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(...) float32 -> (..., count) float32: at 2 pi 100 x, fewer bits would be noise."""
        # In this order: at angles up to 2,500 rad the other one differs by 1e-4.
        angle = x[..., None].float() * self.freqs[0] * 2 * math.pi
        return math.sqrt(2) * torch.cat([angle.sin(), angle.cos()], dim=-1)


class Trunk(nn.Module):
    """Linear, SiLU, then (RMSNorm, Linear, SiLU) for every further layer, then RMSNorm, Linear."""

    def __init__(self, inputs: int, hidden: int, layers: int, outputs: int) -> None:
        super().__init__()
        steps: list[nn.Module] = [nn.Linear(inputs, hidden), nn.SiLU()]
        for _ in range(layers - 1):
            steps += [nn.RMSNorm(hidden, eps=1e-5), nn.Linear(hidden, hidden), nn.SiLU()]
        self.trunk = nn.Sequential(*steps, nn.RMSNorm(hidden, eps=1e-5), nn.Linear(hidden, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) -> (..., outputs)."""
        return self.trunk(x)


class ActionInProj(nn.Module):
    """Noisy actions and flow time to the expert's input embeddings, waypoint by waypoint."""

    def __init__(self, config: PolicyConfig, outputs: int) -> None:
        super().__init__()
        channels = [FourierFeatures(config.in_features, config.in_max_freq) for _ in range(2)]
        self.sinus = nn.ModuleList(channels)
        self.timestep_fourier_encoder = FourierFeatures(config.in_features, config.in_max_freq)
        self.encoder = Trunk(3 * config.in_features, config.in_hidden, config.in_layers, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """x (rows, T, 2) normalised actions, t (rows,) in 0..1 -> (rows, T, expert hidden) in the model's dtype."""
        time = self.timestep_fourier_encoder(t)[:, None].expand(-1, x.shape[1], -1)
        features = torch.cat([self.sinus[0](x[..., 0]), self.sinus[1](x[..., 1]), time], dim=-1)
        return self.norm(self.encoder(features.to(self.norm.weight.dtype)))


class ActionStatistics(nn.Module):
    """Mean and standard deviation by which actions are normalised: acceleration m/s2, curvature 1/m."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__()
        for name in ("accel_mean", "accel_std", "curvature_mean", "curvature_std"):
            self.register_buffer(name, torch.tensor(getattr(config, name), dtype=torch.float32))


class AlpamayoNetwork(nn.Module):
    """All parts; `state_dict()` has the names of the published checkpoints."""

    def __init__(self, config: PolicyConfig, vlm_config: "Qwen3VLConfig") -> None:
        super().__init__()
        vlm_config = copy.deepcopy(vlm_config)
        vlm_config.text_config.vocab_size = config.vocab_size
        # Attention by sdpa for all parts: flash attention takes no 4D mask, which the expert needs.
        vlm_config._attn_implementation = "sdpa"
        self.vlm = Qwen3VLForConditionalGeneration(vlm_config)
        expert_config = _expert_config(vlm_config.text_config, config.expert)
        self.expert = Qwen3VLTextModel(expert_config)
        # The expert reads embedded actions, never token ids; checkpoints hold no embedding for it.
        del self.expert.embed_tokens
        self.action_in_proj = ActionInProj(config, expert_config.hidden_size)
        self.action_out_proj = nn.Linear(expert_config.hidden_size, 2)
        self.action_space = ActionStatistics(config)


def _expert_config(text_config, changes: dict):
    expert = copy.deepcopy(text_config)
    for key, value in changes.items():
        if not hasattr(expert, key):
            raise InputError(
                f"config.json: expert_cfg.{key} is nothing that a Qwen3-VL text model has; is it misspelt?"
            )
        setattr(expert, key, value)
    # The expert continues the VLM's key-value cache, layer by layer: these must be the same numbers.
    for key in ("num_hidden_layers", "num_key_value_heads", "head_dim"):
        if getattr(expert, key) != getattr(text_config, key):
            raise InputError(
                f"config.json: expert_cfg.{key} is {getattr(expert, key)}, the language model has "
                f"{getattr(text_config, key)}; the expert cannot read its cache"
            )
    return expert
