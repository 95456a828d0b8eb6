"""Qwen2.5-VL learns to name lane markings: moments of the world, pictures as the processor shows them, token layouts.

Everything that a step needs lies on the device: moments are rendered once, pictures are cut, resized and varied there.
`verdicts` builds the critic's panels on top of this; `naming` teaches CLIP with the same moments.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

from relane.prompts import captions
from relane.prompts.lanes import Attributes
from simworld.learning import vision
from simworld.learning.pictures import ALL, VERSIONS
from simworld.tiny import qwen

FACTOR = 28  # patch size times merge size
# A frame of 320 x 180 keeps its size, and so do the critic's three panels of it; a narrow crop is enlarged.
PREPROCESSOR = qwen.PREPROCESSOR | {"min_pixels": FACTOR**2 * 24, "max_pixels": FACTOR**2 * 256}
TEXT = {
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
    "initializer_range": 0.05,
}
VISION = {
    "depth": 4,
    "hidden_size": 128,
    "intermediate_size": 320,
    "num_heads": 4,
    "out_hidden_size": 128,
    "fullatt_block_indexes": [0, 1, 2, 3],
    "initializer_range": 0.05,
}
NAMES = {"count": ("single", "double"), "color": ("white", "yellow"), "pattern": ("solid", "dashed")}


class Moments:
    """All moments on a device: images (N, 4, H, W, 3) uint8, markings (N, 4), masks (N, 2, H, W) bool."""

    images: torch.Tensor
    markings: torch.Tensor
    masks: torch.Tensor

    def __init__(self, found: dict[str, np.ndarray], device: torch.device) -> None:
        """found: what `pictures.gathered(pictures.marked_moments, ...)` gives."""
        for name in ("images", "markings", "masks"):
            setattr(self, name, torch.from_numpy(np.array(found[name])).to(device))
        self.device = device

    def __len__(self) -> int:
        return len(self.images)

    def boxes(self) -> np.ndarray:
        """What `captions.crop_to` cuts around each mask: (N, 2, 4) top, bottom, left, right."""
        height, width = self.images.shape[2:4]
        place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
        found = np.zeros((len(self), 2, 4), int)
        for number, both in enumerate(self.masks.cpu().numpy()):
            for which, mask in enumerate(both):
                part = captions.crop_to(place, mask)
                found[number, which] = part[0, 0, 0], part[-1, 0, 0] + 1, part[0, 0, 1], part[0, -1, 1] + 1
        return found


def varied(images: torch.Tensor) -> torch.Tensor:
    """Pictures (B, H, W, 3) float 0..255 in other light, softer, with the noise of cameras and codecs."""
    batch, device = len(images), images.device

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(batch, *shape, device=device)

    images = images * (1 + 0.08 * draw(1, 1, 1) + 0.02 * draw(1, 1, 3)) + 4 * draw(1, 1, 1)
    images = softened(images, torch.rand(batch, device=device) * 0.8)
    images = images + 4 * torch.rand(batch, 1, 1, 1, device=device) * torch.randn_like(images)
    return images.clamp(0, 255).round()


def softened(images: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of pictures (B, H, W, 3) float, sigma (B,) pixels each."""
    radius = 8
    at = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-((at / sigma.clamp(min=0.05)[:, None]) ** 2) / 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(3, 0)[:, None]
    flat = images.permute(0, 3, 1, 2).flatten(0, 1)[None]
    flat = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel[..., None], groups=len(kernel))
    flat = F.conv2d(F.pad(flat, (radius, radius, 0, 0), mode="replicate"), kernel[:, :, None], groups=len(kernel))
    return flat.view(len(images), 3, *images.shape[1:3]).permute(0, 2, 3, 1)


def shown(images: Sequence[torch.Tensor], grid: tuple[int, int]) -> torch.Tensor:
    """Pictures (H, W, 3) of any size, or a batch of one size, as the image processor resizes them to a grid of
    patches (rows, columns): (B, 14 rows, 14 columns, 3) float, whole numbers 0..255."""
    size = (grid[0] * 14, grid[1] * 14)

    def resize(batch: torch.Tensor) -> torch.Tensor:
        batch = batch.permute(0, 3, 1, 2)
        return F.interpolate(batch, size, mode="bicubic", antialias=True).clamp(0, 255).round().permute(0, 2, 3, 1)

    if isinstance(images, torch.Tensor):
        return resize(images)
    return torch.cat([resize(one[None]) for one in images])


