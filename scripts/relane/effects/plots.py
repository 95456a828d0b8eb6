"""Pictures of a study: every clip's paths by arm from above, and the effect per clip beside floor and sham."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from relane.arms import FLOOR, ORIGINAL, SHAM, Kind, arm_order, kind_of
from relane.effects import words
from relane.effects.pairs import by_clip
from relane.effects.study import Rollout, check_rollouts

_EDITS = ("#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#66a61e", "#a6761d", "#1f78b4", "#e6ab02")
_CONTROLS = {ORIGINAL: "#111111", FLOOR: "#9aa0a6", SHAM: "#56b4e9"}


def colours(arms: Sequence[str]) -> dict[str, str]:
    """A colour for each arm; the same in all plots of a run."""
    edits = [arm for arm in arm_order(arms) if kind_of(arm) is Kind.EDIT]
    return _CONTROLS | {arm: _EDITS[k % len(_EDITS)] for k, arm in enumerate(edits)}


def _save(figure: Any, path: Path) -> None:
    # Without the software's version the same numbers give the same bytes.
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def draw_paths(group: dict[str, Rollout], palette: dict[str, str], path: Path) -> None:
    """One clip from above, rig frame at t0: history, recorded future and every arm's samples."""
    figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
    some = next(iter(group.values()))
    axes.plot(some.history[:, 0], some.history[:, 1], color="#bbbbbb", linewidth=3, label="history")
    axes.plot(some.truth[:, 0], some.truth[:, 1], color="#cc0000", linewidth=3, label="recorded future")
    for arm in arm_order(group):
        for k, sample in enumerate(group[arm].pred):
            line = np.concatenate([np.zeros((1, 2)), sample[:, :2]])
            axes.plot(*line.T, color=palette[arm], linewidth=1, alpha=0.75, label=arm if k == 0 else None)
    low, high = axes.get_ylim()
    middle, half = (low + high) / 2, max((high - low) / 2, 2.5)  # centimetres must not fill the picture
    axes.set_ylim(middle - half, middle + half)
    axes.set(xlabel="forward, m", ylabel="left, m (stretched)", title=some.clip_id)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="best", framealpha=0.8)
    _save(figure, path)


def draw_effects(rows: Sequence[dict[str, Any]], palette: dict[str, str], path: Path) -> None:
    """Displacement and lateral shift per clip and edit; grey band: noise floor, blue band: sham, 5 to 95 % of clips."""
    figure, panels = plt.subplots(2, 1, figsize=(8, 5.6), sharex=True, layout="constrained")
    arms = arm_order(row["arm"] for row in rows)
    clips = sorted({row["clip_id"] for row in rows})
    places = {clip: k for k, clip in enumerate(clips)}
    for axes, (name, title) in zip(
        panels, (("displacement_m", "displacement, m"), ("lateral_m", "lateral shift, m (left up)")), strict=True
    ):
        for arm, label in ((FLOOR, "noise floor"), (SHAM, "sham")):
            values = list(by_clip(rows, arm, name).values())
            if values:
                axes.axhspan(*np.percentile(values, (5, 95)), color=palette[arm], alpha=0.3, label=f"{label}, 5-95 %")
        for shift, arm in enumerate(arms):
            if kind_of(arm) is not Kind.EDIT:
                continue
            values = by_clip(rows, arm, name)
            x = [places[clip] + 0.06 * (shift - len(arms) / 2) for clip in values]
            axes.plot(x, list(values.values()), "o", markersize=4, color=palette[arm], label=arm)
            mean = float(np.mean(list(values.values())))
            axes.axhline(mean, color=palette[arm], linewidth=1, linestyle="--")
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_ylabel(title)
        axes.grid(alpha=0.25, axis="y")
    panels[0].legend(fontsize=7, ncols=2)
    panels[1].set_xticks(
        range(len(clips)), [clip[:8] for clip in clips], rotation=60, fontsize=6 if len(clips) < 60 else 3
    )
    panels[0].set_title("Effect per clip against the original; dashed: mean over clips", fontsize=10)
    _save(figure, path)


def draw_all(rollouts: Sequence[Rollout], rows: Sequence[dict[str, Any]], folder: Path) -> None:
    """All plots of a run: effect_per_clip.png and paths_<clip>[_<t0>].png; of several drivers, in a folder each."""
    rollouts, _ = words.apart(rollouts)
    palette = colours([rollout.arm for rollout in rollouts])
    drivers = list(dict.fromkeys(rollout.driver for rollout in rollouts))
    for driver in drivers:
        place = folder / driver if len(drivers) > 1 else folder
        place.mkdir(exist_ok=True)
        draw_driver(
            [rollout for rollout in rollouts if rollout.driver == driver],
            [row for row in rows if row["driver"] == driver],
            palette,
            place,
        )


def draw_driver(
    rollouts: Sequence[Rollout], rows: Sequence[dict[str, Any]], palette: dict[str, str], folder: Path
) -> None:
    """The plots of one driver."""
    if rows:
        draw_effects(rows, palette, folder / "effect_per_clip.png")
    groups = check_rollouts(rollouts)
    several = len({clip for clip, _ in groups}) < len(groups)
    for (clip, t0_us), group in groups.items():
        name = re.sub(r"[^\w.-]", "_", f"{clip}_{t0_us}" if several else clip)
        draw_paths(group, palette, folder / f"paths_{name}.png")
