"""Leases: whoever holds the lock of a place's file may use that place; a record beside it says which worker sits there.

Locks are `flock`s, which the kernel lifts when the last process that has the file open ends, however it ends. A client
hands its open lock files to the worker with the item, so a place stays taken until the worker has really let go.
"""

import contextlib
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from relane.io.files import write_json

from .places import Place

SAY_AFTER_SECONDS = 5.0  # a job that waits longer for its GPU says so in its log


def started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot: with its id, its identity. None when it has ended.

    A process that nobody waited for (a zombie) has ended, although signals to it succeed: read /proc, do not kill(0).
    """
    try:
        # The command's name, in parentheses, may hold blanks and parentheses itself.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in ("Z", "X", "x") else int(fields[19])


def is_alive(process: tuple[int, int]) -> bool:
    """Whether (pid, start) is a running process: not one that ended, not another with the same number."""
    return started(process[0]) == process[1]


@dataclass(frozen=True)
class Record:
    """A worker. process: (pid, start); places: names of all that it holds; key: of the models that it keeps; code: of
    everything that it may have imported (`stage.process_key`)."""

    process: tuple[int, int]
    places: tuple[str, ...]
    key: str
    stage: str
    socket: str
    code: str = ""

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return is_alive(self.process)

    def write(self, private: Path) -> None:
        """Put the record beside each of the places."""
        for name in self.places:
            write_json(private / f"{name}.json", asdict(self))

    def touch(self, private: Path) -> None:
        """Remember that the worker was used just now."""
        for name in self.places:
            with contextlib.suppress(OSError):
                os.utime(private / f"{name}.json")

    def remove(self, private: Path) -> None:
        """Take away the record and the socket, unless another worker's are there by now."""
        for name in self.places:
            if read(private, name) == self:
                (private / f"{name}.json").unlink(missing_ok=True)
                (private / self.socket).unlink(missing_ok=True)


def read(private: Path, place: str) -> Record | None:
    """The record of the worker at a place, alive or not; None where there is none that can be read."""
    try:
        known = json.loads((private / f"{place}.json").read_text())
        return Record(**{**known, "process": tuple(known["process"]), "places": tuple(known["places"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def records(private: Path) -> list[Record]:
    """Every worker that a record tells of, alive or not, once."""
    found = (read(private, path.stem) for path in sorted(private.glob("*.json")) if path.stem != "gpus")
    return list(dict.fromkeys(record for record in found if record))


@dataclass
class Lease:
    """Places that this process may use; `files` are their open lock files."""

    places: tuple[Place, ...]
    files: list[int]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the places."""
        return tuple(place.name for place in self.places)

    @property
    def visible(self) -> str:
        """CUDA_VISIBLE_DEVICES for who works here."""
        return ",".join(place.visible for place in self.places)

    def release(self) -> None:
        """Let go of this process's hold; a worker that was handed the files keeps its own."""
        while self.files:
            os.close(self.files.pop())


def _try_lock(private: Path, name: str) -> int | None:
    file = os.open(private / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def try_take(private: Path, places: tuple[Place, ...]) -> Lease | None:
    """The lease of all these places, or None when one of them is taken. Never waits, so it cannot deadlock."""
    lease = Lease(places, [])
    for place in places:
        file = _try_lock(private, place.name)
        if file is None:
            lease.release()
            return None
        lease.files.append(file)
    return lease


def _preference(private: Path, places: tuple[Place, ...], key: str) -> tuple[int, float]:
    """Smaller is better: the worker that holds the models; then a place without one; then the one longest unused."""
    found = [read(private, place.name) for place in places]
    living = [record for record in found if record and record.alive]
    if not living:
        return 1, 0.0
    if len(living) == len(places) and all(serves(record, places, key) for record in living):
        return 0, 0.0
    return 2, max(_used(private, record) for record in living)


def _used(private: Path, record: Record) -> float:
    try:
        return (private / f"{record.places[0]}.json").stat().st_mtime
    except OSError:
        return 0.0


def serves(record: Record, places: tuple[Place, ...], key: str) -> bool:
    """Whether a worker holds these models on exactly these places."""
    return record.key == key and record.places == tuple(place.name for place in places)


@contextlib.contextmanager
def take(private: Path, candidates: list[tuple[Place, ...]], key: str) -> Iterator[Lease]:
    """Lease one of the candidates, the best that is free; waits until one is."""
    waited, said, since = 0.02, False, time.monotonic()
    while True:
        for places in sorted(candidates, key=lambda each: _preference(private, each, key)):
            lease = try_take(private, places)
            if lease:
                try:
                    yield lease
                finally:
                    lease.release()
                return
        if not said and time.monotonic() - since > SAY_AFTER_SECONDS:
            names = ", ".join("+".join(place.name for place in places) for places in candidates)
            print(f"waiting for one of {names}: all are in use", file=sys.stderr, flush=True)
            said = True
        time.sleep(waited)
        waited = min(waited * 1.5, 0.25)
