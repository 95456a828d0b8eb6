"""Records of the stages as short texts and tables for the page; no HTML here; a missing figure is never a number."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relane.errors import InputError

REGIONS = ("full_frame", "masked_region", "background")
METRICS = (
    ("PSNR (dB)", "psnr", "{:.2f}"),
    ("SSIM", "ssim", "{:.4f}"),
    ("LPIPS", "lpips", "{:.4f}"),
    ("MSE", "mse", "{:.2e}"),
    ("MAE", "mae", "{:.2e}"),
    ("Temporal consistency", "temporal_consistency", "{:.4f}"),
    ("… of the source", "temporal_consistency_source", "{:.4f}"),
    ("CLIP score", "clip_score", "{:.2f}"),
)


@dataclass(frozen=True)
class Cell:
    """One cell: its text, how many columns it spans, and whether it says that there is no figure."""

    text: str
    span: int = 1
    absent: bool = False


@dataclass
class Table:
    """A table: title, column heads after the first, rows of a name and cells, and remarks below."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def number(value: Any, form: str = "{:.3f}") -> str:
    """A figure in this form; a dash for what is no number."""
    return form.format(value) if isinstance(value, int | float) and not isinstance(value, bool) else "–"


def megabytes(value: Any) -> str:
    """Bytes for people, a dash for what is no number."""
    if not isinstance(value, int | float):
        return "–"
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


# Quality


def quality(record: dict[str, Any], path: Path) -> list[Table]:
    """The tables of an eval JSON: figures by region, then seam and flicker in 8-bit levels.

    Raises InputError when a region is missing. A figure that is null is shown as "absent: reason".
    """
    if any(not isinstance(record.get(region), dict) for region in REGIONS):
        raise InputError(f"{path}: no {', '.join(REGIONS)}; make it again with evaluate_edit.py")
    absent = record.get("absent", {})
    regions = Table("Picture quality", ["full frame", "inside the mask", "background"])
    for title, name, form in METRICS:
        cells = [_cell(record[region], region, name, form, absent) for region in REGIONS]
        if any(cell.text for cell in cells):
            regions.rows.append((title, _merged(cells)))
    if isinstance(record.get("mask_coverage"), int | float):
        regions.notes.append(f"The mask covers {100 * record['mask_coverage']:.2f} % of the picture.")
    if record.get("identical_frames"):
        regions.notes.append(f"{record['identical_frames']} frames equal the source's to the last bit.")
    levels = Table("Seam and flicker (8-bit levels)", ["added by the edit", "source", "edited"])
    flicker = record.get("flicker", {})
    groups = (
        ("Seam at the mask's edge", "seam", record.get("seam")),
        ("Flicker, full frame", "flicker.full_frame", flicker.get("full_frame")),
        ("Flicker, inside the mask", "flicker.masked_region", flicker.get("masked_region")),
    )
    for title, name, group in groups:
        if isinstance(group, dict):
            cells = [_cell(group, name, part, "{:.2f}", absent) for part in ("added", "source", "edited")]
            levels.rows.append((title, _merged(cells)))
    return [regions, levels]


def _cell(group: dict[str, Any], region: str, name: str, form: str, absent: dict[str, str]) -> Cell:
    if name not in group:
        return Cell("")  # not defined for this region
    if group[name] is None:
        return Cell(f"absent: {absent.get(f'{region}.{name}', 'no reason given')}", absent=True)
    return Cell(number(group[name], form))


def _merged(cells: list[Cell]) -> list[Cell]:
    """One wide cell where all that would stand in the row is the same reason for there being no figure."""
    shown = [cell for cell in cells if cell.text]
    if len(shown) > 1 and shown[0].absent and len({cell.text for cell in shown}) == 1:
        return [Cell(shown[0].text, len(cells), True)]
    return cells


# Clip, edit, first frame


