"""Several arms of a clip in one call: each as if it were alone, and what they share read once."""

import numpy as np
import pytest
import torch

from relane.drivers.alpamayo import reasoning
from relane.drivers.alpamayo.sampling import KeyedNoise

HISTORY = np.stack([np.arange(-15, 1) * 1.03, np.zeros(16), np.zeros(16)], axis=1)
UPRIGHT = np.broadcast_to(np.eye(3), (16, 3, 3))
SAMPLES, EDITED = 4, slice(4, 8)  # frames of the second camera


@pytest.fixture(scope="module")
def arms() -> list[list[np.ndarray]]:
    """Three arms of 16 frames that differ in the lower half of the second camera."""
    draw = np.random.default_rng(0)
    original = [draw.integers(0, 255, (64, 96, 3), dtype=np.uint8) for _ in range(16)]
    made = [original]
    for _ in range(2):
        arm = [frame.copy() for frame in original]
        for frame in arm[EDITED]:
            frame[30:] = draw.integers(0, 255, frame[30:].shape, dtype=np.uint8)
        made.append(arm)
    return made


@pytest.mark.parametrize("length", [8, 64])
def test_each_arm_is_as_if_it_were_alone(golden, arms, length) -> None:
    """With replies that stop, that end without a path, and that are cut off, in arms of unequal length."""
    how = {"num_samples": SAMPLES, "max_generation_length": length}
    keys = [("clip", "crn"), ("clip", "crn"), ("clip", "other noise")]
    many = golden.policy.rollout_many(arms, HISTORY, UPRIGHT, KeyedNoise(keys, SAMPLES), **how)
    steps = set()
    for arm, key, together in zip(arms, keys, many, strict=True):
        alone = golden.policy.rollout([arm], HISTORY[None], UPRIGHT[None], KeyedNoise([key], SAMPLES), **how)
        for name in ("tokens", "lengths", "complete"):
            np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
        assert together.text == alone.text
        np.testing.assert_allclose(together.xyz, alone.xyz, atol=1e-4)
        assert torch.equal(together.reply.end_offset, alone.reply.end_offset)
        steps.add(alone.tokens.shape[2])
    if length == 64:
        assert len(steps) > 1, "the arms must end at different steps, or the test shows nothing"


def test_arms_read_what_they_begin_with_once(golden, arms, monkeypatch) -> None:
    policy = golden.policy
    prompt = policy.prompt(arms, np.broadcast_to(HISTORY, (3, 16, 3)))
    starts = reasoning.image_starts(prompt)
    assert reasoning.shared_length(prompt) == starts[EDITED.start]
    read = []
    forward = type(policy.network.vlm).forward
    monkeypatch.setattr(
        type(policy.network.vlm),
        "forward",
        lambda self, **given: read.append(tuple(given["input_ids"].shape)) or forward(self, **given),
    )
    policy.rollout_many(arms, HISTORY, UPRIGHT, KeyedNoise([("clip",)] * 3, 1), num_samples=1, max_generation_length=1)
    assert read == [(1, starts[4]), (3, prompt.input_ids.shape[1] - starts[4])]


def test_equal_arms_share_all_but_the_last_word_and_unequal_histories_less(golden, arms) -> None:
    twice = [arms[0], arms[0]]
    prompt = golden.policy.prompt(twice, np.stack([HISTORY, HISTORY]))
    length = prompt.input_ids.shape[1]
    assert reasoning.shared_length(prompt) == length - 1
    other = golden.policy.prompt(twice, np.stack([HISTORY, HISTORY * 0.5]))
    assert reasoning.image_starts(other)[-1] < reasoning.shared_length(other) < length - 1
