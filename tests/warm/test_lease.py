"""Leases: one user of a place at a time, and the place that costs least."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from relane.workers import lease, wire
from relane.workers.places import Place

from .conftest import ROOT, eventually

A, B = Place("a", "a"), Place("b", "b")


def worker_at(private: Path, *names: str, key: str = "key") -> lease.Record:
    """The record of a living worker: this process will do."""
    record = lease.Record((os.getpid(), lease.started(os.getpid())), names, key, "stage", f"{names[0]}.sock")
    record.write(private)
    return record


def test_a_place_is_taken_once_and_free_again_after(tmp_path):
    with lease.take(tmp_path, [(A,)], "key") as held:
        assert held.visible == "a"
        assert lease.try_take(tmp_path, (A,)) is None
    assert lease.try_take(tmp_path, (A,))


def test_a_long_wait_is_said_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lease, "SAY_AFTER_SECONDS", 0.1)
    held = lease.try_take(tmp_path, (A,))
    Timer(0.6, held.release).start()
    with lease.take(tmp_path, [(A,)], "key"):
        assert capsys.readouterr().err == "waiting for one of a: all are in use\n"


def test_all_places_or_none(tmp_path):
    with lease.take(tmp_path, [(B,)], "key"):
        assert lease.try_take(tmp_path, (A, B)) is None
        assert lease.try_take(tmp_path, (A,)), "a lease that failed keeps nothing"


def test_two_at_once_get_two_places(tmp_path):
    with lease.take(tmp_path, [(A,), (B,)], "key") as first, lease.take(tmp_path, [(A,), (B,)], "key") as second:
        assert {first.visible, second.visible} == {"a", "b"}


def taken(private: Path, key: str) -> str:
    with lease.take(private, [(A,), (B,)], key) as held:
        return held.visible


def test_the_place_that_holds_the_models_is_preferred(tmp_path):
    worker_at(tmp_path, "b")
    assert taken(tmp_path, "key") == "b"


def test_a_free_place_is_preferred_to_one_that_holds_other_models(tmp_path):
    worker_at(tmp_path, "a")
    assert taken(tmp_path, "another key") == "b"


def test_of_others_models_those_longest_unused_give_way(tmp_path):
    for name, at in (("a", 2000), ("b", 1000)):
        worker_at(tmp_path, name, key="old")
        os.utime(tmp_path / f"{name}.json", (at, at))
    assert taken(tmp_path, "new") == "b"


def test_models_on_two_gpus_do_not_serve_a_job_on_one(tmp_path):
    record = worker_at(tmp_path, "a", "b")
    assert lease.serves(record, (A, B), "key")
    assert not lease.serves(record, (A,), "key")


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        f"import sys, time; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from pathlib import Path; from relane.workers import lease; from relane.workers.places import Place\n"
        f"held = lease.try_take(Path({str(tmp_path)!r}), (Place('a', 'a'),)); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    holder.stdout.readline()
    assert lease.try_take(tmp_path, (A,)) is None
    holder.kill()
    holder.wait()
    assert eventually(lambda: lease.try_take(tmp_path, (A,)))


def test_a_lock_that_was_handed_on_holds_until_both_have_let_go(tmp_path):
    held = lease.try_take(tmp_path, (A,))
    copy = os.dup(held.files[0])  # as the worker gets it
    held.release()
    assert lease.try_take(tmp_path, (A,)) is None
    os.close(copy)
    assert lease.try_take(tmp_path, (A,))


def test_a_record_is_not_taken_away_by_one_whose_it_is_not(tmp_path):
    old = lease.Record((1, 1), ("a",), "key", "stage", "a.sock")
    new = worker_at(tmp_path, "a")
    old.remove(tmp_path)
    assert lease.read(tmp_path, "a") == new


def test_messages_carry_open_files(tmp_path):
    ours, theirs = socket.socketpair()
    with open(tmp_path / "file", "w+") as file:
        wire.send(ours, {"long": "x" * 100_000}, [file.fileno()])
        message, [copy] = wire.receive(theirs)
    os.write(copy, b"through the copy")
    assert message == {"long": "x" * 100_000}
    assert (tmp_path / "file").read_text() == "through the copy"
    ours.close()
    assert wire.receive(theirs) == (None, [])


def test_a_peers_user_is_the_kernels_word(tmp_path):
    ours, _theirs = socket.socketpair()
    assert wire.peer_uid(ours) == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_a_worker_refuses_another_user_and_goes_on(toys):
    """The folder keeps others out; were it opened, the worker would still not listen to them."""
    toys.run()
    [record] = toys.living()
    path = toys.workers / "local" / record.socket
    for opened in (toys.workers, toys.workers / "local", path):
        opened.chmod(0o777)
    code = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.settimeout(10)\n"
        f"s.connect({str(path)!r}); s.sendall(b'\\0\\0\\0\\x0e' + b'{{\"stop\": true}}'); sys.exit(len(s.recv(1)))"
    )
    done = subprocess.run([sys.executable, "-c", code.replace("{{", "{").replace("}}", "}")], check=False)
    assert done.returncode in (0, 1)
    assert record.alive
    assert "another user" in (toys.workers / "local" / "gpu-a.log").read_text()
    for closed in (toys.workers / "local", toys.workers):
        closed.chmod(0o700)
    assert toys.run().returncode == 0
    assert len(toys.loads()) == 1
    os.kill(record.process[0], signal.SIGTERM)
