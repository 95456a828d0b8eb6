"""The job's side: lease a place, find or start the worker there, hand over the item, wait for its answer."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from relane.errors import InputError

from . import lease, places, stage, wire

TRIES = 3  # a worker may leave just as it is asked; then the next one starts anew
STOP_SECONDS = 5.0  # an idle worker that is told to leave has so long; then it is killed
OWNER_STOP_SECONDS = 2.0  # at a run's end; a worker that is busy for another run reads it later
ABORT_SECONDS = 8.0  # more than a worker takes to abort an item


@dataclass(frozen=True)
class Settings:
    """workers: whether models are kept; idle_seconds: a worker leaves after; owner: (pid, start) it never outlives."""

    workers: bool
    idle_seconds: float
    cpu_slots: int
    owner: tuple[int, int] | None = None


class Gone(Exception):
    """The worker ended. accepted: whether it had taken the item on."""

    def __init__(self, accepted: bool, how: str = "") -> None:
        super().__init__(how)
        self.accepted = accepted


def run(script: Path, arguments: list[str], settings: Settings) -> tuple[int, dict[str, Any] | None]:
    """Carry out one item of a script. Returns its exit status, and what it cost where it succeeded.

    Raises InputError when there is no such script, or the folder of the workers is not safe.
    """
    module = stage.load_script(script)
    args = module.parser().parse_args(arguments)  # a wrong flag is found here, before anything is leased
    private = places.folder()
    choice = places.candidates(args, private, settings.cpu_slots, settings.owner[0] if settings.owner else 0)
    # Without Linux's /proc and peer credentials a worker could be neither recognised nor trusted.
    keep = settings.workers and stage.keeps_models(module) and sys.platform == "linux"
    if not keep and not choice[0][0].is_gpu:
        return _here(module, arguments, "")
    key = stage.model_key(script, module, args)
    code = stage.process_key(script)
    with lease.take(private, choice, key) as held:
        _evict(private, held, key if keep else "", code)
        if not keep:
            return _here(module, arguments, held.visible)
        request = {
            "script": str(script.resolve()),
            "arguments": arguments,
            "key": key,
            "code": code,
            "folder": os.getcwd(),
            "environment": dict(os.environ),
            "owner": settings.owner,
        }
        return _there(private, held, module, request, settings)


def _here(module: ModuleType, arguments: list[str], visible: str) -> tuple[int, dict[str, Any] | None]:
    """The item in this process, which then sees the leased GPU alone."""
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    try:
        return 0, stage.perform(module, arguments, stage.Kept())
    except Exception as error:
        return stage.report_failure(error, module.__name__, module)[0], None


def _evict(private: Path, held: lease.Lease, key: str, code: str) -> None:
    """End the workers at the leased places that cannot take this item; clear away what dead ones left.

    On a GPU only the worker that holds these models can: a GPU's memory is surely free only when its process has ended.
    On a CPU any worker with the same code can, and so saves the import of torch and its like.
    """
    for name in held.names:
        record = lease.read(private, name)
        if record is None:
            continue
        same_code = not held.visible and record.code == code
        if not (record.alive and (lease.serves(record, held.places, key) or (key and same_code))):
            stop(private, record)
            record.remove(private)


def _there(
    private: Path, held: lease.Lease, module: ModuleType, request: dict[str, Any], settings: Settings
) -> tuple[int, dict[str, Any] | None]:
    """The item in the worker at the leased place, which is started where there is none."""
    for _ in range(TRIES):
        record = lease.read(private, held.names[0])
        process = None
        if record is None or not record.alive:
            record, process = _start(private, held, module, request, settings)
        elif record.key != request["key"]:
            record = replace(record, key=request["key"], stage=module.__name__)
            record.write(private)
        try:
            answer = _ask(private, held, record, request)
        except Gone as gone:
            # A GPU's memory is free when the process has ended, not when its socket closes.
            if not _wait_for_end(record, STOP_SECONDS):
                _kill(record, signal.SIGKILL)
            record.remove(private)
            if not gone.accepted:
                continue
            print(f"error: {_obituary(module, held, record, process)}", file=sys.stderr, flush=True)
            return 1, None
        record.touch(private)
        return answer["status"], answer["report"]
    print(f"error: no worker for {module.__name__} stays: see {private / held.names[0]}.log", file=sys.stderr)
    return 1, None


def _start(
    private: Path, held: lease.Lease, module: ModuleType, request: dict[str, Any], settings: Settings
) -> tuple[lease.Record, subprocess.Popen]:
    """Start a worker. Its socket is bound here, so that it can be connected to at once."""
    path = private / f"{held.names[0]}.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener, open(private / f"{held.names[0]}.log", "wb") as log:
        listener.bind(str(path))
        listener.listen()
        command = [sys.executable, "-m", "relane.workers.worker", f"--listener={listener.fileno()}"]
        command += [f"--idle-seconds={settings.idle_seconds}", *held.names]
        if settings.owner:
            command += ["--owner", *map(str, settings.owner)]
        library = str(Path(__file__).parents[2])
        inherited = os.environ.get("PYTHONPATH")
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=os.environ
            | {"CUDA_VISIBLE_DEVICES": held.visible, "PYTHONPATH": os.pathsep.join(filter(None, [library, inherited]))},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # a Ctrl-C in the terminal is the client's to pass on
        )
    identity = (process.pid, lease.started(process.pid) or 0)
    record = lease.Record(identity, held.names, request["key"], module.__name__, path.name, request["code"])
    record.write(private)
    return record, process


def _ask(private: Path, held: lease.Lease, record: lease.Record, request: dict[str, Any]) -> dict[str, Any]:
    """Send the item and wait for the answer. Raises Gone when the worker ends without one."""
    with socket.socket(socket.AF_UNIX) as connection:
        accepted = False
        try:
            connection.connect(str(private / record.socket))
            if wire.peer_uid(connection) != os.geteuid():
                raise InputError(f"{private / record.socket}: another user listens there; remove it")
            with _aborting(connection, record):
                # With our output and our locks: the place stays taken until the worker has closed its copies too.
                wire.send(connection, request, [1, 2, *held.files])
                accepted = wire.receive(connection)[0] is not None
                answer = wire.receive(connection)[0] if accepted else None
        except OSError:
            answer = None
        if answer is None:
            raise Gone(accepted)
        return answer


class Interrupted(BaseException):
    """A signal told this process to end."""


@contextlib.contextmanager
def _aborting(connection: socket.socket, record: lease.Record) -> Iterator[None]:
    """A signal to this process ends the worker's item first, so that nothing writes outputs after the job has ended."""

    def interrupt(signum: int, frame: object) -> None:
        raise Interrupted(signum)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    # What is ignored stays so: that is how nohup and background jobs work.
    before = {n: signal.signal(n, interrupt) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    try:
        yield
    except Interrupted as error:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        _wait_for_end(record, ABORT_SECONDS)
        _kill(record, signal.SIGKILL)
        sys.exit(128 + error.args[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for_end(record: lease.Record, seconds: float) -> bool:
    """Wait until the worker has ended, at most so long. Returns whether it has."""
    until = time.monotonic() + seconds
    while record.alive and time.monotonic() < until:
        time.sleep(0.02)
    return not record.alive


def _kill(record: lease.Record, number: int) -> None:
    """Signal the worker, and what it started, if it is still that process."""
    if record.alive:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(record.process[0], number)


def _obituary(module: ModuleType, held: lease.Lease, record: lease.Record, process: subprocess.Popen | None) -> str:
    """How a worker died in the middle of an item, as far as can be known."""
    how = "ended"
    if process is not None:  # its parent can ask; for others the kernel keeps no status
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = process.wait(STOP_SECONDS)
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"left with status {code}"
    where = f"GPU {held.visible}" if held.visible else held.names[0]
    return (
        f"the worker of {module.__name__} on {where} (process {record.process[0]}) {how} in the middle of this item. "
        "If nothing is said above, the machine's memory may have run out (SIGKILL). Other items get a new worker"
    )


def stop(private: Path, record: lease.Record, owner: tuple[int, int] | None = None) -> None:
    """Tell a worker to leave, and see that it does. owner: only if no other run uses it; then it may stay."""
    if not record.alive:
        return
    patience, answer = STOP_SECONDS if owner is None else OWNER_STOP_SECONDS, None
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(patience)
        connection.connect(str(private / record.socket))
        if wire.peer_uid(connection) == os.geteuid():
            wire.send(connection, {"stop": True, "owner": owner})
            answer, _ = wire.receive(connection)
    if owner is not None:
        if answer and not answer["stays"]:
            _wait_for_end(record, patience)
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _wait_for_end(record, STOP_SECONDS):
            return
        _kill(record, number)
    _wait_for_end(record, STOP_SECONDS)


def stop_all(owner: tuple[int, int] | None = None) -> None:
    """Tell every worker to leave: all of them, or those that no run but the owner's uses."""
    private = places.folder()
    for record in lease.records(private):
        stop(private, record, owner)
    for path in private.glob("cpu*-*.*"):  # CPU slots of runs that have ended, or are about to
        run = int(path.stem.rpartition("-")[2])
        if (owner and run == owner[0]) or lease.started(run) is None:
            path.unlink(missing_ok=True)
