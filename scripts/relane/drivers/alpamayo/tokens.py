"""Words in and out: the extended tokenizer, the prompt to the byte, the history as tokens, texts out of a reply.

The token names, their order and the prompt strings are data of the checkpoint: they must match what it was trained
with. Checked against frozen ids and texts (tests/golden/check_alpamayo.py).
"""

from collections.abc import Sequence

import numpy as np

from relane.drivers.alpamayo.config import STEP_MAX, STEP_MIN, PolicyConfig
from relane.errors import InputError

_NAMES = (
    "prompt_start",
    "prompt_end",
    "image_start",
    "image_pre_tkn",
    "image_end",
    "traj_history_start",
    "traj_history_pre_tkn",
    "traj_history_end",
    "cot_start",
    "cot_end",
    "meta_action_start",
    "meta_action_end",
    "traj_future_start",
    "traj_future_pre_tkn",
    "traj_future_end",
    "traj_history",
    "traj_future",
    "image_pad",
    "vectorized_wm",
    "vectorized_wm_start",
    "vectorized_wm_end",
    "vectorized_wm_pre_tkn",
    "route_start",
    "route_pad",
    "route_end",
    "question_start",
    "question_end",
    "answer_start",
    "answer_end",
)
CONTROL_TOKENS = tuple(f"<|{name}|>" for name in _NAMES)
STOP, PLACEHOLDER, IMAGE_PAD = "<|traj_future_start|>", "<|traj_history|>", "<|image_pad|>"
TEXT_PARTS = ("cot", "meta_action", "answer")
_SYSTEM = "You are a driving assistant that generates safe and accurate actions."
_ASK = "output the chain-of-thought reasoning of the driving process, then output the future trajectory."


def extend_tokenizer(tokenizer, config: PolicyConfig) -> int:
    """Add the trajectory tokens, then the control tokens; returns the id of `<i0>`.

    Raises InputError when the result is not the vocabulary that the checkpoint states: then the base tokenizer is
    another one than the checkpoint was trained with.
    """
    start = len(tokenizer)
    tokenizer.add_tokens([f"<i{i}>" for i in range(config.future_bins + config.history_bins)])
    tokenizer.add_tokens(list(CONTROL_TOKENS), special_tokens=True)
    if config.traj_token_start not in (None, start) or len(tokenizer) != config.vocab_size:
        raise InputError(
            f"the tokenizer of {config.vlm_name!r} gives {len(tokenizer)} tokens with <i0> at {start}; config.json "
            f"says {config.vocab_size} and {config.traj_token_start}: it belongs to another base model"
        )
    return start


def prompt_text(image_tokens: Sequence[int], history_tokens: int) -> str:
    """The prompt: system line, images, history block, instruction, and the opening of the reply.

    `image_tokens` holds the number of `<|image_pad|>` per image; 1 for each gives the chat template's own output, the
    real numbers give what the tokenizer reads.
    """
    images = "".join(f"<|vision_start|>{IMAGE_PAD * count}<|vision_end|>" for count in image_tokens)
    history = f"<|traj_history_start|>{PLACEHOLDER * history_tokens}<|traj_history_end|>"
    return (
        f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n"
        f"<|im_start|>user\n{images}{history}{_ASK}<|im_end|>\n"
        "<|im_start|>assistant\n<|cot_start|>"
    )


def history_bins(
    xyz: np.ndarray, bins: int, low: Sequence[float] = STEP_MIN, high: Sequence[float] = STEP_MAX
) -> np.ndarray:
    """Bins of a history: (..., T, 3) metres in the rig frame at t0 -> (..., 3 T) int64, x y z per pose.

    A bin is the step from the pose before, x y z apart; the first step is taken from the origin, which is where the
    car is at t0, not from a pose before it. So it saturates at any speed above 2.7 m/s: the model was trained so.
    The orientation is not in the tokens. `low` and `high`: the box of one step, x y z in metres.
    """
    xyz = np.asarray(xyz, dtype=np.float32)
    step = np.diff(xyz, axis=-2, prepend=np.zeros_like(xyz[..., :1, :]))
    low, high = np.asarray(low, np.float32), np.asarray(high, np.float32)
    index = np.rint((step - low) / (high - low) * np.float32(bins - 1)).astype(np.int64)
    return np.clip(index, 0, bins - 1).reshape(*xyz.shape[:-2], -1)


def extract_text(reply: str, part: str) -> str:
    """What stands before the first `<|part_end|>` of `reply`, from the last `<|part_start|>` before it if there is one.

    `reply` is the decoded row with its prompt, so that the reasoning's own start token is in it. Empty when the part
    never ends.
    """
    head, end, _ = reply.partition(f"<|{part}_end|>")
    return head.rpartition(f"<|{part}_start|>")[2].strip() if end else ""
