"""Files from the Hugging Face hub, fixed once and the same ever after; archives unpacked without leaving their folder.

The hub is asked which commit a revision means only at the first fetch. Commit, sizes and SHA-256 go into a lock file,
and every later fetch, also on another machine that has the lock file, must give those very bytes.
"""

import contextlib
import fcntl
import fnmatch
import hashlib
import os
import re
import shutil
import stat
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from relane.errors import InputError
from relane.io.content import ZIP_FAULTS
from relane.io.files import atomic_file, read_json, safe_join, sha256_file, write_json, write_text

COMMIT = re.compile(r"[0-9a-f]{40}")
Lock = dict[str, dict]


@dataclass(frozen=True)
class Repo:
    """A repository of the hub: `kind` is model or dataset; `revision` a commit, or a branch that the lock fixes."""

    id: str
    kind: str = "model"
    revision: str = "main"

    @property
    def page(self) -> str:
        """Where a person reads its licence and accepts its gate."""
        from huggingface_hub.constants import ENDPOINT

        return f"{ENDPOINT}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit. The hub knows the SHA-256 of large files, and of the others git's own SHA-1 of the blob."""

    path: str
    bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


class Hub(Protocol):
    """What fetching asks of a hub; `HuggingFace` is the real one, tests bring a local one."""

    def commit(self, repo: Repo) -> str:
        """The commit (40 hex digits) that `repo.revision` means now."""

    def files(self, repo: Repo, commit: str, paths: list[str] | None = None) -> list[RemoteFile]:
        """The files of a commit: all of them, or those of `paths` that exist."""

    def download(self, repo: Repo, commit: str, path: str, folder: Path) -> None:
        """Put one file under `folder` by its path; picks up a broken download where it stopped."""


class HuggingFace:
    """The hub by huggingface_hub. The token comes from HF_TOKEN in the environment and from nowhere else."""

    def __init__(self) -> None:
        # False, not None: None would fall back to a token that some other login left on this machine.
        self._token: str | bool = os.environ.get("HF_TOKEN") or False

    def commit(self, repo: Repo) -> str:
        """See `Hub`. Raises InputError when the hub is out of reach or refuses."""
        from huggingface_hub import HfApi

        with explained(repo):
            info = HfApi(token=self._token).repo_info(
                repo.id, repo_type=repo.kind, revision=repo.revision, expand=["sha"]
            )
        return info.sha

    def files(self, repo: Repo, commit: str, paths: list[str] | None = None) -> list[RemoteFile]:
        """See `Hub`. Raises InputError when the hub is out of reach or refuses."""
        from huggingface_hub import HfApi
        from huggingface_hub.hf_api import RepoFile

        api, where = HfApi(token=self._token), {"repo_type": repo.kind, "revision": commit}
        with explained(repo):
            if paths is None:
                found = list(api.list_repo_tree(repo.id, recursive=True, **where))
            else:
                found = api.get_paths_info(repo.id, paths, **where)
        return [
            RemoteFile(item.path, item.size, item.lfs.sha256 if item.lfs else None, None if item.lfs else item.blob_id)
            for item in found
            if isinstance(item, RepoFile)
        ]

    def download(self, repo: Repo, commit: str, path: str, folder: Path) -> None:
        """See `Hub`. Raises InputError when the hub is out of reach or refuses."""
        from huggingface_hub import hf_hub_download

        with explained(repo):
            hf_hub_download(repo.id, path, repo_type=repo.kind, revision=commit, local_dir=folder, token=self._token)


@contextlib.contextmanager
def explained(repo: Repo) -> Iterator[None]:
    """Turn the hub's errors into one InputError that says what to accept, to set or to repeat."""
    from huggingface_hub import errors

    try:
        yield
    except errors.RevisionNotFoundError:
        raise InputError(f"{repo.id}: no revision {repo.revision!r} there; was the repository rewritten?") from None
    except (errors.HTTPError, errors.XetDownloadError, OSError) as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, errors.RepositoryNotFoundError) or status in (401, 403):
            raise InputError(
                f"{repo.id}: the hub refuses access ({status or type(error).__name__}); accept the terms at "
                f"{repo.page} with your account, then set HF_TOKEN in the environment to a read token of that account"
            ) from None
        raise InputError(
            f"{repo.id}: fetching broke off ({type(error).__name__}: {str(error).partition(chr(10))[0][:200]}); run "
            "the same command again, it goes on where it stopped"
        ) from None


# The lock file


