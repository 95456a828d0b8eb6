"""Write a run's provenance: commit, resolved configuration, package versions, checkpoints, hardware.

    python scripts/provenance.py --config-json resolved.json --output results/002/provenance.json

The record names no path but those that the configuration names, and nothing of the environment's variables.
"""

import argparse
import sys
from pathlib import Path

from relane import cli
from relane.errors import InputError
from relane.files import read_json, write_json
from relane.provenance import provenance


def parser() -> argparse.ArgumentParser:
    """The script's flags."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--config-json", type=Path, required=True, help="resolved configuration; /dev/stdin is fine")
    result.add_argument("--output", type=Path, required=True, help="the record, JSON")
    return result


def run(args: argparse.Namespace) -> None:
    """Write the record. Raises InputError when the configuration is no JSON object with a checkpoints section."""
    config = read_json(args.config_json)
    if not isinstance(config, dict) or not isinstance(config.get("checkpoints", {}), dict):
        raise InputError(f"{args.config_json}: expected one JSON object, the resolved configuration")
    record = provenance(config)
    if record["code"]["clean"] is False:
        print("the code differs from its commit: commit before a run that is to be cited", file=sys.stderr)
    write_json(args.output, record)


def main(argv: list[str] | None = None) -> None:
    """Run as the command line says."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
