"""Frames and masks go through in one pass, a window at a time."""

import numpy as np
import pytest

from relane.editors.frames import SlidingReader
from relane.errors import InputError


def test_a_sliding_reader_gives_windows_and_holds_no_more_than_one():
    prepared, taken = [], []

    def source():
        for index in range(40):
            taken.append(index)
            yield np.full((2, 3, 3), index, np.uint8)

    read = SlidingReader(
        source(),
        (np.full((2, 3), index % 2 == 0) for index in range(40)),
        lambda frame, mask: (prepared.append(int(frame[0, 0, 0])) or frame, mask),
    )
    for start in (0, 8, 12, 30):
        frames, masks = read(start, start + 10)
        assert frames[:, 0, 0, 0].tolist() == list(range(start, start + 10))
        assert masks[:, 0, 0].tolist() == [index % 2 == 0 for index in range(start, start + 10)]
        assert len(taken) == start + 10
        assert len(read._held) == 10
    assert prepared == list(range(40))
    with pytest.raises(ValueError, match="let go"):
        read(29, 39)


def test_a_clip_that_ends_early_is_named_with_the_frames_that_it_has():
    frames = (np.zeros((2, 3, 3), np.uint8) for _ in range(7))
    masks = (np.zeros((2, 3), bool) for _ in range(9))
    read = SlidingReader(frames, masks, lambda frame, mask: (frame, mask))
    read(0, 5)
    with pytest.raises(InputError, match="ends after 7 frames, frame 9 was announced"):
        read(4, 9)
