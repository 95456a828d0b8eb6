"""Window schedules: every frame is covered, once in sum, by windows of one length."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.editors.videopainter.original import original_schedule
from relane.editors.videopainter.windows import anchored_schedule, latent_frames, ramp, weights
from relane.errors import InputError

LENGTHS = st.sampled_from([9, 17, 49])


@st.composite
def cases(draw) -> tuple[int, int, int]:
    """A window length, a clip at least that long and a stride that fits."""
    length = draw(LENGTHS)
    frames = draw(st.integers(length, 400))
    stride = 4 * draw(st.integers(1, (length - 1) // 4))
    return frames, length, stride


@given(cases())
def test_every_frame_is_covered_and_weights_sum_to_one(case):
    frames, length, stride = case
    table = weights(anchored_schedule(frames, length, stride))
    assert table.shape[1] == frames
    np.testing.assert_allclose(table.sum(axis=0), 1)
    assert (table >= 0).all()


@given(cases())
def test_windows_are_whole_aligned_and_end_with_the_clip(case):
    frames, length, stride = case
    schedule = anchored_schedule(frames, length, stride)
    assert schedule.starts[0] == 0
    assert schedule.starts[-1] + length == frames
    assert all(start % 4 == 0 for start in schedule.starts[:-1])
    steps = np.diff(schedule.starts)
    assert ((steps > 0) & (steps <= stride)).all()


@given(cases())
def test_a_window_counts_only_in_its_own_frames(case):
    frames, length, stride = case
    schedule = anchored_schedule(frames, length, stride)
    for row, start in zip(weights(schedule), schedule.starts, strict=True):
        counted = np.flatnonzero(row)
        assert counted.min() >= start
        assert counted.max() < start + length


@given(cases())
def test_no_more_windows_than_the_stride_asks_for(case):
    frames, length, stride = case
    assert len(anchored_schedule(frames, length, stride).starts) == -(-(frames - length) // stride) + 1


def test_an_odd_tail_gets_a_window_of_its_own_and_strides_stay_even():
    # 90 frames at stride 40: windows at 0, 40, 41 would give the last one a single new frame.
    assert anchored_schedule(90, 49, 40).starts == (0, 24, 41)
    assert anchored_schedule(49, 49, 40).starts == (0,)
    assert anchored_schedule(129, 49, 40).starts == (0, 40, 80)


@pytest.mark.parametrize("schedule", [anchored_schedule, original_schedule])
def test_a_short_clip_is_refused_with_the_number_needed(schedule):
    with pytest.raises(InputError, match=r"48 frames.*at least 49"):
        schedule(48, 49, 40)


@pytest.mark.parametrize("stride", [0, -4, 6, 52])
def test_a_stride_that_breaks_alignment_or_leaves_gaps_is_refused(stride):
    with pytest.raises(InputError, match=f"stride {stride}"):
        anchored_schedule(100, 49, stride)


def test_a_window_that_the_vae_cannot_group_is_refused():
    with pytest.raises(InputError, match="multiple of 4, plus 1"):
        anchored_schedule(100, 48, 40)


@pytest.mark.parametrize(
    ("frames", "stride", "windows", "latents", "made"),
    [(49, 49, 1, 13, 49), (97, 49, 1, 13, 49), (98, 49, 2, 25, 97), (90, 41, 2, 23, 89), (73, 24, 2, 19, 73)],
)
def test_the_originals_plan_drops_the_tail(frames, stride, windows, latents, made):
    schedule = original_schedule(frames, 49, stride)
    assert (len(schedule.starts), schedule.latents, schedule.frames) == (windows, latents, made)


@given(st.integers(1, 60))
def test_the_ramp_rises_inside_zero_and_one(overlap):
    values = ramp(overlap)
    assert values.min() > 0
    assert values.max() < 1
    assert (np.diff(values) > 0).all()


def test_latent_frames():
    assert [latent_frames(count) for count in (1, 5, 17, 49)] == [1, 2, 5, 13]
