"""One run of the whole demo a session, in a copy of the checkout; the tests here read it, or plan on top of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tests.dag.conftest import copy_checkout

BIN = Path(sys.executable).parent


def alone(checkout: Path) -> FileLock:
    """A lock for the time that Snakemake works in a checkout: test workers share it, and Snakemake refuses company."""
    return FileLock(f"{checkout}.busy", is_singleton=True)


def snakemake(checkout: Path, *words: str) -> subprocess.CompletedProcess:
    """Snakemake with the demo's profile, as the Makefile calls it."""
    command = [BIN / "snakemake", "--profile", "profiles/demo", *words]
    with alone(checkout):
        return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def run_demo(checkout: Path) -> None:
    """What `make demo` does after installation, in a copy of the checkout."""
    copy_checkout(checkout)
    command = [sys.executable, "scripts/make_world.py", "--output", "build/world"]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    done = snakemake(checkout)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which `make demo` has run, by the same two commands."""
    # Test workers share one run: the first to come makes it, the others wait and read.
    shared = tmp_path_factory.getbasetemp().parent if os.environ.get("PYTEST_XDIST_WORKER") else None
    folder = (shared or tmp_path_factory.mktemp("demo")) / "relane_demo"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            run_demo(folder)
            (folder / "done").touch()
    return folder
