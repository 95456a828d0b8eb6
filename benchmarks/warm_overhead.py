"""What a job costs beyond its work when a worker keeps the models, and how many loads that saves.

    .venv/bin/python benchmarks/warm_overhead.py [--items 10] [--load 3] [--work 0.2]

Two stages that sleep instead of computing run under Snakemake on one fake GPU, with workers and without. Prints a row
for each: loads, seconds, seconds a job beyond work and loading (Snakemake's own share included); then what a warm job
costs by itself, and what each model script costs in the job's own process before it hands over. Goal: at most 1 s.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
MODEL_SCRIPTS = [
    "segment_road",
    "dataset_frames",
    "caption_frames",
    "first_frame",
    "edit_video",
    "evaluate_edit",
    "drive",
]

STAGE = """
import argparse
import time
from pathlib import Path

LOADS = ("load_seconds",)


def parser():
    p = argparse.ArgumentParser()
    p.add_argument("--load-seconds", type=float)
    p.add_argument("--work-seconds", type=float)
    p.add_argument("--output", type=Path)
    return p


def load(args):
    time.sleep(args.load_seconds)
    with open("loads", "a") as file:
        file.write("1")
    return {}


def run(args, models):
    time.sleep(args.work_seconds)
    args.output.write_text("")
"""

RULE = """
rule {stage}:
    input: {input}
    output: "{stage}/{{item}}"
    priority: {priority}
    resources: gpu=1
    shell: "{{ON_GPU}} {stage}.py --load-seconds {{config[load]}} --work-seconds {{config[work]}} --output {{output}}"
"""

HEAD = """
import os
import sys

sys.path.insert(0, {scripts!r})
from relane.workers import client, lease

ON_GPU = f"{python} {scripts}/on_gpu.py --owner={{os.getpid()}} --enabled={{config['workers']}}"
ITEMS = range(int(config["items"]))


rule all:
    input: expand("second/{{item}}", item=ITEMS)


onsuccess:
    client.stop_all((os.getpid(), lease.started(os.getpid())))
"""


def prepare(folder: Path) -> None:
    """Two stages and their Snakefile."""
    text = HEAD.format(scripts=str(SCRIPTS), python=sys.executable)
    text += RULE.format(stage="first", input="[]", priority=10)
    text += RULE.format(stage="second", input='"first/{item}"', priority=0)
    (folder / "Snakefile").write_text(text)
    for stage in ("first", "second"):
        (folder / f"{stage}.py").write_text(STAGE)


def run_flow(folder: Path, workers: bool, args: argparse.Namespace) -> tuple[float, int]:
    """One run of all items through both stages; returns seconds and the number of loads."""
    folder.mkdir()
    prepare(folder)
    command = [
        SNAKEMAKE,
        "-c1",
        "--resources",
        "gpu=1",
        "--quiet",
        "all",
        "--config",
        f"workers={str(workers).lower()}",
    ]
    command += [f"load={args.load}", f"work={args.work}", f"items={args.items}"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return seconds, len((folder / "loads").read_text())


def empty_run(folder: Path, args: argparse.Namespace) -> float:
    """Seconds in which Snakemake starts, plans the same jobs and runs none."""
    command = [SNAKEMAKE, "-c1", "--quiet", "all", "-n", "-F", "--config", "workers=true", "load=0", "work=0"]
    started = time.monotonic()
    subprocess.run([*command, f"items={args.items}"], cwd=folder, capture_output=True, check=True)
    return time.monotonic() - started


def one_warm_job(folder: Path, args: argparse.Namespace) -> float:
    """Median seconds of a job that finds its models loaded, beyond its work; without Snakemake."""
    command = [sys.executable, SCRIPTS / "on_gpu.py", "--idle-seconds=30", f"--owner={os.getpid()}", "first.py"]
    command += ["--load-seconds=0", f"--work-seconds={args.work}", "--output=again"]
    seconds = []
    for _ in range(args.items + 1):
        started = time.monotonic()
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds[1:]) - args.work


def own_cost(script: str) -> float:
    """Seconds of interpreter, arguments and digest of one model script: all that a job's own process does."""
    code = (
        "from pathlib import Path; from relane.workflow.code_digest import code_digest\n"
        "from relane.workers import client, stage\n"
        f"path = Path({str(SCRIPTS / script)!r} + '.py'); stage.load_script(path).parser(); code_digest(path)"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(SCRIPTS)}, check=True)
    return time.monotonic() - started


def main() -> None:
    """Print the rows."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--items", type=int, default=10, help="items of each of the two stages")
    options.add_argument("--load", type=float, default=3.0, help="seconds that loading a model takes")
    options.add_argument("--work", type=float, default=0.2, help="seconds of work an item")
    args = options.parse_args()
    jobs = 2 * args.items
    print(f"two stages of {args.items} items, {args.load} s to load, {args.work} s of work, one fake GPU", flush=True)
    # A short path: sockets have no long ones.
    with tempfile.TemporaryDirectory(prefix="relane-", dir="/tmp") as scratch:
        os.environ |= {"RELANE_WORKERS": f"{scratch}/w", "RELANE_GPUS": "fake"}
        rows = {}
        for workers in (True, False):
            folder = Path(scratch) / str(workers)
            rows[workers] = seconds, loads = run_flow(folder, workers, args)
            beyond = (seconds - empty_run(folder, args) - jobs * args.work - loads * args.load) / jobs
            name = "with workers" if workers else "without"
            print(
                f"{name:13}{loads:3} loads {seconds:7.1f} s   {beyond:.2f} s a job beyond work and loading", flush=True
            )
        print(
            f"with workers {rows[False][0] / rows[True][0]:.1f}x faster, {rows[False][1] - rows[True][1]} loads saved"
        )
        print(f"a warm job by itself: {one_warm_job(Path(scratch) / 'True', args):.2f} s beyond its work")
    for script in MODEL_SCRIPTS:
        print(f"{script}: {own_cost(script):.2f} s in the job's own process")
    print(f"load average while measuring: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
