"""Toy model scripts that sleep instead of loading, and a folder for their workers that no other run shares."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from relane.workers import lease

ROOT = Path(__file__).parents[2]
ON_GPU = ROOT / "scripts" / "on_gpu.py"

# Every load adds a line to `loads`; what an item does is said by its name.
STAGE = '''
import argparse
import os
import sys
import time
from pathlib import Path

from relane.errors import InputError

LOADS = ("weights", "device")
LESS_MEMORY = "toy.size: small"


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


def parser():
    p = argparse.ArgumentParser()
    p.add_argument("--weights", default="")
    p.add_argument("--device", default="auto")
    p.add_argument("--item", default="good")
    p.add_argument("--seconds", type=float, default=0.0)
    p.add_argument("--output", type=Path, default="output")
    return p


def load(args):
    time.sleep(0.1)
    with open("loads", "a") as file:
        file.write(f"{Path(__file__).stem} {os.getpid()} {os.environ['CUDA_VISIBLE_DEVICES']}\\n")
    return {"items": 0}


def run(args, models):
    models["items"] += 1
    print(f"item {args.item}", flush=True)
    partial = args.output.with_suffix(".partial")
    try:
        partial.write_text("half")
        time.sleep(args.seconds)
        if "crash" in args.item:
            os._exit(7)
        if "wrong" in args.item:
            raise InputError(f"{args.item} is wrong")
        if "bug" in args.item:
            raise RuntimeError("a bug")
        if "large" in args.item:
            raise OutOfMemoryError("tried to allocate 80 GiB")
        gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        args.output.write_text(f"{models['items']} {gpu} {os.getpid()} {os.environ.get('WORD', '')}")
    finally:
        partial.unlink(missing_ok=True)
'''


@dataclass
class Toys:
    """A folder with toy stages, and the workers that serve them."""

    folder: Path
    workers: Path
    environment: dict[str, str]
    idle_seconds: float = 30
    started: list[subprocess.Popen] = field(default_factory=list)

    def stage(self, name: str = "stage") -> Path:
        """A toy script of that name."""
        path = self.folder / f"{name}.py"
        path.write_text(STAGE)
        return path

    def command(self, *words: object, script: str = "stage", options: tuple[str, ...] = ()) -> list[str]:
        """One job: on_gpu.py with a stage and its arguments."""
        path = self.folder / f"{script}.py"
        flags = [f"--idle-seconds={self.idle_seconds}", *options, path if path.exists() else self.stage(script), *words]
        return [sys.executable, str(ON_GPU), *map(str, flags)]

    def run(self, *words: object, **how) -> subprocess.CompletedProcess:
        """One job, to its end."""
        return subprocess.run(
            self.command(*words, **how),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def start(self, *words: object, **how) -> subprocess.Popen:
        """One job, under way."""
        job = subprocess.Popen(
            self.command(*words, **how),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(job)
        return job

    def loads(self) -> list[str]:
        """A line a load: stage, process, GPU."""
        path = self.folder / "loads"
        return path.read_text().splitlines() if path.exists() else []

    def living(self) -> list[lease.Record]:
        """The workers that run."""
        return [record for record in lease.records(self.workers / "local") if record.alive]


@pytest.fixture
def toys(tmp_path: Path) -> Iterator[Toys]:
    """Toy stages on one fake GPU; its workers are gone after the test."""
    # Sockets need a short path, which tmp_path is not.
    workers = Path(tempfile.mkdtemp(prefix="relane-", dir="/tmp"))
    environment = {name: value for name, value in os.environ.items() if name != "SLURM_JOB_ID"}
    environment |= {"RELANE_WORKERS": str(workers), "RELANE_GPUS": "gpu-a", "PYTHONDONTWRITEBYTECODE": "1"}
    made = Toys(tmp_path, workers, environment)
    yield made
    for job in made.started:
        job.kill()
    for record in made.living():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(record.process[0], signal.SIGKILL)
    for job in made.started:  # only now: a worker may hold the other end of a job's output
        job.communicate()
    shutil.rmtree(workers, ignore_errors=True)


def eventually(happens: Callable[[], object], seconds: float = 20) -> bool:
    """Whether it happens within that time."""
    until = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True
