"""The path half of a rollout: the expert on the VLM's cache, and flow matching from noise to actions."""

import itertools
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from relane.drivers.alpamayo.networks import AlpamayoNetwork


@dataclass(frozen=True)
class Prefix:
    """What the expert attends to: the cache, where each row ends in it (rows,), and the rope offset (rows, 1).

    `visible` (rows,): how much of the cache a row may see, where that is less than up to its end.
    """

    cache: DynamicCache
    end_offset: torch.Tensor
    rope_delta: torch.Tensor
    visible: torch.Tensor | None = None


def expert_positions(prefix: Prefix, waypoints: int) -> torch.Tensor:
    """(3, rows, waypoints) int64: they follow the row's end, the same on all three M-RoPE axes."""
    start = prefix.end_offset[:, None] + prefix.rope_delta
    return (start + torch.arange(waypoints, device=start.device)).expand(3, -1, -1)


def expert_mask(prefix: Prefix, waypoints: int, dtype: torch.dtype) -> torch.Tensor:
    """Additive mask (rows, 1, waypoints, cached + waypoints): what lies behind a row's end is hidden, nothing else.

    The waypoints see each other in both directions.
    """
    cached = prefix.cache.get_seq_length()
    visible = prefix.end_offset if prefix.visible is None else prefix.visible
    hidden = torch.arange(cached, device=visible.device) >= visible[:, None]
    hidden = torch.cat([hidden, hidden.new_zeros(len(hidden), waypoints)], dim=1)
    mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
    mask.masked_fill_(hidden, torch.finfo(dtype).min)
    return mask[:, None, None].expand(-1, 1, waypoints, -1)


class Expert:
    """Velocity of the flow at (x, t) over one prefix; positions and mask are computed once."""

    def __init__(self, network: AlpamayoNetwork, prefix: Prefix, waypoints: int) -> None:
        self.network, self.prefix = network, prefix
        self.positions = expert_positions(prefix, waypoints)
        self.mask = expert_mask(prefix, waypoints, network.action_out_proj.weight.dtype)

    def hidden(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Expert output (rows, T, hidden) for x (rows, T, 2) float32 at t (rows,) float32."""
        out = self.network.expert(
            inputs_embeds=self.network.action_in_proj(x, t),
            attention_mask=self.mask,
            position_ids=self.positions,
            past_key_values=self.prefix.cache,
            use_cache=True,
        )
        # The expert has written its own keys behind the prefix: take them off again.
        self.prefix.cache.crop(-x.shape[1])
        return out.last_hidden_state

    def velocity(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """dx/dt (rows, T, 2) float32."""
        return self.network.action_out_proj(self.hidden(x, t)).float()


def denoise(expert: Expert, noise: torch.Tensor, steps: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Euler steps from noise (t = 0) to actions (t = 1), the velocity taken at the start of each step.

    Returns states (rows, steps + 1, T, 2), velocities (rows, steps, T, 2) and times (steps + 1,), float32.
    """
    times = torch.linspace(0, 1, steps + 1, device=noise.device)
    x = noise
    states, velocities = [x], []
    for now, then in itertools.pairwise(times):
        velocity = expert.velocity(x, now.expand(len(x)))
        x = x + (then - now) * velocity
        states.append(x)
        velocities.append(velocity)
    return torch.stack(states, dim=1), torch.stack(velocities, dim=1), times
