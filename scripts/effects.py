"""Paired effects of every arm against the original, over clips: a table, a summary with what may be concluded, plots.

Reads each `<clip>_inference.json` with the `<clip>_vis_data.npz` beside it, as drive.py writes them. A long list of
inferences may stand in a file, one path a line, given as @FILE.
"""

import argparse

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.effects import Effects
from relane.errors import InputError
from relane.io.csvfile import csv_text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = cli.ListParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = p.add_argument
    add("--inferences", nargs="*", default=[], help="inference JSONs of all arms and clips; @FILE reads a list")
    add("--run", required=True, help="name of the run, for the titles")
    add_options(p, Effects)
    add("--failures", help="a file that lists failed rollouts, one a line: name, then why")
    add("--no-driving-reason", default="", help="why there are no rollouts; written in place of results")
    add("--csv", required=True, help="a row per clip and arm")
    add("--json", required=True, help="summary per arm, notes, settings")
    add("--report", required=True, help="text report: time, memory, accuracy, failures")
    add("--summary", required=True, help="all inference JSONs as one array")
    add("--plots", required=True, help="folder for PNG plots")
    return p


def run(args: argparse.Namespace) -> None:
    """Read all, then write all. Raises InputError on a missing, damaged or contradicting rollout."""
    from relane.arms import arm_order
    from relane.effects.study import read_rollout, study
    from relane.io.files import atomic_folder, read_json, write_json, write_text
    from relane.report.drive_report import off_clock, run_report

    unchanged = args.action_unchanged
    found = [(path, read_rollout(path)) for path in args.inferences if path]
    rollouts = [rollout for _, rollout in found if rollout is not None]
    order = arm_order(rollout.arm for rollout in rollouts)
    failed = [read_json(path) for path, rollout in found if rollout is None]
    _known(unchanged, [*order, *(record.get("arm") for record in failed)])
    rollouts.sort(key=lambda one: (one.driver, one.clip_id, one.t0_us or 0, order.index(one.arm), one.path.name))
    failures = _listed(args.failures) + [_failure(record) for record in failed]
    nothing = f"None of {len(failures)} rollouts succeeded; the report names each with its reason." if failures else ""
    nothing = nothing or args.no_driving_reason or "No rollouts: nothing was driven, so there are no effects."
    reason = "" if rollouts else nothing
    result = study(rollouts, args.run, args.bootstrap, args.seed, unchanged, args.equivalence_margin_m)
    summary = result["summary"]
    if reason:
        summary |= {"no_driving_reason": reason, "notes": [reason]}
    records = [{"driver": rollout.driver, "arm": rollout.arm, **rollout.record} for rollout in rollouts]
    summary["notes"] += off_clock(records)

    with atomic_folder(args.plots) as folder:
        if rollouts:
            from relane.effects.plots import draw_all

            draw_all(rollouts, result["rows"], folder)
    write_text(args.csv, _table(result["rows"]))
    write_json(args.json, summary)
    write_json(args.summary, records + failed)
    write_text(args.report, run_report(args.run, records, failures, reason))


def _known(unchanged: list[str], arms: list[str]) -> None:
    unknown = [arm for arm in unchanged if arm not in arms]
    if unknown and arms:
        raise InputError(f"action_unchanged: {unknown[0]!r} is no arm of these rollouts; there are {', '.join(arms)}")


def _listed(path: str | None) -> list[str]:
    if not path:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise InputError(f"{path}: the list of failures cannot be read ({error.strerror})") from None


def _failure(record: dict) -> str:
    from relane.report.drive_report import name_of

    return f"{name_of(record)}: {record.get('error') or 'the rollout says that it failed'}"


def _table(rows: list[dict]) -> str:
    from relane.effects.study import COLUMNS

    return csv_text(COLUMNS, ({name: _cell(value) for name, value in row.items()} for row in rows))


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.6g}" if isinstance(value, float) else value


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
