"""Qwen's vision towers on many pictures of one size: the same arithmetic as transformers', without its Python loops.

transformers attends picture by picture outside flash attention, and works out positions picture by picture. With
hundreds of equal pictures a step that is most of the time of training.
"""

import functools
import importlib

import torch
import torch.nn.functional as F
from torch import nn
from transformers import vision_utils


def patches(images: torch.Tensor, patch: int, mean: list[float], std: list[float]) -> torch.Tensor:
    """Pictures (N, H, W, 3) uint8 to `pixel_values` (N patches, 3 x 2 x patch x patch) as Qwen's processors lay them
    out: blocks of 2 x 2 patches, each picture doubled in time. H and W are multiples of twice the patch."""
    count, height, width, _ = images.shape
    x = images.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.as_tensor(value, device=x.device)[:, None, None] for value in (mean, std))
    x = (x - mean) / std
    x = x.reshape(count, 3, height // patch // 2, 2, patch, width // patch // 2, 2, patch)
    x = x.permute(0, 2, 5, 3, 6, 1, 4, 7)  # picture, block row and column, patch row and column, channel, y, x
    x = x[:, :, :, :, :, :, None].expand(-1, -1, -1, -1, -1, -1, 2, -1, -1)
    return x.reshape(count * (height // patch) * (width // patch), -1)


class OneSize:
    """Runs a vision tower on pictures that all have the grid `grid` (h, w in patches). All blocks must attend fully.

    Use `with OneSize(visual, (h, w), count):` around the model's forward pass.
    """

    def __init__(self, visual: nn.Module, grid: tuple[int, int], count: int) -> None:
        self.visual, self.count = visual, count
        device = next(visual.parameters()).device
        one, merge = torch.tensor([[1, *grid]]), visual.config.spatial_merge_size
        length = grid[0] * grid[1]
        ready = {"position_ids": vision_utils.get_vision_position_ids(one, merge).repeat(count, 1)}
        ready["cu_seqlens"] = torch.arange(count + 1, dtype=torch.int32) * length
        if hasattr(visual, "pos_embed"):
            index, weights = vision_utils.get_vision_interpolation_indices_and_weights(
                one,
                num_grid_per_side=visual.num_grid_per_side,
                mode="bilinear",
                align_corners=True,
                spatial_merge_size=merge,
            )
            ready |= {"interp_indices": index.repeat(count, 1), "interp_weights": weights.repeat(count, 1)}
        else:
            ready["window_index"] = torch.arange(count * length // merge**2)
            ready["cu_window_seqlens"] = ready["cu_seqlens"]
        self.ready = {name: value.to(device) for name, value in ready.items()}
        self.rotate = importlib.import_module(type(visual).__module__).apply_rotary_pos_emb_vision

    def __enter__(self) -> None:
        self.visual.forward = functools.partial(type(self.visual).forward, self.visual, **self.ready)
        # A convolution whose kernel is the whole patch is a matrix product; as a convolution it is far slower.
        self.visual.patch_embed.forward = self._embed
        for block in self.visual.blocks:
            block.attn.forward = functools.partial(self._attend, block.attn)

    def __exit__(self, *_: object) -> None:
        del self.visual.forward, self.visual.patch_embed.forward
        for block in self.visual.blocks:
            del block.attn.forward

    def _embed(self, pixels: torch.Tensor) -> torch.Tensor:
        proj = self.visual.patch_embed.proj
        return F.linear(pixels, proj.weight.flatten(1), proj.bias)

    def _attend(self, attention: nn.Module, hidden_states, *_, position_embeddings=None, **__) -> torch.Tensor:
        total = len(hidden_states)
        parts = attention.qkv(hidden_states).reshape(total, 3, attention.num_heads, -1).permute(1, 0, 2, 3)
        query, key = self.rotate(parts[0], parts[1], *position_embeddings)
        each = [
            x.reshape(self.count, total // self.count, *x.shape[1:]).transpose(1, 2) for x in (query, key, parts[2])
        ]
        out = F.scaled_dot_product_attention(*each)
        return attention.proj(out.transpose(1, 2).reshape(total, -1))
