"""Frames and masks go through in one pass, a window at a time."""

import numpy as np
import pytest

from relane.errors import InputError
from relane.videopainter.frames import MaskFile, SlidingReader, Spool


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.int64])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_masks_are_read_frame_by_frame(tmp_path, dtype, save):
    masks = (np.random.default_rng(0).random((7, 5, 6)) > 0.5).astype(dtype)
    save(tmp_path / "masks.npz", masks)
    file = MaskFile(tmp_path / "masks.npz")
    assert file.shape == (7, 5, 6)
    for _ in range(2):
        np.testing.assert_array_equal(np.stack(list(file)), masks != 0)


def test_what_is_no_mask_file_is_named(tmp_path):
    np.savez(tmp_path / "flat.npz", np.zeros((4, 4)))
    np.savez(tmp_path / "other.npz", masks=np.zeros((2, 4, 4)))
    (tmp_path / "text.npz").write_text("no archive")
    for name, message in (
        ("flat", "T, H, W"),
        ("other", "no array arr_0"),
        ("text", "not an NPZ"),
        ("none", "no such"),
    ):
        with pytest.raises(InputError, match=f"{name}.npz.*{message}"):
            MaskFile(tmp_path / f"{name}.npz")


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


def test_a_spool_gives_back_what_was_added_as_often_as_asked():
    pieces = np.random.default_rng(0).random((5, 4, 6, 3), np.float32)
    with Spool(4, 6) as spool:
        spool.add(pieces[:2])
        list(spool)
        spool.add(pieces[2:])
        for _ in range(2):
            np.testing.assert_array_equal(np.stack(list(spool)), np.rint(pieces * 255).astype(np.uint8))
