"""Whole runs of Snakemake with toy stages: what is loaded, what is lost, what runs again, what is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ON_GPU, Toys, eventually

SNAKEMAKE = Path(sys.executable).with_name("snakemake")
SNAKEFILE = """
import os
import sys

sys.path.insert(0, {scripts!r})
from relane.workers import client, lease

OWNER = os.getpid()
ON_GPU = f"{python} {on_gpu} --owner={{OWNER}} --idle-seconds=60"
ITEMS = config.get("items", "0 1 2 3 4 5 6 7 8 9").split()


rule all:
    input:
        expand("second/{{item}}", item=ITEMS),


rule first:
    output:
        "first/{{item}}",
    log:
        "logs/first/{{item}}",
    priority: 10
    resources:
        gpu=1,
    shell:
        "{{ON_GPU}} first.py --item {{wildcards.item}} --seconds {{config[seconds]}} --output {{output}} > {{log}} 2>&1"


rule second:
    input:
        "first/{{item}}",
    output:
        "second/{{item}}",
    log:
        "logs/second/{{item}}",
    resources:
        gpu=1,
    shell:
        "{{ON_GPU}} second.py --item {{wildcards.item}} --output {{output}} > {{log}} 2>&1"


onsuccess:
    client.stop_all((OWNER, lease.started(OWNER)))


onerror:
    client.stop_all((OWNER, lease.started(OWNER)))
"""


@pytest.fixture
def flow(toys: Toys) -> Toys:
    """The toys with a Snakefile of two stages, ten items each."""
    toys.stage("first")
    toys.stage("second")
    scripts = str(ON_GPU.parent)
    (toys.folder / "Snakefile").write_text(SNAKEFILE.format(scripts=scripts, python=sys.executable, on_gpu=ON_GPU))
    return toys


def start(flow: Toys, *words: str, gpus: int = 1, seconds: float = 0) -> subprocess.Popen:
    """Snakemake under way, in a process group of its own, as a terminal would start it."""
    command = [SNAKEMAKE, f"-c{gpus}", f"--resources=gpu={gpus}", "--quiet", "--config", f"seconds={seconds}", *words]
    job = subprocess.Popen(
        command,
        cwd=flow.folder,
        env=flow.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    flow.started.append(job)
    return job


def run(flow: Toys, *words: str, gpus: int = 1) -> int:
    """Snakemake to its end; returns the exit status."""
    job = start(flow, *words, gpus=gpus)
    said, _ = job.communicate(timeout=120)
    print(said)
    return job.returncode


def test_ten_items_a_stage_load_each_stages_models_once_and_a_deleted_output_reruns_alone(flow):
    assert run(flow) == 0
    assert sorted(line.split()[0] for line in flow.loads()) == ["first", "second"]
    assert not flow.living(), "the workers end with the run"

    kept = {path: path.stat().st_mtime_ns for path in flow.folder.glob("*/[0-9]")}
    (flow.folder / "second" / "4").unlink()
    assert run(flow) == 0
    again = [path for path in flow.folder.glob("*/[0-9]") if path.stat().st_mtime_ns != kept[path]]
    assert again == [flow.folder / "second" / "4"]
    assert len(flow.loads()) == 3


def test_a_crash_loses_one_item(flow):
    items = "0 1 crash 3 4"
    assert run(flow, f"items={items}", "--keep-going") != 0
    for name in ("first", "second"):
        assert {path.name for path in (flow.folder / name).glob("?")} == {"0", "1", "3", "4"}
        assert not (flow.folder / name / "crash").exists()
    assert "ended in the middle of this item" in (flow.folder / "logs" / "first" / "crash").read_text()
    # Once before the crash and, unless it came last, once after.
    assert [line.split()[0] for line in flow.loads()].count("first") <= 2
    assert not flow.living()


def test_two_gpus_share_the_work_and_load_once_each(flow):
    flow.environment["RELANE_GPUS"] = "gpu-a,gpu-b"
    job = start(flow, "items=0 1 2 3 4 5", "--until", "first", gpus=2, seconds=0.5)
    assert job.wait(120) == 0
    used = [(flow.folder / "first" / str(item)).read_text().split()[1] for item in range(6)]
    assert set(used) == {"gpu-a", "gpu-b"}
    assert sorted(line.split()[2] for line in flow.loads()) == ["gpu-a", "gpu-b"]


def test_without_a_gpu_the_slots_are_the_runs_own_and_nothing_of_them_is_left(flow):
    flow.environment["RELANE_GPUS"] = ""
    assert run(flow, "items=0 1") == 0
    assert len(flow.loads()) == 2
    assert not list((flow.workers / "local").glob("cpu*"))


def test_a_killed_snakemake_leaves_no_worker(flow):
    job = start(flow, "items=0 1", seconds=0.5)
    assert eventually((flow.folder / "first" / "0").exists)
    assert flow.living()
    os.kill(job.pid, signal.SIGKILL)
    assert eventually(lambda: not flow.living())


def test_ctrl_c_leaves_no_process_behind(flow):
    job = start(flow, "items=0 1", seconds=60)
    assert eventually(lambda: list((flow.folder / "first").glob("*.partial")))
    [record] = flow.living()
    os.killpg(job.pid, signal.SIGINT)  # as a terminal does: to Snakemake and its jobs, not to the workers
    assert job.wait(60) != 0
    assert eventually(lambda: not record.alive)
    assert not flow.living()
    assert not list(flow.folder.glob("first/*")), "something was half-written"