def clip_facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """What a clip's sidecar says of it."""
    facts = [
        ("size", f"{record.get('width', '–')}×{record.get('height', '–')}"),
        ("frames", f"{record.get('frames', '–')} at {number(record.get('fps'), '{:g}')} fps"),
    ]
    if record.get("t0_us") is not None:
        facts.append(("t0", f"{record['t0_us'] / 1e6:.1f} s"))
    return [*facts, ("sha256", str(record.get("sha256", "–"))[:12])]


# What select_region.py did instead of the corridor (`fallback` in region.json).
INSTEAD = {"centre": "the road's middle", "wider": "a wider corridor", "road": "the whole road"}


def region_facts(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Which part of the road is repainted, and where the corridor was not good enough, what was taken instead and why.

    `record` is a region.json of select_region.py.
    """
    asked, fallback = str(record.get("region", "–")), record.get("fallback")
    if not fallback:
        return [("region", asked)]
    reason = record.get("reason") or ("no lane line was found" if fallback == "centre" else "")
    return [("region", f"{asked}; instead: {INSTEAD.get(fallback, fallback)}{f' ({reason})' if reason else ''}")]


def edit_facts(first_frame: dict[str, Any], edit: dict[str, Any]) -> list[tuple[str, str]]:
    """What it took: seconds and memory of the first frame and of the video."""
    facts = []
    for title, record in (("first frame", first_frame), ("video", edit)):
        seconds = record.get("seconds") or {}
        total = seconds.get("total", sum(seconds.values()))
        memory = record.get("gpu_peak_bytes") or record.get("host_peak_bytes")
        where = "GPU" if record.get("gpu_peak_bytes") else "host"
        facts.append((title, f"{number(total, '{:.1f}')} s, {megabytes(memory)} {where} memory at peak"))
    return facts


def refinement(first_frame: dict[str, Any]) -> str:
    """One sentence on how the first frame came about."""
    used, asked = first_frame.get("iterations_used"), first_frame.get("iterations_asked")
    if first_frame.get("critic") == "off" or first_frame.get("passed") is None:
        return "Painted once, without a critic."
    if first_frame["passed"]:
        return f"Passed the critic at try {first_frame.get('chosen_try')} of at most {asked}."
    return (
        f"None of {used} tries passed the critic; try {first_frame.get('chosen_try')}, the best by its own score, "
        "was used."
    )


def verdict(record: Any) -> dict[str, Any] | None:
    """A critic's verdict for the page: passed, score, what it saw, notes, reason; None where nobody judged."""
    if not isinstance(record, dict):
        return None
    seen, notes = record.get("seen"), record.get("notes")
    return {
        "passed": bool(record.get("passed")),
        "score": number(record.get("score"), "{:g}"),
        "seen": " ".join(str(v) for v in seen.values()) if isinstance(seen, dict) else str(seen or ""),
        "notes": {str(k): str(v) for k, v in notes.items() if v} if isinstance(notes, dict) else {},
        "reason": str(record.get("reason") or ""),
    }


# Driving


def drive_facts(inference: dict[str, Any]) -> list[tuple[str, str]]:
    """What an inference JSON says of the paths and of the replies."""
    names = (
        ("samples", "num_trajectories", "{:d}"),
        ("minADE", "min_ade_meters", "{:.2f} m"),
        ("mean ADE", "ade_mean", "{:.2f} m"),
        ("mean FDE", "fde_mean", "{:.2f} m"),
        ("complete replies", "complete_share", "{:.0%}"),
    )
    return [(title, number(inference[key], form)) for title, key, form in names if inference.get(key) is not None]


def reasoning(inference: dict[str, Any]) -> list[str]:
    """The reasoning traces, equal ones once with their count."""
    traces = [str(trace) for trace in inference.get("reasoning_traces") or []]
    return [
        f"{trace} (×{traces.count(trace)})" if traces.count(trace) > 1 else trace for trace in dict.fromkeys(traces)
    ]


# Effects

# What stands open on the page; the other quantities are folded away.
MAIN_QUANTITIES = ("displacement_m", "displacement_end_m", "lateral_m", "longitudinal_m", "speed_change_mps")
DOUBTFUL = " *"
DOUBT = (
    "* No clip of the arm moved, or all of a few did: the interval knows nothing of clips that answer otherwise and "
    "were not driven. Read the share of clips that moved."
)
EFFECT_COLUMNS = ["clips", "effect (mean)", "95 % interval", "p", "minus sham", "95 % interval", "p", "floor (95 %)"]


@dataclass
class Effects:
    """The effects' tables, those that stand open and those folded away, and the sentences that go with them."""

    main: list[Table]
    more: list[Table]
    notes: list[str]


def effects(record: dict[str, Any], path: Path) -> Effects:
    """The effects JSON as one table a quantity, an arm a row, a driver after the other.

    Raises InputError when it is not effects.py's.
    """
    drivers, quantities = record.get("drivers"), record.get("quantities")
    if not isinstance(drivers, dict) or not isinstance(quantities, dict):
        raise InputError(f"{path}: no drivers or quantities; make it again with effects.py")
    together = Effects([], [], list(record.get("notes", [])))
    for driver, own in drivers.items():
        found = _of_driver(own, quantities, record.get("settings", {}), path)
        several = f"{driver}: " if len(drivers) > 1 else ""
        for table in (*found.main, *found.more):
            table.title = several + table.title
        together.main.extend(found.main)
        together.more.extend(found.more)
        together.notes.extend(several + note for note in found.notes)
    return together


def _of_driver(own: dict[str, Any], quantities: dict[str, Any], settings: dict[str, Any], path: Path) -> Effects:
    arms = own.get("arms")
    if not isinstance(arms, dict):
        raise InputError(f"{path}: a driver without arms; make it again with effects.py")
    fewest = settings.get("fewest_clips_for_p", 5)
    tables = {name: _quantity(name, about, arms, fewest) for name, about in quantities.items()}
    main = [tables.pop(name) for name in MAIN_QUANTITIES if name in tables]
    notes = list(own.get("notes", []))
    if not arms:
        return Effects([], list(tables.values()), notes)
    moved = _moved(arms, settings.get("fewest_for_mean", 40), path)
    return Effects([moved, *main, _behaviour(arms)], list(tables.values()), notes)


def _moved(arms: dict[str, Any], fewest: int, path: Path) -> Table:
    """The claim of each arm: which share of clips moved, and whether the mean is as good as zero."""
    table = Table(
        "Clips that moved", ["clips", "moved", "share", "exact 95 % interval", "at most", "mean displacement"]
    )
    for arm, summary in arms.items():
        found, mean = summary.get("moved"), summary.get("equivalence")
        if not isinstance(found, dict):
            raise InputError(f"{path}: arm {arm} does not say how many clips moved; make it again with effects.py")
        cells = [Cell(str(found["clips"])), Cell(str(found["moved"])), Cell(number(found["share"], "{:.1%}"))]
        cells.append(Cell(f"{number(found['low'], '{:.1%}')} to {number(found['high'], '{:.1%}')}"))
        cells.append(Cell(number(found["at_most"], "{:.1%}")))
        if mean:
            bound = f"at most {number(mean['displacement_at_most_m'], '{:.2f}')} m"
            shown = "shown" if mean["shown"] else "not shown"
            cells.append(Cell(f"{bound}; within {number(mean['margin_m'], '{:g}')} m: {shown}"))
        else:
            of = "clips with a sham" if summary.get("kind") == "edit" else "clips"
            cells.append(Cell(f"not claimed: fewer than {fewest} {of}", absent=True))
        table.rows.append((arm, cells))
        margin = number(found.get("beyond_m"), "{:g}")
    table.notes.append(
        f"Moved: the distance between paired paths, averaged over the time, samples and instants of a clip, is beyond "
        f"{margin} m. At most: the share of all such clips, at 95 % (exact, one-sided)."
    )
    bounds = {mean["if_no_clip_beyond_m"] for summary in arms.values() if (mean := summary.get("equivalence"))}
    table.notes += [f"The bound of the mean holds if no clip moves by more than {bound:.2g} m." for bound in bounds]
    return table


def _quantity(name: str, about: dict[str, Any], arms: dict[str, Any], fewest: int) -> Table:
    title = re.sub(r"_(per_m|mps|m)$", "", name).replace("_", " ")
    table = Table(f"{title} ({about.get('unit', '')}): {about.get('meaning', '')}", EFFECT_COLUMNS)
    for arm, summary in arms.items():
        found = summary.get("quantities", {}).get(name)
        if found is None:
            table.rows.append((arm, [Cell("absent: no clip has it", len(EFFECT_COLUMNS), True)]))
            continue
        doubtful = summary.get("interval_of_mean_holds") is False
        size = "none: a size, tested as minus sham" if summary.get("kind") == "edit" else "none: a size"
        cells = [Cell(str(found.get("n", "–"))), *_estimate(found, fewest, size, doubtful)]
        sham = found.get("minus_sham")
        cells += _estimate(sham, fewest, "none", doubtful) if sham else [Cell(_no_sham(summary, arms), 3, True)]
        if any(cell.text.endswith(DOUBTFUL) for cell in cells) and DOUBT not in table.notes:
            table.notes.append(DOUBT)
        if "floor_95th_percentile" in found:
            above = number(found.get("share_above_floor"), "{:.0%}")
            cells.append(Cell(f"{number(found['floor_95th_percentile'])}; {above} of clips above"))
        else:
            cells.append(Cell("–"))
        table.rows.append((arm, cells))
    if about.get("against_recorded_future"):
        table.notes.append("Against the recorded future: valid only for arms that leave the right action unchanged.")
    return table


def _no_sham(summary: dict[str, Any], arms: dict[str, Any]) -> str:
    """Why an arm has no difference to the sham."""
    own = {"sham": "this is the sham", "floor": "the floor is held against zero"}.get(summary.get("kind", ""))
    there = any(other.get("kind") == "sham" for other in arms.values())
    return f"absent: {own or ('no clip shared with the sham' if there else 'no sham arm')}"


def _estimate(summary: dict[str, Any], fewest: int, untested: str, doubtful: bool) -> list[Cell]:
    """Mean, interval and p of one summary, or why there is none."""
    few = summary.get("n", 0) < fewest
    reason = f"none: fewer than {fewest} clips"
    low, high = summary.get("mean_low"), summary.get("mean_high")
    interval = Cell(reason if few else "none", absent=True)
    if low is not None and high is not None:
        interval = Cell(f"{number(low)} to {number(high)}{DOUBTFUL if doubtful else ''}")
    corrected = summary.get("p_holm")
    p = Cell(reason if few else untested, absent=True)
    if corrected is not None or summary.get("p") is not None:
        p = Cell(f"{number(corrected, '{:.3g}')} (Holm)" if corrected is not None else number(summary["p"], "{:.3g}"))
    return [Cell(number(summary.get("mean"))), interval, p]


def _behaviour(arms: dict[str, Any]) -> Table:
    table = Table("Reasoning, and paths that leave the original by more than 0.5 m", [])
    names = (
        ("reasoning changed", "reasoning_changed_share", "{:.0%}"),
        ("beyond 0.5 m, of a clip's instants", "share_beyond_half_a_metre", "{:.0%}"),
        ("first beyond, median (s)", "median_first_beyond_s", "{:.1f}"),
    )
    table.columns = [title for title, _, _ in names]
    for arm, summary in arms.items():
        table.rows.append((arm, [Cell(number(summary.get(key), form)) for _, key, form in names]))
    return table


def clip_effects(rows: list[dict[str, str]]) -> list[tuple[str, str]]:
    """The effect on one clip in one arm, from its rows of effects.csv (one for each t0)."""
    names = (
        ("displacement", "displacement_m", " m"),
        ("at the end", "displacement_end_m", " m"),
        ("lateral", "lateral_m", " m"),
        ("longitudinal", "longitudinal_m", " m"),
        ("beyond 0.5 m after", "first_beyond_s", " s"),
    )
    facts = []
    for title, key, unit in names:
        values = [f"{float(row[key]):.3g}{unit}" for row in rows if row.get(key)]
        if values:
            facts.append((title, ", ".join(values)))
    return facts
