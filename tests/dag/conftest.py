"""Planning helpers: a clip sheet of any size, and the plan for it."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

PLAN = Path(__file__).with_name("plan.py")
ROOT = Path(__file__).parents[2]
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


def asked_of_slurm(folder: Path, workdir: Path, target: str, *config: str) -> str:
    """What a false sbatch is asked for a target under profiles/slurm; the words of `config` follow --config.

    The other commands of Slurm say what Snakemake needs to hear; what it does about the refusal is not waited for.
    """
    fake, asked = folder / "bin", folder / "asked"
    fake.mkdir()
    for name in ("sacct", "squeue", "scontrol", "sinfo", "sacctmgr", "scancel"):
        (fake / name).write_text("#!/bin/sh\necho CHANGE_ME\n")
    (fake / "sbatch").write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexit 1\n')
    for program in fake.iterdir():
        program.chmod(0o755)
    command = [SNAKEMAKE, target, "-s", ROOT / "Snakefile", "-d", workdir, "--profile", ROOT / "profiles" / "slurm"]
    environment = os.environ | {"PATH": f"{fake}:{os.environ['PATH']}"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, "--config", *config], env=environment, **quiet) as snakemake:
        until = time.monotonic() + 60
        while snakemake.poll() is None and time.monotonic() < until and not (asked.exists() and asked.read_text()):
            time.sleep(0.1)
        snakemake.kill()
    return asked.read_text()


class Plan(list):
    """The planned jobs, with the questions that tests ask of them."""

    def rules(self) -> set[str]:
        """Names of the rules that would run."""
        return {job["rule"] for job in self}

    def own(self) -> set[str]:
        """Names of the rules whose jobs changed themselves; what follows from other jobs anyway is left out."""
        return {job["rule"] for job in self if job["own"]}

    def of(self, rule: str) -> list[dict]:
        """The planned jobs of one rule."""
        return [job for job in self if job["rule"] == rule]


def plan(
    workdir: Path, *targets: str, configfiles: tuple[str, ...] = (), python: str = sys.executable, **config
) -> Plan:
    """What Snakemake would run for these targets in `workdir`; fails the test with Snakemake's words on an error."""
    request = {"workdir": str(workdir), "targets": targets, "config": config, "configfiles": configfiles}
    return Plan(ask(request, python))


def plans(workdir: Path, *targets: str, configfiles: tuple[str, ...], variants: list[dict]) -> list[Plan]:
    """The plan of every variant: each is a further configuration over the config files, or a further config file."""
    requests = [
        {
            "workdir": str(workdir),
            "targets": targets,
            "config": variant if isinstance(variant, dict) else {},
            "configfiles": [*configfiles, *([] if isinstance(variant, dict) else [str(variant)])],
        }
        for variant in variants
    ]
    return [Plan(jobs) for jobs in ask(requests)]


def ask(request: dict | list[dict], python: str = sys.executable) -> list:
    """The answer of plan.py."""
    done = subprocess.run([python, str(PLAN), json.dumps(request)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])


def touch_backwards(folder: Path) -> list[Path]:
    """Touch every file below a folder, the oldest last: inputs are then newer than their outputs."""
    found = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    files = [path for path in found if not any(part.startswith(".snakemake") for part in path.parts)]
    start_ns = time.time_ns()
    for number, path in enumerate(sorted(files, key=lambda path: -path.stat().st_mtime_ns)):
        os.utime(path, ns=(0, start_ns + number * 10**6))
    return files


def lay_over(under: dict, over: dict) -> None:
    """Lay one configuration over another, section by section, as Snakemake does."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            lay_over(under[key], value)
        else:
            under[key] = value


def respelled(value):
    """The same value in another spelling: keys in reverse order, 10.0 for 10."""
    if isinstance(value, dict):
        return {key: respelled(value[key]) for key in reversed(list(value))}
    if isinstance(value, list):
        return [respelled(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def write_sheet(
    path: Path, clips: int, camera: str = "camera_front_wide_120fov", pai_root: str = "hf://x/y@main"
) -> str:
    """A clip sheet of streamed PhysicalAI-AV clips: planning needs no file of theirs."""
    lines = ["clip_id,camera,uri,pai_root,size,checksum"]
    lines += [f"clip{number:05d},{camera},,{pai_root},," for number in range(clips)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def copy_checkout(folder: Path) -> Path:
    """This checkout's files (tracked, or new and not ignored) in a folder of their own, links kept as links."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (ROOT / name).exists() or (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty folder to plan in: nothing of a run is there yet."""
    return tmp_path
