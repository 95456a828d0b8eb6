"""Large files are hashed once, whatever happens to their times, and a damaged memory of it harms nothing."""

import hashlib
import json
import multiprocessing
import os
from pathlib import Path

import pytest

from relane.io import content

LARGE = content.WORTH_KEEPING_BYTES


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The cache lies in the working directory."""
    monkeypatch.chdir(tmp_path)


def large(name: str, letter: bytes = b"a", age_s: float = 60) -> Path:
    """A file that was written some time ago. Its time of change is now, so the tests set what counts as settled."""
    path = Path(name)
    path.write_bytes(letter * LARGE)
    os.utime(path, ns=(0, path.stat().st_mtime_ns - round(age_s * 1e9)))
    return path


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The files that were read, in order."""
    read = []
    whole = content.sha256_file

    def noting(path):
        read.append(Path(path).name)
        return whole(path)

    monkeypatch.setattr(content, "sha256_file", noting)
    monkeypatch.setattr(content, "SETTLED_NS", 0)
    return read


def test_a_file_is_read_once_and_again_when_it_was_written(hashed):
    path = large("a.mp4")
    first = content.sha256_of([path])
    assert content.sha256_of([path]) == first == {path: hashlib.sha256(path.read_bytes()).hexdigest()}
    assert hashed == ["a.mp4"]
    times = path.stat()
    path.write_bytes(b"b" * LARGE)  # the same size, and the time put back
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert content.sha256_of([path]) != first
    os.utime(path)
    content.sha256_of([path])
    assert len(hashed) == 3


def test_a_touched_file_keeps_its_digest(hashed):
    path = large("a.mp4")
    first = content.sha256_of([path])
    os.utime(path)
    assert content.sha256_of([path]) == first


def test_a_file_that_was_just_written_is_not_trusted_to_stay(monkeypatch):
    path = large("a.mp4")
    content.sha256_of([path])
    assert not content.CACHE.exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[1, 2]",
        lambda text: json.dumps({path: entry[:4] for path, entry in json.loads(text).items()}),
        lambda text: json.dumps({path: [*entry[:4], entry[4][:60]] for path, entry in json.loads(text).items()}),
        lambda text: json.dumps({path: [*entry[:4], None] for path, entry in json.loads(text).items()}),
        lambda text: json.dumps(dict.fromkeys(json.loads(text))),
    ],
)
def test_a_damaged_cache_is_made_anew(hashed, damage):
    path = large("a.mp4")
    first = content.sha256_of([path])
    content.CACHE.write_text(damage(content.CACHE.read_text()))
    assert content.sha256_of([path]) == first
    assert content.sha256_of([path]) == first
    assert hashed == ["a.mp4"] * 2


def test_a_folder_that_may_not_be_written_to_costs_time_only(hashed):
    path = large("a.mp4")
    Path(".snakemake").write_text("a file where the folder should be")
    assert content.sha256_of([path]) == content.sha256_of([path])
    assert hashed == ["a.mp4"] * 2


def _digest(name: str) -> str:
    content.SETTLED_NS = 0
    path = Path(name)
    return content.sha256_of([path])[path]


def test_processes_share_the_cache(hashed):
    names = [large(f"{number}.mp4", b"%d" % number).name for number in range(4)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        found = pool.map(_digest, names * 3)
    assert found == [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names] * 3
    assert set(json.loads(content.CACHE.read_text())) <= {os.path.abspath(name) for name in names}
    assert not list(content.CACHE.parent.glob(".partial*"))


def test_much_to_read_is_said_once(hashed, monkeypatch, capsys):
    monkeypatch.setattr(content, "SAY_FROM_BYTES", LARGE)
    paths = [large(f"{number}.mp4") for number in range(2)]
    content.sha256_of(paths, what="weights/big")
    content.sha256_of(paths, what="weights/big")
    assert capsys.readouterr().err == "digesting 0.0 GB of weights/big, once\n"
