"""NaN and infinity from a network, or in its weights, stop the job with a message that says whose they are."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.models.finite import check_finite, check_tensors, check_weights


@given(
    at=st.integers(0, 23),
    value=st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
    numpy=st.booleans(),
)
def test_one_bad_number_anywhere_is_found(at, value, dtype, numpy):
    tensor = torch.zeros(2, 3, 4, dtype=dtype)
    checked = tensor.float().numpy() if numpy else tensor
    check_finite(checked, "painted frames", "models/x", dtype)
    checked.reshape(-1)[at] = value
    with pytest.raises(InputError, match=r"models/x: painted frames: 1 of 24 numbers"):
        check_finite(checked, "painted frames", "models/x", dtype)


def test_the_message_names_dtype_and_what_may_help():
    bad = np.float32("nan")
    with pytest.raises(InputError, match=r"in bfloat16\).*\(dtype: float32, fp8: false\)"):
        check_finite(bad, "logits", "models/x", torch.bfloat16, "fp8: false")
    with pytest.raises(InputError, match=r"in float32\); nothing was written. Fetch the checkpoint again$"):
        check_finite(bad, "logits", "models/x", "float32")


def test_whole_numbers_and_nothing_are_finite():
    check_finite(np.arange(3), "tokens", "models/x", "int64")
    check_finite(torch.zeros(0, 4), "no frames", "models/x", torch.float32)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3e38])
def test_a_damaged_weight_is_named_by_its_tensor(value):
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    check_weights(network, "models/x")
    network[1].bias.data[2] = value
    with pytest.raises(InputError, match=r"models/x: tensor 1\.bias holds"):
        check_weights(network, "models/x")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_noise_over_weights_is_found(dtype):
    noise = np.random.default_rng(0).integers(0, 256, 4096, np.uint8)
    weights = torch.zeros(100_000, dtype=dtype)
    weights[5000 : 5000 + 4096 // weights.element_size()] = torch.from_numpy(noise).view(dtype)
    with pytest.raises(InputError, match="tensor w holds"):
        check_tensors({"w": weights}, "models/x")
