"""Files are whole or absent, and paths from outside stay in their folder."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.io.files import atomic_file, atomic_folder, read_json, safe_join, write_json
from relane.noise import seed_of


def test_a_failing_writer_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_file(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_two_writers_of_one_file_do_not_meet_and_the_last_one_wins(tmp_path):
    path = tmp_path / "entry"
    with atomic_file(path) as one:
        one.write_text("first, long")
        with atomic_file(path) as other:
            other.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first, long"
    assert os.listdir(tmp_path) == ["entry"]


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "stale.png").write_text("")
    with atomic_folder(folder) as partial:
        (partial / "new.png").write_text("")
    assert os.listdir(folder) == ["new.png"]
    with pytest.raises(RuntimeError), atomic_folder(folder):
        raise RuntimeError
    assert os.listdir(tmp_path) == ["masks"]


def test_json_refuses_nan_and_names_the_broken_file(tmp_path):
    path = tmp_path / "a.json"
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"psnr": float("nan")})
    assert not path.exists()
    path.write_text("{")
    with pytest.raises(InputError, match=r"a\.json: not valid JSON"):
        read_json(path)


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "a/../../b", "link/x"])
def test_a_path_cannot_leave_its_folder(tmp_path, name):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="points outside"):
        safe_join(root, name)


def test_a_path_inside_is_joined(tmp_path):
    assert safe_join(tmp_path, "a/b.png") == Path(tmp_path) / "a/b.png"


keys = st.lists(st.one_of(st.text(max_size=4), st.integers()), max_size=4)


@given(keys, keys)
def test_different_keys_give_different_seeds(first, second):
    same = [str(part) for part in first] == [str(part) for part in second]
    assert (seed_of(*first) == seed_of(*second)) == same
    assert 0 <= seed_of(*first) < 2**63


def test_a_seed_is_the_same_on_every_machine():
    assert seed_of(42, "clip", 5_100_000, 0, "flow") == 1_707_833_495_307_394_588
