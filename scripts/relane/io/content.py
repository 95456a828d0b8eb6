"""Digests of files by their whole content, each file hashed once: planning asks for them every time.

What a file held is kept in a small JSON in the working directory, by path, inode, size and times of change. A file is
hashed again when one of these differs; only its content goes into the digest, so a touched file keeps its own. A cache
that is damaged, lost or cannot be written costs time and nothing else.
"""

import contextlib
import functools
import hashlib
import json
import lzma
import os
import struct
import sys
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from relane.io.files import sha256_file, write_text

# In Snakemake's own folder, which every run has and nobody reads as a result.
CACHE = Path(".snakemake") / "relane" / "sha256.json"
# Smaller files are hashed anew: that takes no longer than looking them up.
WORTH_KEEPING_BYTES = 1 << 20
# A file that changed this recently may change again within the clock's tick, without a new time.
SETTLED_NS = 2_000_000_000
SAY_FROM_BYTES = 10**9
ABSENT = "absent"
# What reading a zip raises: cut or damaged bytes, an encrypted member, a compression or version that is not known.
ZIP_FAULTS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    RuntimeError,
    NotImplementedError,
    IndexError,
    ValueError,
)


def _state(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def _read_cache(cache: Path) -> dict[str, list]:
    """What is known, without entries that are not of our making: {path: [inode, size, mtime, ctime, sha256]}."""
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
        return {path: entry for path, entry in known.items() if _is_entry(entry)}
    except (OSError, ValueError, AttributeError):
        return {}


def _is_entry(entry: object) -> bool:
    if not (isinstance(entry, list) and len(entry) == 5 and all(isinstance(number, int) for number in entry[:4])):
        return False
    return isinstance(entry[4], str) and len(entry[4]) == 64 and set(entry[4]) <= set("0123456789abcdef")


def sha256_of(paths: Iterable[Path], cache: Path = CACHE, what: str = "") -> dict[Path, str]:
    """Hex SHA-256 of each file, from the cache where it is known, else hashed in threads and remembered.

    Processes may share the cache: it is replaced whole, and what two write at once is at worst hashed once more. Says
    a line on stderr when more than a gigabyte has to be read; `what` names it. Raises OSError for a missing file.
    """
    states = {path: _state(path) for path in paths}
    large = {path: os.path.abspath(path) for path, state in states.items() if state[1] >= WORTH_KEEPING_BYTES}
    known = _read_cache(cache) if large else {}
    found = {}
    for path, name in large.items():
        if known.get(name, [])[:4] == states[path]:
            found[path] = known[name][4]
    todo = [path for path in states if path not in found]
    size = sum(states[path][1] for path in todo)
    if size > SAY_FROM_BYTES:
        print(f"digesting {size / 1e9:.1f} GB of {what or 'files'}, once", file=sys.stderr, flush=True)
    if len(todo) > 1 and size > WORTH_KEEPING_BYTES:
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found |= dict(zip(todo, pool.map(sha256_file, todo), strict=True))
    else:
        found |= {path: sha256_file(path) for path in todo}
    now = time.time_ns()
    news = {
        large[path]: [*states[path], found[path]]
        for path in todo
        if path in large and max(states[path][2:]) < now - SETTLED_NS and _state(path) == states[path]
    }
    if news:
        with contextlib.suppress(OSError):  # a folder that may not be written to: hashed anew the next time
            write_text(cache, json.dumps(_read_cache(cache) | news, separators=(",", ":")))
    return found


def files_below(folder: Path) -> Iterator[Path]:
    """Every file below a folder, links followed once each, without hidden files and what lies in hidden folders."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = [
            name
            for name in sorted(folders)
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) not in seen
        ]
        for name in sorted(names):
            path = Path(place, name)
            if not name.startswith(".") and path.is_file():
                yield path


def digest_of(parts: Iterable[tuple[str, str]]) -> str:
    """16 hex digits over (name, content's digest) pairs."""
    digest = hashlib.sha256()
    for name, content in parts:
        digest.update(f"{name}\0{content}\0".encode())
    return digest.hexdigest()[:16]


@functools.cache
def zip_entries(path: str) -> dict[str, str]:
    """Name of each file in a zip -> its size and CRC-32, from the zip's directory: no byte of the files is read.

    An archive that cannot be read has one entry that says so: whoever unpacks it will tell what is wrong.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename: f"{info.file_size}:{info.CRC:08x}" for info in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        return {"": type(error).__name__}


def content_of(paths: Iterable[str]) -> dict[str, str]:
    """`sha256:<hex>` of each local file, hashed in threads; "absent" for one that is not there."""
    files = {path: Path(path) for path in paths}
    found = sha256_of({path for path in files.values() if path.is_file()}, what="sources")
    return {path: f"sha256:{found[file]}" if file in found else ABSENT for path, file in files.items()}
