"""Every model stage at its real size, random weights in memory, against the stock library used plainly.

    python benchmarks/full_size.py --output rows.jsonl --table benchmarks/RESULTS.md    # a GPU, all stages
    python benchmarks/full_size.py --output rows.jsonl --only edit drive --budget 200   # some, in 200 seconds
    python benchmarks/full_size.py --output rows.jsonl --size tiny --device cpu         # the same code, small, anywhere
    python benchmarks/full_size.py --output rows.jsonl --table-only true --table t.md   # the table of rows made before

The weights are random, so nothing painted or said means anything; times and memory do not depend on that. Each stage
runs in a process of its own with a time limit, rows are appended as they come, and a stage that fails takes nothing
with it.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from relane import cli

# Name -> seconds that it may take on an H100. Most wanted first: the budget may not reach the last ones.
STAGES = {
    "card": 40,
    "edit": 300,
    "edit_flash_4": 200,
    "drive": 150,
    "caption": 120,
    "edit_memory": 110,
    "train_lora": 120,
    "first_frame": 110,
    "segment": 60,
    "first_frame_memory": 80,
    "segment_compiled": 240,
}

# Of a stage's process: no hub is asked, and the memory of the device is not cut into pieces.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "TOKENIZERS_PARALLELISM": "false",
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
    return options


def run_stage(stage: str, args: argparse.Namespace, rate: float, log: Path) -> None:
    """One stage in this process, which leads a group of its own; what it prints goes to `log`."""
    import importlib

    import torch
    from stages.measure import Bench, card_rate

    os.setsid()
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    run = card_rate if stage == "card" else importlib.import_module(f"stages.{stage}").run
    torch.manual_seed(0)
    run(Bench(stage, args.size == "tiny", torch.device(args.device), args.output, rate))


def server(stages: list[str]) -> multiprocessing.context.ForkServerContext:
    """Starts stages' processes from one that has imported their libraries: once, and never beside a measurement."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.measure", *(f"stages.{name}" for name in stages if name != "card")])
    return context


def finish(process: multiprocessing.process.BaseProcess, limit: float) -> str:
    """Wait for a stage's end and say how it ended. Past `limit` seconds it is killed, with what it started."""
    process.join(limit)
    if process.exitcode is None:
        os.killpg(process.pid, signal.SIGKILL)  # torch.compile has workers
        process.join()
        return f"stopped after {limit:.0f} s"
    return "done" if process.exitcode == 0 else f"failed with exit status {process.exitcode}"


def measure(args: argparse.Namespace) -> bool:
    """Run the stages one after the other; True when each came to its end."""
    logs = args.output.with_suffix(".logs")
    logs.mkdir(parents=True, exist_ok=True)
    args.output.touch()
    wanted = ["card", *(name for name in STAGES if name != "card" and (not args.only or name in args.only))]
    context = server(wanted)
    began, fine = time.monotonic(), True
    for stage in wanted:
        left, started, log = args.budget - (time.monotonic() - began), time.monotonic(), logs / f"{stage}.log"
        if left < 10:
            said = "not started: the budget is spent"
        else:
            process = context.Process(target=run_stage, args=(stage, args, rate_of(args.output), log))
            process.start()
            said = finish(process, min(STAGES[stage], left))
        print(f"{stage}: {said}, {time.monotonic() - started:.1f} s", flush=True)
        if said != "done":
            fine = False
            print("\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else "", flush=True)
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
