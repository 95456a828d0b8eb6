"""One job after another on one fake GPU: what keeps the models loaded, what does not, and what a failure says."""

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from relane.workers import lease
from relane.workers.places import Place

from .conftest import eventually


def test_the_second_item_finds_the_models_loaded(toys):
    assert toys.run("--item=one").returncode == 0
    assert toys.run("--item=two", "--output=second").returncode == 0
    assert len(toys.loads()) == 1
    assert (toys.folder / "second").read_text().startswith("2 gpu-a ")  # the second item of these models, on that GPU


def test_without_a_worker_the_same_command_gives_the_same_and_leaves_no_process(toys):
    done = toys.run("--item=one", options=("--enabled=false",))
    assert done.returncode == 0
    assert (toys.folder / "output").read_text().startswith("1 gpu-a ")
    assert not toys.living()
    toys.run(options=("--enabled=false",))
    assert len(toys.loads()) == 2


def test_a_script_that_keeps_no_models_has_a_gpu_of_its_own(toys):
    script = toys.stage("training")
    main = "def main(argv):\n    args = parser().parse_args(argv)\n    run(args, load(args))"
    script.write_text(script.read_text().replace('LOADS = ("weights", "device")', main))
    toys.run(script="stage")
    [before] = toys.living()
    assert toys.run(script="training").returncode == 0
    assert (toys.folder / "output").read_text().startswith("1 gpu-a ")
    assert not before.alive, "its models would have taken the memory"
    assert not toys.living()


def test_an_item_writes_to_its_own_log_in_its_own_folder_and_environment(toys):
    toys.run()
    toys.environment["WORD"] = "another"
    done = toys.run("--item=two")
    assert "item two" in done.stdout
    assert "models were loaded" in done.stderr
    assert (toys.folder / "output").read_text().endswith(" another")


def test_what_an_item_cost_is_added_to_its_record(toys):
    for warm in (False, True):
        (toys.folder / "record.json").write_text('{"video": "a"}')
        toys.run("--seconds=0.2", options=("--record=record.json",))
        record = json.loads((toys.folder / "record.json").read_text())
        assert record["video"] == "a"
        assert record["worker"]["gpu"] == "gpu-a"
        assert record["worker"]["models_were_loaded"] is warm
        assert (record["worker"]["load_seconds"] == 0) is warm
        assert 0.2 <= record["worker"]["work_seconds"] <= record["worker"]["gpu_seconds"]
        assert record["worker"]["gpu_peak_bytes"] == 0  # no torch here


def test_other_weights_in_the_same_place_are_loaded(toys):
    (toys.folder / "weights").mkdir()
    file = toys.folder / "weights" / "model"
    file.write_text("old")
    toys.run("--weights=weights")
    toys.run("--weights=weights")
    assert len(toys.loads()) == 1
    file.write_text("new")  # same size: only its time tells
    toys.run("--weights=weights")
    assert len(toys.loads()) == 2


def test_changed_code_starts_a_new_worker(toys):
    script = toys.stage()
    toys.run()
    script.write_text(script.read_text().replace("item {args.item}", "changed {args.item}"))
    done = toys.run()
    assert "changed good" in done.stdout
    assert len({line.split()[1] for line in toys.loads()}) == 2


def test_another_stage_takes_the_gpu_over(toys):
    toys.run(script="first")
    [before] = toys.living()
    toys.run(script="second")
    [after] = toys.living()
    assert not before.alive
    assert (before.stage, after.stage) == ("first", "second")


def test_on_a_cpu_the_process_serves_the_next_stage_too(toys):
    """What costs there is the import of the libraries; on a GPU the process has to end to free the memory."""
    toys.environment["RELANE_GPUS"] = ""
    for name in ("first", "second"):
        toys.stage(name)
    for name in ("first", "second", "second", "first"):
        assert toys.run(script=name, options=("--cpu-slots=1",)).returncode == 0
    assert [line.split()[0] for line in toys.loads()] == ["first", "second", "first"]
    assert len({line.split()[1] for line in toys.loads()}) == 1
    script = toys.folder / "second.py"
    script.write_text(script.read_text().replace("item {args.item}", "changed {args.item}"))
    assert "changed" in toys.run(script="second", options=("--cpu-slots=1",)).stdout
    assert len({line.split()[1] for line in toys.loads()}) == 2


def test_wrong_input_is_said_and_costs_no_models(toys):
    done = toys.run("--item=wrong")
    assert done.returncode == 2
    assert "error: wrong is wrong" in done.stderr
    assert toys.run().returncode == 0
    assert len(toys.loads()) == 1


