"""One run of the whole demo a session, in a copy of the checkout; the tests here read it, or plan on top of it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.dag.conftest import ROOT, copy_checkout

BIN = Path(sys.executable).parent


def snakemake(checkout: Path, *words: str) -> subprocess.CompletedProcess:
    """Snakemake with the demo's profile, as the Makefile calls it."""
    command = [BIN / "snakemake", "--profile", "profiles/demo", *words]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)


def run_small(folder: Path, *targets: str, config: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    """Snakemake in a folder, by the demo's settings with the folder's `mine.json` laid over them."""
    command = [BIN / "snakemake", *targets, "-s", ROOT / "Snakefile", "-d", folder, "--cores", "2", "--keep-going"]
    command += [
        "--resources",
        "gpu=1",
        "network=1",
        "--configfile",
        ROOT / "config" / "demo.yaml",
        folder / "mine.json",
    ]
    command += ["--show-failed-logs", *(["--config", *config] if config else [])]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def run_demo(checkout: Path) -> None:
    """What `make demo` does after installation, in a copy of the checkout."""
    copy_checkout(checkout)
    command = [sys.executable, "simworld/programs/make_world.py", "--output", "build/world"]
    subprocess.run(command, cwd=checkout, check=True, capture_output=True)
    done = snakemake(checkout)
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which `make demo` has run, by the same two commands."""
    folder = tmp_path_factory.mktemp("demo") / "relane_demo"
    run_demo(folder)
    return folder
