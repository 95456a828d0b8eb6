"""Digests of checkpoints by their whole content: other weights are a reason to run again, wherever they lie."""

import fnmatch
import functools
from pathlib import Path

from relane.io.content import ABSENT, digest_of, files_below, sha256_of

# What stands in a checkpoint folder for people. Hidden files (`.revision`, a hub client's `.cache`, `.git`) do not
# count either.
FOR_PEOPLE = ("*.md", "*.rst", "*.pdf", "license*", "notice*", "*.png", "*.jpg", "*.jpeg", "*.gif", "*.webp")


@functools.cache
def weights_digest(folder: str | Path) -> str:
    """16 hex digits over the whole content of a checkpoint's files; "absent" where there is none (planning works).

    Where it lies, its files' times, hidden files and folders and what is for people (FOR_PEOPLE) do not count. Large
    files are hashed once (`relane.io.content`).
    """
    folder = Path(folder)
    if not folder.exists():
        return ABSENT
    files = {".": folder} if folder.is_file() else {}
    if folder.is_dir():
        files = {path.relative_to(folder).as_posix(): path for path in files_below(folder) if not _for_people(path)}
    found = sha256_of(files.values(), what=str(folder))
    return digest_of((name, found[files[name]]) for name in sorted(files))


def lora_digest(path: str | Path) -> str:
    """The digest of a LoRA: a folder, or a file with the `adapter_config.json` beside it, which holds its scale."""
    beside = Path(path).with_name("adapter_config.json")
    if Path(path).is_dir() or not beside.is_file():
        return weights_digest(path)
    return digest_of([("weights", weights_digest(path)), ("config", weights_digest(beside))])


def _for_people(path: Path) -> bool:
    return any(fnmatch.fnmatchcase(path.name.lower(), pattern) for pattern in FOR_PEOPLE)
