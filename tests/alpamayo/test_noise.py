"""Common random numbers: what may and what may not change a path."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.drivers.alpamayo.sampling import KeyedNoise, Sampler, SequentialNoise
from relane.errors import InputError
from tests.golden.check_alpamayo import Golden

SAMPLING = {"num_samples": 3, "max_generation_length": 40}


def drive(golden: Golden, noise, **more):
    return golden.policy.rollout(*golden.scenes(), noise, **SAMPLING, **more)


@pytest.mark.parametrize(("keyed", "low", "high"), [(True, 0.0, 1e-5), (False, 0.3, 100.0)])
def test_a_longer_generation_moves_no_path_with_keyed_noise_and_metres_with_one_generator(
    golden: Golden, keyed: bool, low: float, high: float
) -> None:
    def source():
        return KeyedNoise([("clip", 5_100_000)], 3) if keyed else SequentialNoise(3)

    first = drive(golden, source())
    whole = first.complete[0] & (first.lengths[0] < first.tokens.shape[2])
    assert whole.any()
    # The same words, then two steps more, as if another sample of the batch had talked on.
    words = np.concatenate([first.tokens[0], np.full((3, 2), golden.policy.vocabulary.pad)], axis=1)
    noise = source()
    for step in range(words.shape[1]):
        noise.token(step, torch.zeros(3, golden.policy.config.vocab_size))
    longer = drive(golden, noise, reasoning=words)
    moved = np.linalg.norm((longer.xyz - first.xyz)[0, whole], axis=-1).mean()
    assert low <= moved <= high


def test_forcing_a_reply_on_its_own_frames_repeats_the_rollout_to_the_bit(golden: Golden) -> None:
    noise = KeyedNoise([("clip", 1)], 3)
    free = drive(golden, noise)
    shared = drive(golden, noise, reasoning=free.tokens[0])
    assert (shared.xyz == free.xyz).all()
    assert shared.text == free.text


def test_a_sample_does_not_depend_on_how_many_there_are() -> None:
    scores = torch.linspace(0, 3, 50).repeat(6, 1)
    few, many = KeyedNoise([("a",)], 2), KeyedNoise([("a",)], 6)
    assert (few.flow(2, 64) == many.flow(6, 64)[:2]).all()
    for step in range(5):
        assert (few.token(step, scores[:2]) == many.token(step, scores)[:2]).all()


def test_keys_separate_clips_samples_and_steps() -> None:
    scores = torch.zeros(2, 10_000)
    noise, other = KeyedNoise([("a", 1)], 2), KeyedNoise([("a", 2)], 2)
    draws = [tuple(source.token(step, scores).tolist()) for source in (noise, other) for step in range(3)]
    assert len({token for pair in draws for token in pair}) == 12
    assert not (noise.flow(2, 64) == other.flow(2, 64)).any()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10_000))
def test_gumbel_choices_follow_the_scores(seed: int) -> None:
    probabilities = torch.tensor([0.6, 0.3, 0.1, 0.0])
    noise = KeyedNoise([(seed,)], 1000)
    drawn = noise.token(0, probabilities.log().repeat(1000, 1))
    share = torch.bincount(drawn, minlength=4) / 1000
    assert share[3] == 0
    np.testing.assert_allclose(share, probabilities, atol=0.08)  # five standard deviations


def test_scores_never_let_a_trajectory_token_through() -> None:
    logits = torch.zeros(1, 10)
    logits[0, 4:7] = 50.0
    scores = Sampler(0.6, 0.98, slice(4, 7)).scores(logits)
    assert torch.isinf(scores[0, 4:7]).all()
    assert torch.isfinite(scores[0, :4]).any()


@pytest.mark.parametrize(("temperature", "top_p"), [(0.0, 0.9), (-1.0, 0.9), (0.6, 0.0), (0.6, 1.2)])
def test_parameters_outside_their_range_are_bad_input(temperature: float, top_p: float) -> None:
    with pytest.raises(InputError, match=r"temperature|top_p"):
        Sampler(temperature, top_p, slice(0, 1))