def read_lock(path: str | Path) -> Lock:
    """The lock file's entries by name; none where there is no file yet. Raises InputError when it is damaged."""
    lock = read_json(path) if Path(path).exists() else {}
    shape_ok = isinstance(lock, dict) and all(
        isinstance(entry, dict) and COMMIT.fullmatch(str(entry.get("commit"))) and isinstance(entry.get("files"), dict)
        for entry in lock.values()
    )
    if not shape_ok:
        raise InputError(f"{path}: not a lock file of this script; take it from version control, or delete it")
    return lock


def locked_commit(hub: Hub, repo: Repo, entry: dict | None, lock_path: str | Path) -> str:
    """The commit to fetch: the lock's where it has one, else what the revision means now.

    Raises InputError when the lock holds another repository, or a commit other than the one the table pins.
    """
    if entry is None:
        return repo.revision if COMMIT.fullmatch(repo.revision) else hub.commit(repo)
    pinned = COMMIT.fullmatch(repo.revision)
    if entry.get("repo") != repo.id or (pinned and entry["commit"] != repo.revision):
        raise InputError(
            f"{lock_path}: it holds {entry.get('repo')} at {entry['commit']}, asked for is {repo.id} at "
            f"{repo.revision}; delete that entry if the change is meant"
        )
    return entry["commit"]


def faults(files: dict[str, dict], folder: Path) -> list[str]:
    """What of a lock entry's files is not in `folder` as locked, each with its reason; reads every file whole."""
    found = []
    for name, wanted in files.items():
        path = safe_join(folder, name)
        if not path.is_file():
            found.append(f"{name} is missing")
        elif path.stat().st_size != wanted["bytes"]:
            found.append(f"{name} has {path.stat().st_size} bytes, not {wanted['bytes']}")
        elif sha256_file(path) != wanted["sha256"]:
            found.append(f"{name} has another SHA-256")
    return found


# Fetching


def choose(files: Iterable[RemoteFile], patterns: Iterable[str]) -> list[RemoteFile]:
    """The files whose path matches one of the shell patterns (`*` crosses folders), by path."""
    patterns = list(patterns)
    return sorted((f for f in files if any(fnmatch.fnmatchcase(f.path, p) for p in patterns)), key=lambda f: f.path)


def fetch_files(
    hub: Hub,
    repo: Repo,
    commit: str,
    files: list[RemoteFile],
    folder: Path,
    workers: int = 4,
    locked: dict[str, dict] | None = None,
) -> dict[str, dict]:
    """Fetch files of one commit into `folder`, `workers` at a time; returns {path: {bytes, sha256}}.

    A file that is there already and whole is not fetched again. Each is held against the hub's checksum and, where
    `locked` names it, against the lock. Raises InputError when the disk is too small, a path leaves the folder, the
    hub refuses, or bytes differ; files already whole stay, so that a later call goes on from there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    targets = {file.path: safe_join(folder, file.path) for file in files}
    missing = sum(file.bytes for file in files if not targets[file.path].is_file())
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise InputError(f"{folder}: {gigabytes(missing)} to fetch, but {gigabytes(free)} free; choose another folder")

    def one(file: RemoteFile) -> tuple[str, dict]:
        target, wanted = targets[file.path], (locked or {}).get(file.path)
        if target.is_file():
            record = _record(target)
            if not _difference(file, target, record, wanted):
                return file.path, record
            target.unlink()
        hub.download(repo, commit, file.path, folder)
        _say(f"{repo.id}: {file.path} ({gigabytes(file.bytes)})")
        record = _record(target)
        if difference := _difference(file, target, record, wanted):
            target.unlink()
            raise InputError(f"{repo.id}: {file.path} came out wrong ({difference}) and was removed; fetch it again")
        return file.path, record

    with ThreadPoolExecutor(max_workers=workers) as pool:
        return dict(pool.map(one, files))


def _record(path: Path) -> dict:
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _difference(file: RemoteFile, path: Path, record: dict, locked: dict | None) -> str:
    """How a file differs from what the hub and the lock say of it; empty where it does not."""
    if record["bytes"] != file.bytes:
        return f"{record['bytes']} bytes, not {file.bytes}"
    if file.sha256 and record["sha256"] != file.sha256:
        return "SHA-256 differs from the hub's"
    if file.git_sha1 and _git_sha1(path) != file.git_sha1:
        return "git's SHA-1 differs from the hub's"
    return "not the bytes of the lock file" if locked and locked != record else ""


def _git_sha1(path: Path) -> str:
    data = path.read_bytes()  # only small files come without a SHA-256
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def fetch_whole(
    hub: Hub,
    name: str,
    repo: Repo,
    patterns: Iterable[str],
    folder: Path,
    lock_path: Path,
    workers: int = 4,
) -> str:
    """Fetch the files of a repository that match `patterns`, under the lock file's entry `name`; returns the commit.

    Where the lock's files are all in place the hub is not asked at all. Raises InputError as `fetch_files`, and when
    the files at hand contradict the lock or nothing matches.
    """
    lock = read_lock(lock_path)
    entry = lock.get(name)
    commit = locked_commit(hub, repo, entry, lock_path)
    if entry and not faults(entry["files"], folder):
        _say(f"{name}: in place, {len(entry['files'])} files as locked at {commit[:12]}")
        return commit
    files = choose(hub.files(repo, commit), patterns)
    if not files:
        raise InputError(f"{repo.id}: no file matches {', '.join(patterns)} at {commit[:12]}; its layout has changed")
    records = fetch_files(hub, repo, commit, files, folder, workers, entry["files"] if entry else None)
    if entry is None:
        add_to_lock(lock_path, name, repo, commit, records)
    forget_bookkeeping(folder)
    return commit


def add_to_lock(path: Path, name: str, repo: Repo, commit: str, files: dict[str, dict]) -> None:
    """Add files to entry `name` of a lock file, beside what it and the other entries hold by now.

    Several fetches may do so at once: each reads what the others have written. Raises InputError where one of them
    has locked another commit meanwhile.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        lock = read_lock(path)
        entry = lock.get(name)
        if entry is not None and entry["commit"] != commit:
            raise InputError(
                f"{path}: {name} was locked at {entry['commit'][:12]} while {commit[:12]} was fetched; run this again"
            )
        known = entry["files"] if entry is not None else {}
        write_json(path, lock | {name: lock_entry(repo, commit, known | files)})
    finally:
        os.close(folder)


