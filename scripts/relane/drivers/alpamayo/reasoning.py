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
    where its scene ended for an incomplete row, which therefore lets the expert see its pads (the original does so);
    `rope_delta` (rows, 1) int64. The newest token is not in the cache: its length is prompt + G - 1. `visible` (rows,)
    int64: how much of the cache the expert may see.
    """

    raw: torch.Tensor
    tokens: torch.Tensor
    complete: torch.Tensor
    end_offset: torch.Tensor
    rope_delta: torch.Tensor
    cache: DynamicCache
    visible: torch.Tensor


def rope_index(vlm: Qwen3VLForConditionalGeneration, prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
    """M-RoPE ids (3, B, L) of a prompt, and the offset (B, 1) from cache position to M-RoPE id after it."""
    return vlm.model.get_rope_index(prompt.input_ids, prompt.mm_token_type_ids, image_grid_thw=prompt.image_grid_thw)


def prefill(
    vlm: Qwen3VLForConditionalGeneration, prompt: Prompt, samples: int
) -> tuple[torch.Tensor, DynamicCache, torch.Tensor]:
    """Read the prompt once per scene, and what all scenes begin with only once; then repeat the cache for the samples.

    Returns the last position's logits (B*samples, V), the cache of B*samples rows and the rope offsets (rows, 1).
    """
    position_ids, delta = rope_index(vlm, prompt)
    cache = DynamicCache(config=vlm.config.text_config)
    scenes, length = prompt.input_ids.shape
    shared = shared_length(prompt) if scenes > 1 else 0
    if shared:
        _read(vlm, _part(prompt, 1, 0, shared), position_ids[:, :1, :shared], cache)
        cache.batch_repeat_interleave(scenes)
    out = _read(vlm, _part(prompt, scenes, shared, length), position_ids[:, :, shared:], cache)
    if samples > 1:
        cache.batch_repeat_interleave(samples)
    return out.logits[:, -1].repeat_interleave(samples, 0), cache, delta.repeat_interleave(samples, 0)


def _read(vlm: Qwen3VLForConditionalGeneration, part: Prompt, position_ids: torch.Tensor, cache: DynamicCache):
    images = {}
    if len(part.image_grid_thw):
        images = {"pixel_values": part.pixel_values, "image_grid_thw": part.image_grid_thw}
    return vlm(
        input_ids=part.input_ids,
        position_ids=position_ids,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
        **images,
    )


def shared_length(prompt: Prompt) -> int:
    """How many tokens all scenes begin with alike: equal words, and images of equal pixels, each of them whole.

    Attention is causal, so what the model keeps of these tokens is the same in every scene. The last token is never
    counted: it must be read to say what follows. For arms of one clip these are the cameras before the edited one.
    """
    scenes, length = prompt.input_ids.shape
    equal = (prompt.input_ids == prompt.input_ids[:1]).all(dim=0)
    shared = int(equal.int().cumprod(dim=0).sum().clamp(max=length - 1))
    grid = prompt.image_grid_thw.reshape(scenes, -1, 3)
    if not (grid == grid[:1]).all():
        return 0
    counts = grid[0].prod(dim=-1).tolist()
    pictures = prompt.pixel_values.reshape(scenes, sum(counts), -1)
    starts = image_starts(prompt)
    for start, one in zip(starts, pictures.split(counts, dim=1), strict=True):
        if start >= shared or not torch.equal(one, one[:1].expand_as(one)):
            return min(shared, start)
    return shared


def image_starts(prompt: Prompt) -> list[int]:
    """Where each image of the first scene begins in `input_ids`."""
    pads = prompt.mm_token_type_ids[0] == 1
    begins = pads & ~torch.cat([pads.new_zeros(1), pads[:-1]])
    return begins.nonzero()[:, 0].tolist()


def _part(prompt: Prompt, scenes: int, start: int, stop: int) -> Prompt:
    """The first `scenes` scenes from token `start` to `stop`, with the images that begin there."""
    if (start, stop) == (0, prompt.input_ids.shape[1]):
        return prompt
    every = len(prompt.input_ids)
    grid = prompt.image_grid_thw.reshape(every, -1, 3)
    kept = [number for number, begin in enumerate(image_starts(prompt)) if start <= begin < stop]
    counts = grid[0].prod(dim=-1).tolist()
    pictures = prompt.pixel_values.reshape(every, sum(counts), -1).split(counts, dim=1)
    width = prompt.pixel_values.shape[-1]
    pixels = torch.cat([pictures[number][:scenes] for number in kept], dim=1) if kept else prompt.pixel_values[None, :0]
    return Prompt(
        prompt.input_ids[:scenes, start:stop],
        prompt.mm_token_type_ids[:scenes, start:stop],
        pixels.reshape(-1, width),
        grid[:scenes, kept].reshape(-1, 3),
    )


def write_reply(
    vlm: Qwen3VLForConditionalGeneration,
    prompt: Prompt,
    samples: int,
    choose: Callable[[int, torch.Tensor], torch.Tensor],
    limit: int,
    vocabulary: Vocabulary,
    forced: torch.Tensor | None = None,
    end_together: bool = False,
) -> Reply:
    """Write the reasoning of all rows together, token by token.

    `choose(step, logits)` picks the next token of every row. A scene ends one step after each of its rows has written
    the stop token (so that this token is in the cache), when all have written eos, or at `limit`. Rows that are done
    go on while others write: their tail is hidden from the expert later, so that a scene's result does not depend on
    the scenes beside it. With `end_together` all rows end as one scene, as they do in the original. `forced` (rows, G)
    replaces the choice by given tokens and runs exactly G steps, through the same arithmetic as if they had been
    chosen.
    """
    logits, cache, delta = prefill(vlm, prompt, samples)
    rows, length = len(logits), prompt.input_ids.shape[1]
    limit = limit if forced is None else forced.shape[1]
    scene = rows if end_together else samples
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
        done = stopped.view(-1, scene).all(dim=1)
        stopped |= token == vocabulary.stop
        ended |= torch.isin(token, eos)
        done |= ended.view(-1, scene).all(dim=1)
        if step + 1 == limit or (forced is None and bool(done.all())):
            break
        positions = (length + step + delta).expand(3, rows, 1)
        out = vlm(input_ids=token[:, None], position_ids=positions, past_key_values=cache, use_cache=True)
        logits = out.logits[:, -1]
    raw = torch.stack(chosen, dim=1)
    steps = torch.full((rows,), raw.shape[1], device=raw.device)
    if forced is None:
        steps = steps_alone(raw, scene, vocabulary.stop, eos)
    return _finish(raw, steps, length, delta, cache, vocabulary)


def steps_alone(raw: torch.Tensor, samples: int, stop: int, eos: torch.Tensor) -> torch.Tensor:
    """How many of the written steps (rows, G) each row's scene would have taken by itself, (rows,) int64."""
    count = raw.shape[1]

    def last(found: torch.Tensor) -> torch.Tensor:
        """Where the last of a scene's rows first wrote it, per scene; far away where one never did."""
        index = torch.where(found.any(dim=1), found.int().argmax(dim=1), 2 * count)
        return index.view(-1, samples).amax(dim=1)

    alone = torch.minimum(last(raw == stop) + 2, last(torch.isin(raw, eos)) + 1).clamp(max=count)
    return alone.repeat_interleave(samples)


def _finish(
    raw: torch.Tensor,
    steps: torch.Tensor,
    length: int,
    delta: torch.Tensor,
    cache: DynamicCache,
    vocabulary: Vocabulary,
) -> Reply:
    is_stop = raw == vocabulary.stop
    complete = is_stop.any(dim=1)
    first = is_stop.int().argmax(dim=1)
    behind = torch.arange(raw.shape[1], device=raw.device) > first[:, None]
    tokens = torch.where(behind & complete[:, None], vocabulary.pad, raw)
    end = torch.where(complete, length + first + 1, length + steps)
    # Alone, a scene's newest token would not be in the cache; it may be here, where others wrote on.
    return Reply(raw, tokens, complete, end, delta, cache, torch.minimum(end, length + steps - 1))
