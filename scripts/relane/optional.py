"""Networks that a run can do without: a metric whose weights are not there is absent, with the reason, and no error."""

from collections.abc import Mapping
from pathlib import Path

# Key under `checkpoints`, which is also its name in scripts/fetch_checkpoints.py -> the metric.
METRICS = {"clip_score": "CLIP score", "clip_temporal": "temporal consistency", "lpips": "LPIPS"}


def why_absent(key: str, folder: str) -> str:
    """Why the metric of this checkpoint cannot be had; "" where its folder is there."""
    if not folder:
        return f"its weights folder is not configured (checkpoints.{key} is empty)"
    if not Path(folder).is_dir():
        return f"its weights are not there (checkpoints.{key}: no folder {folder}; scripts/fetch_checkpoints.py {key})"
    return ""


def left_out(checkpoints: Mapping[str, str]) -> str:
    """One line for the planning of a run: metrics whose folders are configured and not there; "" where none is missing.

    What was left blank on purpose is not named.
    """
    missing = [key for key in METRICS if checkpoints.get(key) and why_absent(key, checkpoints[key])]
    if not missing:
        return ""
    metrics = ", ".join(f"{METRICS[key]} (no folder {checkpoints[key]})" for key in missing)
    return f"metrics left out: {metrics}; scripts/fetch_checkpoints.py {' '.join(missing)} fetches what they need"
