"""Write a run's provenance: what made each of its files, resolved configuration, versions, checkpoints, hardware.

    python scripts/provenance.py --config-json resolved.json --output results/002/provenance.json \\
        --run-folder results/002 --videos <clip>.<camera> ... --arms original floor sham ...

The record names no path but those that the configuration names, and nothing of the environment's variables.
"""

import argparse
import sys
from pathlib import Path

from relane import cli
from relane.errors import InputError
from relane.io.files import read_json, write_json
from relane.workflow.provenance import gathered, provenance, records_of


def parser() -> argparse.ArgumentParser:
    """The script's flags."""
    result = cli.ListParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--config-json", type=Path, required=True, help="resolved configuration; /dev/stdin is fine")
    result.add_argument("--run-folder", type=Path, help="the run's folder, whose records say what made them")
    result.add_argument("--videos", nargs="*", default=[], metavar="VIDEO", help="the run's videos")
    result.add_argument("--arms", nargs="*", default=[], metavar="ARM", help="the run's arms")
    result.add_argument("--output", type=Path, required=True, help="the record, JSON")
    return result


def run(args: argparse.Namespace) -> None:
    """Write the record. Raises InputError when the configuration is no JSON object with a checkpoints section."""
    config = read_json(args.config_json)
    if not isinstance(config, dict) or not isinstance(config.get("checkpoints", {}), dict):
        raise InputError(f"{args.config_json}: expected one JSON object, the resolved configuration")
    records = records_of(args.run_folder, args.videos, args.arms) if args.run_folder else ()
    record = provenance(config, gathered(records))
    if record["code"]["clean"] is False:
        print("the code differs from its commit: commit before a run that is to be cited", file=sys.stderr)
    write_json(args.output, record)


def main(argv: list[str] | None = None) -> None:
    """Run as the command line says."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
