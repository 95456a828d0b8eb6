"""The process that stays: one stage's models on one place, an item at a time, until it is no longer wanted.

Started by a client (`python -m relane.workers.worker`), which has bound its socket and passes it on. It leaves when
nobody asked for anything for a while, when every Snakemake that used it has ended, when it is told to, and after an
item that went wrong in a way that may have spoilt the process. A client that goes away in the middle of its item takes
it along.
"""

import argparse
import contextlib
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import lease, places, stage, wire

LOOK_SECONDS = 0.5  # how often an idle worker looks whether it is still wanted
ABORT_SECONDS = 5.0  # an item whose client went away may clean up for so long
REQUEST_SECONDS = 10.0  # a client that connects has to say what it wants within


class Worker:
    """One place's worker. listener: the bound socket; names: the places that it holds, the first names its files."""

    def __init__(self, listener: socket.socket, names: list[str], idle_seconds: float) -> None:
        self.listener, self.names, self.idle_seconds = listener, names, idle_seconds
        self.owners: set[tuple[int, int]] = set()
        self.key, self.kept, self.items = "", stage.Kept(), 0

    def serve(self) -> None:
        """Answer items until it is time to leave."""
        while (connection := self._next()) is not None:
            with connection:
                if not self._answer(connection):
                    return

    def _next(self) -> socket.socket | None:
        since = time.monotonic()
        self.listener.settimeout(LOOK_SECONDS)
        while True:
            try:
                connection, _ = self.listener.accept()
            except TimeoutError:
                # Owners are looked at when idle only: an item that is under way is its client's to end.
                unwanted = self.owners and not any(map(lease.is_alive, self.owners))
                if unwanted or time.monotonic() - since > self.idle_seconds:
                    return None
                continue
            connection.settimeout(REQUEST_SECONDS)
            return connection

    def _answer(self, connection: socket.socket) -> bool:
        """Serve one connection. Returns whether to stay."""
        if wire.peer_uid(connection) != os.geteuid():
            print("refused a connection of another user", file=sys.stderr, flush=True)
            return True
        try:
            message, files = wire.receive(connection)
        except (OSError, ValueError) as error:
            print(f"a request could not be read: {error}", file=sys.stderr, flush=True)
            return True
        if message is None:
            return True
        owner = tuple(message["owner"]) if message.get("owner") else None
        if message.get("stop"):
            self.owners.discard(owner)
            stay = owner is not None and any(map(lease.is_alive, self.owners))
            with contextlib.suppress(OSError):
                wire.send(connection, {"stays": stay})
            return stay
        if owner:
            self.owners.add(owner)
        try:
            wire.send(connection, {"accepted": os.getpid()})
            answer, stay = self._item(message, files, connection)
        finally:
            # Among them the locks. Before the answer: the client's own copies hold the place until it has read it.
            for file in files:
                os.close(file)
        try:
            wire.send(connection, answer)
        except OSError:
            print("the client was gone before its answer", file=sys.stderr, flush=True)
        return stay

    def _item(self, message: dict[str, Any], files: list[int], connection: socket.socket) -> tuple[dict, bool]:
        script, status, stay, report = Path(message["script"]), 1, False, None
        module = None
        with _as_the_client(message, files[0], files[1]), _watched(connection):
            try:
                module = stage.load_script(script)
                if message["key"] != self.key:
                    self.key, self.kept = message["key"], stage.Kept()
                    gc.collect()  # models refer to themselves in circles
                report = stage.perform(module, message["arguments"], self.kept)
                report["items_before"] = self.items
                self.items += 1
                status, stay = 0, True
            except BaseException as error:
                status, stay = stage.report_failure(error, script.stem, module)
        return {"status": status, "report": report}, stay


@contextlib.contextmanager
def _as_the_client(message: dict[str, Any], out: int, err: int) -> Iterator[None]:
    """Work in the client's folder and environment, and write where it writes: its log, not ours."""
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    os.environ.clear()
    os.environ.update(message["environment"], CUDA_VISIBLE_DEVICES=visible)
    os.chdir(message["folder"])
    ours = os.dup(1), os.dup(2)
    os.dup2(out, 1)
    os.dup2(err, 2)
    try:
        yield
    finally:
        for stream, file in zip((sys.stdout, sys.stderr), ours, strict=True):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
            os.dup2(file, 1 if stream is sys.stdout else 2)
            os.close(file)
        os.chdir("/")  # a folder that somebody works in cannot be removed everywhere


@contextlib.contextmanager
def _watched(connection: socket.socket) -> Iterator[None]:
    """Interrupt the main thread when the client goes away; end the process when that does not help."""
    over, wake = os.pipe()

    def watch() -> None:
        poll = select.poll()
        poll.register(connection, select.POLLIN | select.POLLHUP | select.POLLRDHUP)
        poll.register(over, select.POLLHUP)
        if over in dict(poll.poll()):
            return
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        poll.unregister(connection)
        if not poll.poll(ABORT_SECONDS * 1000):
            os.killpg(os.getpgrp(), signal.SIGKILL)  # with whatever the item has started

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        os.close(wake)
        watcher.join()
        os.close(over)


def _leave(signum: int, frame: object) -> None:
    sys.exit(128 + signum)


def main(argv: list[str] | None = None) -> None:
    """Serve on the socket that was passed on."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listener", type=int, required=True, help="descriptor of the bound socket")
    parser.add_argument("--idle-seconds", type=float, required=True, help="leave after so long without an item")
    parser.add_argument("--owner", type=int, nargs=2, help="id and start of the process that this worker outlives not")
    parser.add_argument("places", nargs="+", help="names of the places that it holds")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    # A shell that starts jobs in the background has them ignore it, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    faulthandler.enable()
    worker = Worker(socket.socket(fileno=args.listener), args.places, args.idle_seconds)
    if args.owner:
        worker.owners.add(tuple(args.owner))
    private = places.folder()
    try:
        worker.serve()
    finally:
        _tidy(private, args.places)


def _tidy(private: Path, names: list[str]) -> None:
    """Take record and socket away, unless a client is at this place just now: then it sees to them."""
    held = lease.try_take(private, tuple(places.Place(name, "") for name in names))
    if held:
        mine = lease.read(private, names[0])
        if mine and mine.process[0] == os.getpid():
            mine.remove(private)
        held.release()


if __name__ == "__main__":
    main()
