"""Rows of the benchmark as a Markdown page."""

HEAD = """\
# Measured speed and memory

Written by `python benchmarks/full_size.py` (from rows kept: `--output benchmarks/h200.jsonl --table-only true --table
benchmarks/RESULTS.md`). Networks of the real size with random weights, made in memory; the stage's own code. Share: of
the rate of a large matrix product on the same card. Ratio: how many times faster than the row of the same run that is
named; goals are the project's own. Peak: device memory held by tensors, weights included.
"""


def markdown(rows: list[dict]) -> str:
    """The page; of rows that were measured more than once the newest counts."""
    newest = {(row["stage"], row["what"], row.get("setting"), row["size"]): row for row in rows}
    lines = [HEAD, *_where(list(newest.values()))]
    for stage in dict.fromkeys(row["stage"] for row in newest.values()):
        lines += ["", f"## {stage}", "", "| what | setting | seconds | per | peak GiB | share | ratio | against |"]
        lines += ["| --- | --- | --- | --- | --- | --- | --- | --- |"]
        lines += [_line(row) for row in newest.values() if row["stage"] == stage]
        lines += [
            f"\n{row['what']}: {row['note']}" for row in newest.values() if row["stage"] == stage and "note" in row
        ]
    return "\n".join([*lines, *_memory(list(newest.values()))]) + "\n"


def _memory(rows: list[dict]) -> list[str]:
    """Peak of each stage, at its full and at its low-memory setting."""
    kept = [row for row in rows if "memory" in row and "peak_gb" in row]
    if not kept:
        return []
    lines = ["", "## Memory", "", "| stage | peak GiB | setting | low-memory peak GiB | setting |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for stage in dict.fromkeys(row["stage"].removesuffix("_memory") for row in kept):
        cells = [stage]
        for kind, choose in (("full", max), ("low", min)):
            own = [row for row in kept if row["stage"].removesuffix("_memory") == stage and row["memory"] == kind]
            best = choose(own, key=lambda row: row["peak_gb"], default=None)
            cells += [f"{best['peak_gb']:.1f}", _cell(best["setting"])] if best else ["", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _where(rows: list[dict]) -> list[str]:
    places = dict.fromkeys((row["device"], row["torch"], row.get("commit", "?"), row["size"]) for row in rows)
    return [f"- {device}, torch {torch}, commit {commit}, {size} size" for device, torch, commit, size in places]


def _line(row: dict) -> str:
    if "skipped" in row:
        return f"| {row['what']} | not measured: {_cell(row['skipped'])} | | | | | | |"
    ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
    if "goal" in row:
        ratio += f" (goal {row['goal']})"
    share = f"{row['share_of_card']:.0%}" if "share_of_card" in row else ""
    peak = f"{row['peak_gb']:.1f}" if "peak_gb" in row else ""
    if "peak_goal_gb" in row:
        peak += f" (goal {row['peak_goal_gb']})"
    cells = (row["what"], row.get("setting", ""), f"{row['seconds']:.4g}", row["unit"], peak, share, ratio)
    return "| " + " | ".join((*map(_cell, cells), _cell(row.get("baseline", "")))) + " |"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
