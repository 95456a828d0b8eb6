"""Captions of road frames: Qwen2.5-VL names the markings, the prompt grammar writes them down."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relane.errors import InputError
from relane.models.qwen import Ask, Question
from relane.prompts import lanes
from relane.prompts.lanes import Attributes

QUESTION = (
    "Look at the lane markings painted on the road that the camera's car drives on. Answer with one JSON object and "
    'nothing else: {"count": "single" or "double" or "unknown", "color": "white" or "yellow" or "mixed" or "unknown", '
    '"pattern": "solid" or "dashed" or "mixed" or "unknown"}. count says whether the lane line is one line or two '
    'parallel lines. Say "unknown" for what you cannot see clearly.'
)
AGAIN = (
    " Your last answer could not be read. Answer with the JSON object alone, with exactly the keys count, color and "
    "pattern and only the values given above."
)


@dataclass(frozen=True)
class Caption:
    """One frame's caption: what was seen, as a prompt, the reply as given, how often was asked (1 or 2).

    readable: whether the reply said anything of any attribute, "unknown" included.
    """

    attributes: Attributes
    text: str
    reply: str
    asked: int
    readable: bool = True


def caption(
    ask: Ask,
    frames: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
    *,
    batch_size: int = 8,
    max_new_tokens: int = 64,
) -> list[Caption]:
    """Caption frames, each (H, W, 3) uint8 RGB, `batch_size` at a time.

    `ask` is `Qwen.ask` (or a `Qwen` itself). With masks (H, W) bool, True on the road, the model is shown the box
    around the road only, so that more of its pixels see the markings. A reply in which an attribute is missing or
    of a foreign word is asked for once more; what is unreadable in the second too is unknown, each for itself.
    """
    ask = getattr(ask, "ask", ask)
    shown = list(frames) if masks is None else [crop_to(f, m) for f, m in zip(frames, masks, strict=True)]
    captions: list[Caption] = []
    for start in range(0, len(shown), batch_size):
        captions += _caption_batch(ask, shown[start : start + batch_size], max_new_tokens)
    return captions


def _caption_batch(ask: Ask, frames: list[np.ndarray], max_new_tokens: int) -> list[Caption]:
    replies = _replies(ask, [([frame], QUESTION) for frame in frames], max_new_tokens)
    seen = [lanes.parse_reply(reply) for reply in replies]
    asked = [1] * len(frames)
    again = [number for number, one in enumerate(seen) if len(one.readable) < len(lanes.ALLOWED)]
    second = _replies(ask, [([frames[number]], QUESTION + AGAIN) for number in again], max_new_tokens)
    for number, reply in zip(again, second, strict=True):
        asked[number], reading = 2, lanes.parse_reply(reply)
        # The second answer, unless the first says more.
        if len(reading.readable) >= len(seen[number].readable):
            replies[number], seen[number] = reply, reading
    return [
        Caption(one.attributes, one.attributes.prompt(), reply, number, bool(one.readable))
        for one, reply, number in zip(seen, replies, asked, strict=True)
    ]


def refuse_unreadable(captions: Sequence[Caption], checkpoint: str | Path) -> None:
    """Raise InputError, naming the checkpoint and a reply, when no caption came of a readable one."""
    if captions and not any(one.readable for one in captions):
        raise InputError(
            f"{checkpoint}: none of its replies about {len(captions)} frames could be read, the last is "
            f"{captions[-1].reply[:200]!r}; check the checkpoint and its dtype, and that its replies are not cut short "
            "(dataset.caption_max_tokens)"
        )


def _replies(ask: Ask, questions: list[Question], max_new_tokens: int) -> list[str]:
    if not questions:
        return []
    return ask(questions, max_new_tokens=max_new_tokens, temperature=0.0, keys=[None] * len(questions))


def crop_to(frame: np.ndarray, mask: np.ndarray, margin: float = 0.05) -> np.ndarray:
    """The part of a frame (H, W, 3) around the True part of its mask (H, W), with a margin in shares of the frame.

    An empty mask crops nothing.
    """
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return frame
    dy, dx = round(margin * height), round(margin * width)
    top, left = max(rows[0] - dy, 0), max(columns[0] - dx, 0)
    return frame[top : rows[-1] + 1 + dy, left : columns[-1] + 1 + dx]
