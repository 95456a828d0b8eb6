"""Attention of Qwen's vision towers, whose pictures are cut into windows: all windows of a size at once.

Stock transformers attend window by window where the flash-attn library is not installed: 84 small products a layer for
a picture of 1280x720, and a GPU waits for each to be launched. The products here are the same.
"""

import functools
import itertools

import torch
import torch.nn.functional as F
from transformers import AttentionInterface, PreTrainedModel

# Only to an implementation with "flash" in its name does transformers hand all windows together.
NAME = "flash_windows_by_sdpa"


def use(vision: PreTrainedModel) -> None:
    """Let a vision tower (of Qwen2.5-VL or Qwen3-VL) attend to all its windows of a size at once."""
    AttentionInterface.register(NAME, attend)
    # Not by its setter, which takes the name for a library to fetch.
    vision.config._attn_implementation = NAME


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: torch.Tensor,
    scaling: float,
    **ignored: object,
) -> tuple[torch.Tensor, None]:
    """Attention within each window: query, key, value (1, heads, N, D) to (1, N, heads, D).

    `cu_seq_lens_q` (windows + 1,) int: where each window begins, and the end. The form is transformers' own
    (AttentionInterface).
    """
    out = torch.empty_like(query)
    for tokens in _by_size(tuple(cu_seq_lens_q.tolist()), query.device):
        windows = [part[0][:, tokens].transpose(0, 1) for part in (query, key, value)]  # (windows, heads, size, D)
        out[0][:, tokens] = F.scaled_dot_product_attention(*windows, scale=scaling).transpose(0, 1)
    return out.transpose(1, 2), None


@functools.lru_cache(16)
def _by_size(bounds: tuple[int, ...], device: torch.device) -> list[torch.Tensor]:
    """For each size of window the tokens of all windows that have it, (windows, size) int64."""
    starts: dict[int, list[int]] = {}
    for start, stop in itertools.pairwise(bounds):
        if stop > start:
            starts.setdefault(stop - start, []).append(start)
    return [torch.tensor(first)[:, None].add(torch.arange(size)).to(device) for size, first in starts.items()]
