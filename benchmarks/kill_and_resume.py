"""Kill a run with SIGKILL at random moments, resume it, and compare its outputs with an undisturbed run's.

    .venv/bin/python benchmarks/kill_and_resume.py --kills 3 --seed 0 [TARGET...]

Works in two copies of this checkout, with the configuration of the demo. Videos must be frame-equal; masks, pictures
and arrays byte-equal. Texts and tables (.json, .txt, .csv, .html) record seconds or memory and are not compared, only
their presence is. Exit status 1 on any difference.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

SNAKEMAKE = Path(sys.executable).with_name("snakemake")
# Files that say how long or on what something ran: they differ between any two runs.
RECORDS = (".json", ".txt", ".csv", ".tsv", ".html")


def copy_checkout(folder: Path) -> Path:
    """The tracked files, and the built demo inputs, in a folder of their own."""
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in listing.stdout.splitlines():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target, follow_symlinks=False)
    if (ROOT / "build").exists():
        shutil.copytree(ROOT / "build", folder / "build")
    return folder


def start(folder: Path, targets: list[str]) -> subprocess.Popen:
    """Snakemake in a process group of its own, so that one signal reaches it and all its jobs."""
    command = [SNAKEMAKE, "--profile", "profiles/demo", *targets]
    with open(folder / "run.log", "a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def finish(folder: Path, targets: list[str]) -> float:
    """Run to the end; returns seconds. Clears the lock that a killed run leaves."""
    subprocess.run([SNAKEMAKE, "--profile", "profiles/demo", "--unlock"], cwd=folder, capture_output=True, check=True)
    started = time.monotonic()
    if start(folder, targets).wait():
        sys.exit((folder / "run.log").read_text()[-3000:])
    return time.monotonic() - started


def same(first: Path, second: Path) -> bool:
    """Whether two outputs agree: frames of videos, bytes of everything else."""
    if first.suffix == ".mp4":
        from relane.io.video import iter_frames

        return all((a == b).all() for a, b in zip(iter_frames(first), iter_frames(second), strict=True))
    return first.read_bytes() == second.read_bytes()


def differences(first: Path, second: Path) -> list[str]:
    """Names of results that are in one run only, or differ."""
    names = [
        {str(p.relative_to(f / "results")) for p in (f / "results").rglob("*") if p.is_file()} for f in (first, second)
    ]
    wrong = [f"only in one run: {name}" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if not name.endswith(RECORDS) and not same(first / "results" / name, second / "results" / name):
            wrong.append(f"differs: {name}")
    return wrong


def main() -> None:
    """Undisturbed run, disturbed run, comparison."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("targets", nargs="*", help="what to build; without it, everything")
    options.add_argument("--kills", type=int, default=3)
    options.add_argument("--seed", type=int, default=0)
    args = options.parse_args()
    moments = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        calm, disturbed = (copy_checkout(Path(scratch) / name) for name in ("calm", "disturbed"))
        seconds = finish(calm, args.targets)
        print(f"undisturbed run: {seconds:.0f} s", flush=True)
        for kill in range(args.kills):
            process = start(disturbed, args.targets)
            after = moments.uniform(3, seconds / 2)
            time.sleep(after)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print(f"kill {kill + 1}: SIGKILL after {after:.0f} s", flush=True)
            subprocess.run([SNAKEMAKE, "--profile", "profiles/demo", "--unlock"], cwd=disturbed, capture_output=True)
        print(f"resumed to the end: {finish(disturbed, args.targets):.0f} s", flush=True)
        wrong = differences(calm, disturbed)
        count = sum(1 for path in (calm / "results").rglob("*") if path.is_file())
        print(f"{count} files compared, {len(wrong)} differences", *wrong[:20], sep="\n  ")
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
