"""One table of all clips' road masks: a row for each timing.json of segment_road.py, in the order given."""

import argparse
from pathlib import Path

from relane import cli
from relane.errors import InputError
from relane.io.csvfile import write_csv
from relane.io.files import read_json

COLUMNS = (
    "video", "frames", "width", "height", "coverage_mean", "coverage_min", "coverage_first",
    "status", "reason", "backend", "seconds",
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    p = cli.ListParser(description=__doc__)
    p.add_argument("--timing", type=Path, nargs="*", default=[], help="timing.json files; @FILE reads a list")
    p.add_argument("--output", type=Path, required=True, help="CSV: " + ", ".join(COLUMNS))
    return p


def check(rows: list[dict]) -> None:
    """Raise InputError when not one source could be used: what ails all of them is no clip's own fault."""
    if rows and not any(row["frames"] for row in rows):
        raise InputError(
            f"none of the {len(rows)} clips could be made from its source; the first, {rows[0]['video']}: "
            f"{rows[0]['reason']}; mend that and run again with --forcerun prepare_clip"
        )


def row(path: Path) -> dict:
    """A table row from one timing.json. Raises InputError when it lacks what segment_road.py writes."""
    facts = read_json(path)
    try:
        values = dict(facts)
        values |= {f"coverage_{key}": f"{facts['coverage'][key]:.6f}" for key in ("mean", "min", "first")}
        values["seconds"] = facts["seconds"]["total"]
        return {column: values[column] for column in COLUMNS}
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a timing.json of segment_road.py ({error}); make it again") from None


def run(args: argparse.Namespace, models: None = None) -> None:
    rows = [row(path) for path in args.timing]
    check(rows)
    write_csv(args.output, COLUMNS, rows)


def main(argv: list[str] | None = None) -> None:
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
