"""History bins and texts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from relane.drivers.alpamayo.tokens import extract_text, history_bins


@given(st.lists(st.floats(-3.9, 3.9), min_size=1, max_size=16))
def test_a_bin_is_the_step_from_the_pose_before(steps: list[float]) -> None:
    xyz = np.zeros((len(steps), 3))
    xyz[:, 1] = np.cumsum(steps)
    bins = history_bins(xyz, 1000).reshape(-1, 3)
    recovered = bins[:, 1] / 999 * 8 - 4
    np.testing.assert_allclose(recovered, steps, atol=8 / 999 / 2 + 1e-5)
    assert (bins[:, [0, 2]] == 500).all()  # 499.5 rounds to the even number


def test_steps_outside_the_box_saturate_and_the_first_is_taken_from_the_origin() -> None:
    xyz = np.array([[-15.0, 0.0, 0.0], [-14.0, 5.0, 0.0]])
    assert history_bins(xyz, 1000).reshape(2, 3)[:, :2].tolist() == [[0, 500], [624, 999]]


def test_text_stands_between_the_last_start_and_the_first_end() -> None:
    reply = "x<|cot_start|>old<|cot_start|> keep lane <|cot_end|>y<|cot_end|>"
    assert extract_text(reply, "cot") == "keep lane"
    assert extract_text(reply, "answer") == ""
    # Without a start token it is all that came before, the prompt included: so the original has it.
    assert extract_text("prompt go<|answer_end|>", "answer") == "prompt go"
