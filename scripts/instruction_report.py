"""One instruction's report: a row a video with what its edit cost, how the critic judged it and how good it came out.

Reads the sidecars of the first frames and edits and the quality files. What a file does not say is an empty cell.
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

from relane import cli, layout
from relane.errors import InputError
from relane.io.csvfile import write_csv
from relane.io.files import read_json, write_text

GIB = 2**30
# The stages of an edit: its name in the columns, and what stands around {video} in its file's name.
STAGES = {
    stage: tuple(pattern.rpartition("/")[2].split("{video}"))
    for stage, pattern in (
        ("first_frame", layout.FIRST_FRAME_JSON),
        ("edit", layout.EDITED_JSON),
        ("quality", layout.EVALUATION),
    )
}
FIRST_COLUMNS = (
    "video",
    "verdict",
    "critic_iterations_asked",
    "critic_iterations_used",
    "critic_score",
    "caption",
    "closeness_to_source",
    "gpu_peak_bytes",
    "host_peak_bytes",
)

Row = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = cli.ListParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--instruction", default="", help="name of the instruction, for the title")
    add("--sidecars", nargs="*", default=[], type=Path, help="{video}_vp_edit_sample0.json of each video")
    add("--first-frames", nargs="*", default=[], type=Path, help="{video}_first_frame.json of each video")
    add("--quality", nargs="*", default=[], type=Path, help="eval_{video}.json of each video; @FILE reads a list")
    add("--beside", action="store_true", help="read the other two of each video, beside its quality file")
    add("--output", required=True, help="CSV: a row a video")
    add("--text", required=True, help="the same for people, with totals")
    return options


def video_of(path: Path, stage: str) -> str:
    """The video's name, by the name of one of its files. Raises InputError for a file of another name."""
    before, after = STAGES[stage]
    if not (path.name.startswith(before) and path.name.endswith(after)):
        raise InputError(f"{path}: the name of a file of the stage {stage} is {before}{{video}}{after}")
    return path.name[len(before) : -len(after)]


def read_stages(paths: dict[str, list[Path]]) -> dict[str, dict[str, dict]]:
    """For each video, in order of name, the content of its files by stage."""
    videos: dict[str, dict[str, dict]] = {}
    for stage, files in paths.items():
        for path in files:
            content = read_json(path)
            if not isinstance(content, dict):
                raise InputError(f"{path}: expected a JSON object")
            videos.setdefault(video_of(path, stage), {})[stage] = content
    return dict(sorted(videos.items()))


def row_of(video: str, stages: dict[str, dict]) -> Row:
    """One video's row: only the cells of which a file says something."""
    first, edit = stages.get("first_frame", {}), stages.get("edit", {})
    verdict = {True: "PASS", False: "FAIL"}.get(first.get("passed"))
    if verdict is None and first.get("critic") == "off":
        verdict = "off"
    row: Row = {
        "video": video,
        "verdict": verdict,
        "critic_iterations_asked": first.get("iterations_asked"),
        "critic_iterations_used": first.get("iterations_used"),
        "critic_score": (first.get("verdict") or {}).get("score"),
        "caption": first.get("caption"),
        "closeness_to_source": stages.get("quality", {}).get("label"),
        "gpu_peak_bytes": _highest(first.get("gpu_peak_bytes"), edit.get("gpu_peak_bytes")),
        "host_peak_bytes": _highest(first.get("host_peak_bytes"), edit.get("host_peak_bytes")),
    }
    for stage, content in (("first_frame", first), ("edit", edit)):
        seconds = content.get("seconds")
        phases = seconds if isinstance(seconds, dict) else {"total": seconds}
        numbers = {phase: value for phase, value in phases.items() if isinstance(value, int | float)}
        if numbers:
            numbers.setdefault("total", sum(numbers.values()))
        row |= {f"{stage}_{phase}_s": round(value, 3) for phase, value in numbers.items()}
    return {name: value for name, value in row.items() if value is not None}


def _highest(*values: int | None) -> int | None:
    said = [value for value in values if value is not None]
    return max(said) if said else None