def lock_entry(repo: Repo, commit: str, files: dict[str, dict]) -> dict:
    """One entry of a lock file."""
    return {"repo": repo.id, "revision": repo.revision, "commit": commit, "files": dict(sorted(files.items()))}


def forget_bookkeeping(folder: Path) -> None:
    """Remove what huggingface_hub keeps beside its files for resuming; it holds times, and digests look at it."""
    shutil.rmtree(folder / ".cache" / "huggingface", ignore_errors=True)
    with contextlib.suppress(OSError):
        (folder / ".cache").rmdir()


def write_revision(folder: Path, repo: Repo, commit: str) -> None:
    """Write `.revision`, by which `relane.workflow.code_digest` tells releases of equal sizes apart."""
    write_text(folder / ".revision", f"{repo.id}@{commit}\n")


def gigabytes(count: int) -> str:
    """Bytes for people: `6.1 GB`, `12 MB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count} bytes"


def _say(line: str) -> None:
    print(line, file=sys.stderr)


# Archives


def unzip(archive: Path, folder: Path, wanted: Callable[[str], bool] = lambda name: True) -> list[Path]:
    """Unpack the wanted members of a zip under `folder`; returns their paths, sorted.

    Every name is checked before the first byte is written. Raises InputError for an absolute name, a name that climbs
    out, a link or device, a damaged archive, or one that needs more room than the disk has.
    """
    try:
        with zipfile.ZipFile(archive) as zipped:
            members = [info for info in zipped.infolist() if not info.is_dir() and wanted(info.filename)]
            targets = [_member_target(archive, folder, info) for info in members]
            folder.mkdir(parents=True, exist_ok=True)
            if (size := sum(info.file_size for info in members)) > (free := shutil.disk_usage(folder).free):
                raise InputError(f"{archive}: unpacks to {gigabytes(size)}, but {folder} has {gigabytes(free)} free")
            for info, target in zip(members, targets, strict=True):
                with zipped.open(info) as source, atomic_file(target) as partial, open(partial, "wb") as out:
                    shutil.copyfileobj(source, out)
    except ZIP_FAULTS as error:
        raise InputError(f"{archive}: not a whole zip archive that can be read ({error}); fetch it again") from None
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InputError(f"{archive}: {error.filename} is wanted both as a file and as a folder") from None
    except OSError as error:  # the archive is missing; a disk full or not to be written; a name too long for it
        raise InputError(f"{archive}: cannot be unpacked into {folder} ({error})") from None
    return sorted(targets)


def _member_target(archive: Path, folder: Path, info: zipfile.ZipInfo) -> Path:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise InputError(f"{archive}: member {info.filename!r} is no plain file; not unpacked")
    # A backslash or colon is a plain character here, but a separator elsewhere: no honest archive of ours has one.
    if "\\" in info.filename or ":" in info.filename:
        raise InputError(f"{archive}: member {info.filename!r} has a backslash or colon in its name; not unpacked")
    try:
        return safe_join(folder, info.filename)
    except InputError as error:
        raise InputError(f"{archive}: member {error}; not unpacked") from None
