"""Run a model script on a GPU of its own, with its models kept loaded for the next item: python on_gpu.py SCRIPT ...

Leases a free GPU by a lock file (CUDA_VISIBLE_DEVICES says which there are), so that jobs which run at once spread over
the GPUs. The item goes to the worker process that holds the script's models there; it is started where there is none.
With --enabled false, or for a script that keeps no models, the item runs in this process, on its leased GPU.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.workers import Workers
from relane.workers import client, lease


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of section `workers` with dashes."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add_options(options, Workers)
    add("--owner", type=int, default=0, help="id of the process that no worker outlives, such as Snakemake's; 0: none")
    add(
        "--record",
        type=Path,
        action="append",
        default=[],
        help="JSON that the script writes and that gets `made_by`; may be given often. The first also gets `worker`: "
        "GPU, seconds and memory",
    )
    add("--weights", type=json.loads, default={}, help="digests of the script's checkpoints, JSON, for `made_by`")
    add("--module", action="append", default=[], help="a module that the script imports by name, for `made_by`")
    add("script", type=Path, help="a model script, such as edit_video.py")
    add("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return options


def note(script: str, report: dict[str, Any]) -> str:
    """The log's line about an item."""
    loaded = "models were loaded" if report["models_were_loaded"] else f"loading took {report['load_seconds']:.1f} s"
    where = f"GPU {report['gpu']}, peak {report['gpu_peak_bytes'] / 2**30:.1f} GiB" if report["gpu"] else "CPU"
    return f"{script}: {report['work_seconds']:.1f} s of work on {where}; {loaded}"


def main(argv: list[str] | None = None) -> None:
    """Run one item and leave with its exit status."""
    args = parser().parse_args(argv)
    started = lease.started(args.owner) if args.owner else None
    owner = (args.owner, started) if started is not None else None
    settings = client.Settings(args.enabled, args.idle_seconds, args.cpu_slots, owner)
    status, report = client.run(args.script, args.arguments, settings)
    if report:
        print(note(args.script.name, report), file=sys.stderr, flush=True)
        if args.record:
            from relane.io.files import read_json, write_json
            from relane.workflow.provenance import note_made_by

            write_json(args.record[0], read_json(args.record[0]) | {"worker": report})
            note_made_by(args.record, args.script, args.weights, args.module)
    sys.exit(status)


if __name__ == "__main__":
    cli.run(main)