def columns_of(rows: list[Row]) -> list[str]:
    """The fixed columns, then those of the phases as they first appear."""
    return list(dict.fromkeys([*FIRST_COLUMNS, *(name for row in rows for name in row)]))


def totals(rows: list[Row]) -> dict[str, Any]:
    """Sums and shares over the rows; None where no row says anything.

    The pass rate and the mean number of iterations are over the videos that the critic judged.
    """
    judged = [row for row in rows if row.get("verdict") in ("PASS", "FAIL")]
    used = [row["critic_iterations_used"] for row in judged if "critic_iterations_used" in row]
    seconds = [name for name in columns_of(rows) if name.endswith("_s")]
    return {
        "videos": len(rows),
        "judged": len(judged),
        "passed": sum(row["verdict"] == "PASS" for row in judged),
        "pass_rate": sum(row["verdict"] == "PASS" for row in judged) / len(judged) if judged else None,
        "mean_iterations": sum(used) / len(used) if used else None,
        "closeness": dict(Counter(row["closeness_to_source"] for row in rows if "closeness_to_source" in row)),
        "gpu_peak_bytes": _highest(*(row.get("gpu_peak_bytes") for row in rows)),
        "host_peak_bytes": _highest(*(row.get("host_peak_bytes") for row in rows)),
        "seconds": {name: sum(row.get(name, 0.0) for row in rows) for name in seconds},
    }


def to_text(rows: list[Row], title: str) -> str:
    """The rows and their totals for people."""
    shown = {
        "video": lambda row: row["video"],
        "verdict": lambda row: row.get("verdict", ""),
        "tries": lambda row: "/".join(str(row[name]) for name in FIRST_COLUMNS[3:1:-1] if name in row),
        "closeness to source": lambda row: row.get("closeness_to_source", ""),
        "first frame s": lambda row: _number(row.get("first_frame_total_s")),
        "edit s": lambda row: _number(row.get("edit_total_s")),
        "GPU GiB": lambda row: _number(row.get("gpu_peak_bytes"), GIB),
        "host GiB": lambda row: _number(row.get("host_peak_bytes"), GIB),
    }
    table = [list(shown), *([cell(row) for cell in shown.values()] for row in rows)]
    widths = [max(len(line[number]) for line in table) for number in range(len(shown))]
    lines = [title, "=" * len(title), ""]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    total = totals(rows)
    rate = "no video was judged"
    if total["judged"]:
        rate = f"{total['passed']} of {total['judged']} judged ({100 * total['pass_rate']:.0f} %)"
    labels = ", ".join(f"{number} {label}" for label, number in sorted(total["closeness"].items()))
    lines += [
        "",
        f"videos                 {total['videos']}",
        f"first frames passed    {rate}",
        f"mean tries used        {_number(total['mean_iterations']) or 'unknown'}",
        f"closeness to source    {labels or 'unknown'}",
        f"peak GPU memory, GiB   {_number(total['gpu_peak_bytes'], GIB) or 'unknown'}",
        f"peak host memory, GiB  {_number(total['host_peak_bytes'], GIB) or 'unknown'}",
        "",
        "Closeness to the source says how little of the picture changed, not how good the edit is: doing nothing",
        "scores best.",
        "",
        "seconds, all videos:",
        *(f"  {name.removesuffix('_s'):<28}{value:10.2f}" for name, value in total["seconds"].items()),
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None, unit: int = 1) -> str:
    return "" if value is None else f"{value / unit:.2f}"


def run(args: argparse.Namespace) -> None:
    """Write both files."""
    paths = {"first_frame": list(args.first_frames), "edit": list(args.sidecars), "quality": args.quality}
    if args.beside:
        for stage in ("first_frame", "edit"):
            before, after = STAGES[stage]
            paths[stage] += [path.with_name(f"{before}{video_of(path, 'quality')}{after}") for path in args.quality]
    stages = read_stages(paths)
    rows = [row_of(video, content) for video, content in stages.items()]
    write_csv(args.output, columns_of(rows), rows)
    write_text(args.text, to_text(rows, f"Instruction {args.instruction}".strip()))


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
