"""The driving stage's text report: time, memory and accuracy over all rollouts of a run, a line for each, failures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

GIB = 2**30


def _first(record: dict[str, Any], *names: str) -> float | None:
    """The first of these keys that holds a number, at the top or under `metrics`."""
    metrics = record.get("metrics") if isinstance(record.get("metrics"), dict) else {}
    for name in names:
        for place in (record, metrics):
            if isinstance(place.get(name), int | float) and not isinstance(place.get(name), bool):
                return float(place[name])
    return None


def figures_of(record: dict[str, Any]) -> dict[str, float | None]:
    """Seconds, GPU and host memory in GiB, minADE in metres of one inference JSON; None where it does not say."""
    gpu, host = _first(record, "gpu_peak_bytes"), _first(record, "host_peak_bytes")
    return {
        "seconds": _first(record, "inference_seconds"),
        "gpu_gib": None if gpu is None else gpu / GIB,
        "ram_gib": None if host is None else host / GIB,
        "min_ade_m": _first(record, "min_ade_meters"),
    }


def _text(value: float | None, unit: str, digits: int = 2) -> str:
    return "n/a" if value is None else f"{value:.{digits}f} {unit}"


def name_of(record: dict[str, Any]) -> str:
    """Driver, arm, video and instant of a rollout, and whether it thought the original arm's words."""
    parts = [str(record["driver"])] if record.get("driver") else []
    parts += [str(record.get("arm", "?")), str(record.get("video_id") or record.get("clip_id", "?"))]
    if record.get("t0_us") is not None:
        parts.append(f"t0 {record['t0_us'] / 1e6:g} s")
    if record.get("reasoning") == "shared":
        parts.append("original's words")
    return "  ".join(parts)


def off_clock(records: Sequence[dict[str, Any]]) -> list[str]:
    """What the rollouts say of frames that do not keep the model's clock, for people."""
    told = [record for record in records if record.get("frame_notes")]
    if not told:
        return []
    return [
        f"{len(told)} of {len(records)} rollouts were shown frames that do not keep the model's clock of 10 a second: "
        "their paths are not those of clips that do (clip.fps, drive.allow_repeated_frames, the times of videos edited "
        f"elsewhere). {name_of(told[0])}: {told[0]['frame_notes'][0]}."
    ]


def run_report(run: str, records: Sequence[dict[str, Any]], failures: Sequence[str], reason: str = "") -> str:
    """The report of a run. `records` are inference JSONs with `arm` and `video_id`; `failures` are lines, one each."""
    rule = "=" * 78
    lines = [rule, f"Driving report of run {run}", rule, f"rollouts: {len(records)}   failures: {len(failures)}"]
    if reason:
        lines += ["", reason]
    table = [figures_of(record) for record in records]

    def column(name: str) -> list[float]:
        return [row[name] for row in table if row[name] is not None]

    if records:
        seconds, gpu, ram, ade = (column(name) for name in ("seconds", "gpu_gib", "ram_gib", "min_ade_m"))
        parts = [
            ("Average time", seconds, np.mean, "s"),
            ("Total time", seconds, np.sum, "s"),
            ("Average GPU memory", gpu, np.mean, "GiB"),
            ("Maximum GPU memory", gpu, np.max, "GiB"),
            ("Average RAM", ram, np.mean, "GiB"),
            ("Maximum RAM", ram, np.max, "GiB"),
            ("Average minADE", ade, np.mean, "m"),
            ("Best minADE", ade, np.min, "m"),
            ("Worst minADE", ade, np.max, "m"),
        ]
        lines.append("")
        for title, values, function, unit in parts:
            lines.append(f"{title + ':':<22}{_text(float(function(values)) if values else None, unit)}")
        lines += ["", "Per video:"]
        for record, row in zip(records, table, strict=True):
            figures = (_text(row["min_ade_m"], "m"), _text(row["seconds"], "s"))
            memory = (_text(row["gpu_gib"], "GiB"), _text(row["ram_gib"], "GiB"))
            lines.append("  {}  minADE {}  time {}  GPU {}  RAM {}".format(name_of(record), *figures, *memory))
    lines += [line for note in off_clock(records) for line in ("", note)]
    lines += ["", "Failures:"] + ([f"  {line}" for line in failures] or ["  none"])
    return "\n".join(lines) + "\n"