def test_a_wrong_flag_needs_no_gpu_to_be_found(toys):
    done = toys.run("--itme=one")
    assert done.returncode == 2
    assert "unrecognized arguments: --itme=one" in done.stderr
    assert not toys.living()


def test_a_bug_is_shown_and_the_next_item_gets_a_fresh_process(toys):
    done = toys.run("--item=bug")
    assert done.returncode == 1
    assert "RuntimeError: a bug" in done.stderr
    assert "in run" in done.stderr  # the traceback, in the job's own log
    assert toys.run().returncode == 0
    assert len(toys.loads()) == 2


def test_out_of_memory_names_the_stage_and_the_key_that_lowers_it(toys):
    done = toys.run("--item=large")
    assert done.returncode == 1
    assert "stage: out of memory on GPU gpu-a" in done.stderr
    assert "To lower it: toy.size: small" in done.stderr
    assert toys.run().returncode == 0


def test_a_crash_fails_its_item_and_the_next_one_starts_anew(toys):
    toys.run()
    done = toys.run("--item=crash")
    assert done.returncode == 1
    assert "the worker of stage on GPU gpu-a" in done.stderr
    assert "in the middle of this item" in done.stderr
    assert toys.run().returncode == 0
    assert len(toys.loads()) == 2


def test_an_idle_worker_leaves_and_takes_its_files_along(toys):
    toys.idle_seconds = 0.2
    toys.run()
    assert eventually(lambda: not toys.living())
    assert eventually(lambda: not list((toys.workers / "local").glob("*.sock")))


def test_a_worker_does_not_outlive_the_process_that_it_works_for(toys):
    owner = subprocess.Popen(["sleep", "60"])
    toys.run(options=(f"--owner={owner.pid}",))
    assert toys.living()
    owner.kill()  # and not waited for: a zombie has ended too
    assert eventually(lambda: not toys.living())
    owner.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_job_that_is_ended_takes_its_item_along(toys, number):
    toys.run()
    [record] = toys.living()
    job = toys.start("--seconds=60", "--output=late")
    assert eventually((toys.folder / "late.partial").exists)
    job.send_signal(number)
    job.wait(20)
    if number != signal.SIGKILL:  # which leaves the job no time to wait for the worker's end
        assert not record.alive
    assert eventually(lambda: not record.alive)
    assert not (toys.folder / "late.partial").exists(), "the item could not clean up"
    assert toys.run().returncode == 0


def test_a_gpu_stays_taken_while_a_killed_jobs_item_still_ends(toys):
    """The lock is the worker's too: else the next job would share the GPU with an item that nobody waits for."""
    script = toys.stage()
    script.write_text(script.read_text().replace("    finally:\n", "    finally:\n        time.sleep(1)\n"))
    job = toys.start("--seconds=60", "--output=late")
    assert eventually((toys.folder / "late.partial").exists)
    job.kill()
    job.wait()
    private, place = toys.workers / "local", (Place("gpu-a", "gpu-a"),)
    assert lease.try_take(private, place) is None
    assert eventually(lambda: lease.try_take(private, place))
    assert not (toys.folder / "late.partial").exists()


def test_an_item_that_ignores_its_end_is_ended(toys):
    script = toys.stage()
    stubborn = """while True:
            try:
                time.sleep(60)
            except KeyboardInterrupt:
                pass"""
    script.write_text(script.read_text().replace("time.sleep(args.seconds)", stubborn))
    job = toys.start("--output=late")
    assert eventually((toys.folder / "late.partial").exists)
    [record] = toys.living()
    job.kill()  # so that only the worker itself can see to it
    assert eventually(lambda: not record.alive)


def test_a_stale_record_and_socket_are_no_worker(toys):
    private = toys.workers / "local"
    private.mkdir(mode=0o700)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(private / "gpu-a.sock"))  # bound, but nobody listens
    # A running process with this number, but not the one that was recorded.
    lease.Record((os.getpid(), 1), ("gpu-a",), "key", "stage", "gpu-a.sock").write(private)
    assert toys.run().returncode == 0
    assert len(toys.loads()) == 1


def test_a_dead_worker_whose_parent_lives_on_is_recognised(toys):
    """Such a zombie still takes signals: whoever asks with kill(pid, 0) waits for it for ever."""
    zombie = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start = lease.started(zombie.pid)
    assert lease.is_alive((zombie.pid, start))
    zombie.stdin.close()
    assert eventually(lambda: not lease.is_alive((zombie.pid, start)))
    os.kill(zombie.pid, 0)
    private = toys.workers / "local"
    private.mkdir(mode=0o700)
    lease.Record((zombie.pid, start), ("gpu-a",), "key", "stage", "gpu-a.sock").write(private)
    assert toys.run().returncode == 0
    zombie.wait()
