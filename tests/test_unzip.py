"""Archives: unpacked whole inside their folder, or refused in one message."""

import contextlib
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.data import fetch
from relane.errors import InputError
from tests.foreign_videos import zipped


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "..\\evil", "C:evil"])
def test_a_zip_cannot_leave_its_folder_and_writes_nothing_when_it_tries(tmp_path, name):
    archive = zipped(tmp_path / "slip.zip", ("good.txt", b"good"), (name, b"evil"))
    with pytest.raises(InputError, match=r"slip\.zip: member .*not unpacked"):
        fetch.unzip(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["slip.zip"]


def test_a_link_in_a_zip_is_refused(tmp_path):
    archive = zipped(tmp_path / "link.zip", ("way-out", b"/etc"), mode=stat.S_IFLNK | 0o777)
    with pytest.raises(InputError, match="no plain file"):
        fetch.unzip(archive, tmp_path / "out")


def test_a_link_that_lies_in_the_folder_already_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="points outside"):
        fetch.unzip(zipped(tmp_path / "x.zip", ("link/evil", b"evil")), tmp_path / "out")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_damaged_zip_is_named(tmp_path):
    archive = zipped(tmp_path / "cut.zip", ("a.txt", b"some content"))
    archive.write_bytes(archive.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"cut\.zip: not a whole zip"):
        fetch.unzip(archive, tmp_path / "out")


def test_a_zip_that_contradicts_itself_is_named(tmp_path):
    with pytest.raises(InputError, match="both as a file and as a folder"):
        fetch.unzip(zipped(tmp_path / "x.zip", ("a", b""), ("a/b", b"")), tmp_path / "out")


def spoiled(archive: Path, at: int, value: int) -> Path:
    """The archive with one byte changed, counted from each of its headers (local, central) that it stands in."""
    data = bytearray(archive.read_bytes())
    for magic, further in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):
        data[data.index(magic) + at + further] = value
    archive.write_bytes(data)
    return archive


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [(6, 1, "encrypted"), (8, 99, "compression"), (8, 14, ""), (8, 8, ""), (8, 12, ""), (4, 99, "version")],
)
def test_a_zip_that_cannot_be_read_is_one_message(tmp_path, at, value, words):
    """Encrypted, or of a compression or version that is not known or is not what its bytes are."""
    archive = spoiled(zipped(tmp_path / "x.zip", ("a.txt", b"some content that is long enough")), at, value)
    with pytest.raises(InputError, match=rf"x\.zip: .*{words}"):
        fetch.unzip(archive, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_damage_to_a_zip_is_a_traceback(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("zip")
    archive = zipped(folder / "x.zip", ("a/b.txt", b"some content" * 9), ("c.txt", b"more"))
    damaged = bytearray(archive.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(damaged)
    with contextlib.suppress(InputError):
        fetch.unzip(archive, folder / "out")


@pytest.mark.parametrize("name", ["n" * 300, ""])
def test_a_name_that_no_disk_takes_and_a_zip_that_is_not_there_are_one_message(tmp_path, name):
    archive = zipped(tmp_path / "x.zip", (name, b"data")) if name else tmp_path / "none.zip"
    with pytest.raises(InputError, match=rf"{archive.name}: cannot be unpacked"):
        fetch.unzip(archive, tmp_path / "out")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.from_regex(r"([a-z]{1,3}/){0,2}[A-Z]{1,3}", fullmatch=True), st.binary(), max_size=5))
def test_unzip_gives_back_what_was_zipped(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("zip")
    written = fetch.unzip(zipped(folder / "x.zip", *files.items()), folder / "out")
    assert {path.relative_to(folder / "out").as_posix(): path.read_bytes() for path in written} == files
