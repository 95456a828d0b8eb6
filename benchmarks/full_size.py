"""Every model stage at its real size, random weights in memory, against the stock library used plainly.

    python benchmarks/full_size.py --output rows.jsonl --table benchmarks/RESULTS.md    # a GPU, all stages
    python benchmarks/full_size.py --output rows.jsonl --only edit drive --budget 200   # some, in 200 seconds
    python benchmarks/full_size.py --output rows.jsonl --size tiny --device cpu         # the same code, small, anywhere
    python benchmarks/full_size.py --output rows.jsonl --table-only true --table t.md   # the table of rows made before

The weights are random, so nothing painted or said means anything; times and memory do not depend on that. Each stage
runs in a process of its own with a time limit, rows are appended as they come, and a stage that fails takes nothing
with it. While one stage runs, the next one's process imports its libraries.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from relane import cli

# Name -> seconds that it may take on an H100. Most wanted first: the budget may not reach the last ones.
STAGES = {
    "card": 40,
    "edit": 240,
    "drive": 80,
    "caption": 80,
    "edit_memory": 110,
    "train_lora": 120,
    "first_frame": 110,
    "segment": 60,
    "first_frame_memory": 80,
    "segment_compiled": 240,
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--output", type=Path, required=True, help="JSON lines; rows are appended")
    add("--only", nargs="+", choices=tuple(STAGES), help="these stages; without it, all")
    add("--size", choices=("full", "tiny"), default="full")
    add("--device", default="cuda", help="cuda, cuda:N or cpu")
    add("--budget", type=float, default=420.0, help="seconds for all stages together")
    add("--table", type=Path, help="Markdown to write from all rows of --output")
    add("--table-only", type=cli.true_or_false, default=False, help="measure nothing")
    add("--stage", choices=tuple(STAGES), help=argparse.SUPPRESS)
    return options


def run_stage(args: argparse.Namespace) -> None:
    """One stage in this process: import, wait for a line on stdin that says that the device is free, measure."""
    import importlib

    import torch
    from stages.measure import Bench, card_rate

    run = card_rate if args.stage == "card" else importlib.import_module(f"stages.{args.stage}").run
    given = sys.stdin.readline()
    if not given:
        return
    bench = Bench(args.stage, args.size == "tiny", torch.device(args.device), args.output, float(given))
    torch.manual_seed(0)
    run(bench)


def start(args: argparse.Namespace, stage: str, logs: Path) -> subprocess.Popen:
    """A stage's process, which imports and waits; what it prints goes to a file of its name in `logs`."""
    command = [sys.executable, __file__, "--stage", stage, "--output", str(args.output)]
    command += ["--size", args.size, "--device", args.device]
    with (logs / f"{stage}.log").open("w") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, start_new_session=True, env=environment()
        )


def environment() -> dict[str, str]:
    """Of a stage's process: no hub is asked, and the memory of the device is not cut into pieces."""
    own = {
        "HF_HUB_OFFLINE": "1",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "TOKENIZERS_PARALLELISM": "false",
    }
    return own | os.environ


def finish(process: subprocess.Popen, rate: float, limit: float) -> str:
    """Let a waiting stage go and wait for its end; says how it ended. Past `limit` seconds it is killed."""
    try:
        process.communicate(f"{rate}\n", timeout=max(limit, 1))
    except subprocess.TimeoutExpired:
        stop(process)
        return f"stopped after {limit:.0f} s"
    return "done" if process.returncode == 0 else f"failed with exit status {process.returncode}"


def stop(process: subprocess.Popen) -> None:
    """End a stage and what it started (torch.compile has workers)."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def measure(args: argparse.Namespace) -> bool:
    """Run the stages one after the other; True when each came to its end."""
    logs = args.output.with_suffix(".logs")
    logs.mkdir(parents=True, exist_ok=True)
    args.output.touch()
    wanted = [name for name in STAGES if not args.only or name in args.only]
    wanted = list(dict.fromkeys(["card", *wanted]))
    began, fine = time.monotonic(), True
    waiting = start(args, wanted[0], logs)
    for stage, following in zip(wanted, [*wanted[1:], None], strict=True):
        process, waiting = waiting, start(args, following, logs) if following else None
        left = args.budget - (time.monotonic() - began)
        started = time.monotonic()
        if left < 10:
            stop(process)
            said = "not started: the budget is spent"
        else:
            said = finish(process, rate_of(args.output), min(STAGES[stage], left))
        print(f"{stage}: {said}, {time.monotonic() - started:.1f} s", flush=True)
        if said != "done":
            fine = False
            print("\n".join((logs / f"{stage}.log").read_text(errors="replace").splitlines()[-15:]), flush=True)
    return fine


def read_rows(path: Path) -> list[dict]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def rate_of(path: Path) -> float:
    """The card's rate by the newest row that has one; 0 where none has."""
    return next((row["rate"] for row in reversed(read_rows(path)) if "rate" in row), 0.0)


def main(argv: list[str] | None = None) -> None:
    """Measure, then print the rows and write the table."""
    args = parser().parse_args(argv)
    if args.stage:
        run_stage(args)
        return
    fine = args.table_only or measure(args)
    from stages.table import markdown

    text = markdown(read_rows(args.output))
    if args.table:
        args.table.write_text(text, encoding="utf-8")
    print(text)
    if not fine:
        sys.exit(1)


if __name__ == "__main__":
    cli.run(main)
