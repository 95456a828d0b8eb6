"""A clip's masks are read one frame at a time, and a file that holds something else is named."""

import numpy as np
import pytest

from relane.errors import InputError
from relane.io.mask_stream import MaskFile


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


def test_a_damaged_or_shortened_file_is_named_where_it_breaks(tmp_path):
    path = tmp_path / "masks.npz"
    np.savez_compressed(path, np.random.default_rng(0).integers(0, 2, (4, 40, 50), np.uint8))
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    with pytest.raises(InputError, match=r"masks\.npz: arr_0 (is damaged|ends in frame)"):
        list(MaskFile(path))
    path.write_bytes(whole[:middle])
    with pytest.raises(InputError, match=r"masks\.npz: not an NPZ file"):
        MaskFile(path)