def grid_of(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of patches that the processor makes of a picture of this size."""
    least, most = PREPROCESSOR["min_pixels"], PREPROCESSOR["max_pixels"]
    rows, columns = smart_resize(height, width, FACTOR, least, most)
    return rows // 14, columns // 14


def compact(values: dict) -> str:
    """JSON without blanks: fewer tokens."""
    return json.dumps(values, separators=(",", ":"))


class Words:
    """Questions and replies as tokens, laid out as `Qwen.ask` lays them out."""

    def __init__(self, tokenizer: Qwen2Tokenizer, device: torch.device) -> None:
        self.tokenizer, self.device = tokenizer, device
        self.special = qwen.special_tokens(tokenizer)
        self.ids = lru_cache(maxsize=100_000)(self._ids)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    @lru_cache(maxsize=10_000)  # noqa: B019  (one object lives as long as the training)
    def prompt(self, question: str, grid: tuple[int, int]) -> list[int]:
        """The tokens of one question below one picture of this grid, up to where the reply begins."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        chat = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=qwen.CHAT_TEMPLATE,
            add_generation_prompt=True,
            tokenize=False,
        )
        pads = "<|image_pad|>" * (grid[0] * grid[1] // 4)
        return self._ids(chat.replace("<|image_pad|>", pads))

    def rows(self, pairs: Sequence[tuple[str, str]], grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Tokens (B, L) of (question, reply) pairs, labels (B, L - start) for the positions from `start` on, start.

        Rows are filled up behind the reply, where nothing looks; labels are -100 but for the reply and its end.
        """
        prompts = [self.prompt(question, grid) for question, _ in pairs]
        replies = [[*self.ids(reply), self.special["<|im_end|>"]] for _, reply in pairs]
        start = min(map(len, prompts))
        longest = max(len(a) + len(b) for a, b in zip(prompts, replies, strict=True))
        ids = np.full((len(pairs), longest), self.special["<|endoftext|>"])
        labels = np.full((len(pairs), longest - start), -100)
        for row, (prompt, reply) in enumerate(zip(prompts, replies, strict=True)):
            ids[row, : len(prompt) + len(reply)] = prompt + reply
            labels[row, len(prompt) - start :][: len(reply)] = reply
        return torch.from_numpy(ids).to(self.device), torch.from_numpy(labels).to(self.device), start


class Reader(nn.Module):
    """Qwen2.5-VL and, while it learns, a linear reading of its picture tokens: count, color and pattern.

    The linear reading leads the vision tower to the lines long before words would; it is thrown away afterwards.
    """

    def __init__(self, model: Qwen2_5_VLForConditionalGeneration) -> None:
        super().__init__()
        self.model = model
        self.glance = nn.Linear(model.config.text_config.hidden_size, len(NAMES))
        self._one_size: dict[tuple, vision.OneSize] = {}

    def forward(self, images: torch.Tensor, ids: torch.Tensor, start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, L - start, vocabulary) that predict the tokens from `start` on, and the picture tokens
        (B, P, width). images (B, h, w, 3) of one size, one a row."""
        core, batch = self.model.model, len(images)
        grid = (images.shape[1] // 14, images.shape[2] // 14)
        pixels = vision.patches(images, 14, PREPROCESSOR["image_mean"], PREPROCESSOR["image_std"])
        if (grid, batch) not in self._one_size:
            self._one_size[grid, batch] = vision.OneSize(core.visual, grid, batch)
        sizes = torch.tensor([[1, *grid]], device=ids.device)
        with self._one_size[grid, batch]:
            seen = core.visual(pixels, sizes.repeat(batch, 1)).pooler_output
        picture = ids == self.model.config.image_token_id
        # Every row has its picture at the same place, so its positions serve all.
        positions, _ = core.get_rope_index(ids[:1], picture[:1].long(), image_grid_thw=sizes)
        embedded = core.get_input_embeddings()(ids)
        embedded = embedded.masked_scatter(picture[..., None], seen.to(embedded.dtype))
        out = core.language_model(inputs_embeds=embedded, position_ids=positions.expand(3, batch, -1), use_cache=False)
        logits = self.model.lm_head(out.last_hidden_state[:, start - 1 : -1])
        return logits, seen.view(batch, -1, seen.shape[-1])


def said(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of the replies, in nats a reply, and the share of replies that are right in every token."""
    loss = F.cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    right = ((logits.argmax(-1) == labels) | (labels < 0)).all(1).float().mean()
    return loss / len(labels), right


class Namings:
    """Questions for captions: whole frames, crops around road and corridor, and pictures without a road."""

    def __init__(self, data: Moments, words: Words) -> None:
        self.data, self.words = data, words
        height, width = data.images.shape[2:4]
        self.whole = np.array([0, height, 0, width])
        self.cuts: dict[tuple, list[tuple[int, np.ndarray, bool]]] = {}
        for number, boxes in enumerate(data.boxes()):
            sky = np.array([0, height * 45 // 100, 0, width])
            for box, road in [(box, True) for box in boxes] + [(sky, False)] * (number % 8 == 0):
                grid = grid_of(box[1] - box[0], box[3] - box[2])
                self.cuts.setdefault(grid, []).append((number, box, road))
        self.shares = np.array([len(cuts) for cuts in self.cuts.values()], float)
        self.shares /= self.shares.sum()

    def draw(self, batch: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[int | None]]:
        """Pictures of one size as the processor shows them, and which of ALL each shows, None for a sky."""
        version = torch.from_numpy(rng.integers(VERSIONS, size=batch))
        if rng.random() < 0.4:
            chosen, road = torch.from_numpy(rng.integers(len(self.data), size=batch)), [True] * batch
            boxes, grid = [self.whole] * batch, grid_of(*self.data.images.shape[2:4])
        else:
            grid = list(self.cuts)[rng.choice(len(self.shares), p=self.shares)]
            picked = [self.cuts[grid][number] for number in rng.integers(len(self.cuts[grid]), size=batch)]
            chosen, boxes = torch.tensor([one[0] for one in picked]), [one[1] for one in picked]
            road = [one[2] for one in picked]
        at = chosen.to(self.data.device), version.to(self.data.device)
        images = varied(self.data.images[at].float())
        parts = [image[a:b, c:d] for image, (a, b, c, d) in zip(images, boxes, strict=True)]
        shots = shown(torch.stack(parts) if boxes[0] is self.whole else parts, grid)
        if rng.random() < 0.5:
            shots = shots.flip(2)
        markings = self.data.markings[at].tolist()
        return shots, [number if seen else None for number, seen in zip(markings, road, strict=True)]

    def loss(self, reader: Reader, batch: int, rng: np.random.Generator) -> tuple[torch.Tensor, dict]:
        """Loss of a batch of captions, and figures."""
        shots, markings = self.draw(batch, rng)
        question = captions.QUESTION + (captions.AGAIN if rng.random() < 0.1 else "")
        replies = [compact(asdict(Attributes() if number is None else ALL[number])) for number in markings]
        grid = (shots.shape[1] // 14, shots.shape[2] // 14)
        ids, labels, start = self.words.rows([(question, reply) for reply in replies], grid)
        logits, seen = reader(shots, ids, start)
        loss, right = said(logits, labels)
        return loss + glanced(reader, seen, markings), {"named": right}


def glanced(reader: Reader, seen: torch.Tensor, markings: Sequence[int | None]) -> torch.Tensor:
    """Loss of the linear reading of picture tokens (B, P, width); rows without known markings do not count."""
    known = [row for row, number in enumerate(markings) if number is not None]
    if not known:
        return seen.sum() * 0
    wanted = [
        [float(getattr(ALL[markings[row]], name) == values[1]) for name, values in NAMES.items()] for row in known
    ]
    guess = reader.glance(seen.mean(1))[known].float()
    return F.binary_cross_entropy_with_logits(guess, torch.tensor(wanted, device=guess.device))
