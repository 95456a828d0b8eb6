"""Windows of a picture are attended to together, and none sees another."""

import itertools

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from hypothesis import given

from relane.models import windows_attention


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 2**31))
def test_every_window_attends_to_itself_alone(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    query, key, value = (torch.randn(1, 2, sum(sizes), 4, generator=generator) for _ in range(3))
    bounds = torch.tensor([0, *sizes]).cumsum(0)
    made, _ = windows_attention.attend(None, query, key, value, None, cu_seq_lens_q=bounds, scaling=0.5)
    alone = [
        F.scaled_dot_product_attention(*(part[:, :, a:b] for part in (query, key, value)), scale=0.5)
        for a, b in itertools.pairwise(bounds)
    ]
    torch.testing.assert_close(made, torch.cat(alone, dim=2).transpose(1, 2))
