"""The language half of a rollout: the prompt into the VLM's key-value cache, then words until the path begins."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import DynamicCache, Qwen3VLForConditionalGeneration


@dataclass(frozen=True)
class Prompt:
    """What the VLM reads: B scenes of equal length.

    `input_ids` and `mm_token_type_ids` (B, L) int64 with image pads expanded and history tokens in place, the second
    1 at image pads; `pixel_values` (patches, 3*2*16*16) float32 and `image_grid_thw` (B*N, 3) int64, scene-major.
    """

    input_ids: torch.Tensor
    mm_token_type_ids: torch.Tensor
    pixel_values: torch.Tensor
    image_grid_thw: torch.Tensor

    def to(self, device: torch.device) -> "Prompt":
        """The same on another device."""
        return Prompt(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Vocabulary:
    """Ids with a meaning for generation: `stop` opens the path, `eos` ends a row early, `pad` follows an ended row."""

    stop: int
    eos: frozenset[int]
    pad: int


@dataclass(frozen=True)
class Reply:
    """What was written, and the cache that the expert continues.

    `raw` (rows, G) int64 as chosen; `tokens` the same with everything behind the first stop token set to pad;
    `complete` (rows,) bool: a stop token was written; `end_offset` (rows,) int64: position behind the stop token, or
    the full length for an incomplete row, which therefore lets the expert see its pads (the original does so);
    `rope_delta` (rows, 1) int64. The newest token is not in the cache: its length is prompt + G - 1.
    """

    raw: torch.Tensor
    tokens: torch.Tensor
    complete: torch.Tensor
    end_offset: torch.Tensor
    rope_delta: torch.Tensor
    cache: DynamicCache


def rope_index(vlm: Qwen3VLForConditionalGeneration, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
    """M-RoPE ids (3, B, L) of a prompt, and the offset (B, 1) from cache position to M-RoPE id after it."""
    return vlm.model.get_rope_index(prompt.input_ids, prompt.mm_token_type_ids, image_grid_thw=prompt.image_grid_thw)


def prefill(
    vlm: Qwen3VLForConditionalGeneration, prompt: Prompt, samples: int
) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
    """Read the prompt once per scene, then repeat the cache for the samples.

    Returns the last position's logits (B*samples, V), the cache of B*samples rows and the rope offsets (rows, 1).
    """
    position_ids, delta = rope_index(vlm, prompt)
    cache = DynamicCache(config=vlm.config.text_config)
    out = vlm(
        input_ids=prompt.input_ids,
        pixel_values=prompt.pixel_values,
        image_grid_thw=prompt.image_grid_thw,
        position_ids=position_ids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    if samples > 1:
        cache.batch_repeat_interleave(samples)
    return out.logits[:, -1].repeat_interleave(samples, 0), cache, delta.repeat_interleave(samples, 0)


def write_reply(
    vlm: Qwen3VLForConditionalGeneration,
    prompt: Prompt,
    samples: int,
    choose: Callable[[int, torch.Tensor], torch.Tensor],
    limit: int,
    vocabulary: Vocabulary,
    forced: torch.Tensor | None = None,
) -> Reply:
    """Write the reasoning of all rows together, token by token.

    `choose(step, logits)` picks the next token of every row. It ends one step after every row has written the stop
    token (so that this token is in the cache), when every row has written eos, or at `limit`. Rows that are done go
    on: their tail is hidden from the expert later. `forced` (rows, G) replaces the choice by given tokens and runs
    exactly G steps, through the same arithmetic as if they had been chosen.
    """
    logits, cache, delta = prefill(vlm, prompt, samples)
    rows, length = len(logits), prompt.input_ids.shape[1]
    limit = limit if forced is None else forced.shape[1]
    stopped = torch.zeros(rows, dtype=torch.bool, device=logits.device)
    ended = torch.zeros_like(stopped)
    eos = torch.tensor(sorted(vocabulary.eos), device=logits.device)
    chosen: list[torch.Tensor] = []
    for step in range(limit):
        if forced is None:
            token = torch.where(ended, vocabulary.pad, choose(step, logits))
        else:
            token = forced[:, step].to(logits.device)
        chosen.append(token)
        all_stopped_before = bool(stopped.all())
        stopped |= token == vocabulary.stop
        ended |= torch.isin(token, eos)
        if step + 1 == limit or (forced is None and (all_stopped_before or bool(ended.all()))):
            break
        positions = (length + step + delta).expand(3, rows, 1)
        out = vlm(input_ids=token[:, None], position_ids=positions, past_key_values=cache, use_cache=True)
        logits = out.logits[:, -1]
    return _finish(torch.stack(chosen, dim=1), length, delta, cache, vocabulary)


def _finish(raw: torch.Tensor, length: int, delta: torch.Tensor, cache: DynamicCache, vocabulary: Vocabulary) -> Reply:
    is_stop = raw == vocabulary.stop
    complete = is_stop.any(dim=1)
    first = is_stop.int().argmax(dim=1)
    behind = torch.arange(raw.shape[1], device=raw.device) > first[:, None]
    tokens = torch.where(behind & complete[:, None], vocabulary.pad, raw)
    end = torch.where(complete, length + first + 1, length + raw.shape[1])
    return Reply(raw, tokens, complete, end, delta, cache)
