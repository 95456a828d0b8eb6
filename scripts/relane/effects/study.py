"""A run's rollouts into a table (a row per clip and arm) and a summary per arm, with what may be concluded from it."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from relane import layout, noise
from relane.arms import FLOOR, ORIGINAL, SHAM, Kind, arm_order, kind_of
from relane.effects import claims, notes, paths, words
from relane.effects.pairs import by_clip, instants, minus, names
from relane.effects.statistics import FEWEST, FEWEST_FOR_MEAN, LEVEL, holm, share_above, summarize
from relane.errors import InputError
from relane.io.files import read_json
from relane.io.npz import load_npz

ENERGY_PERMUTATIONS = 999
UNKNOWN = "unknown"  # the driver or editor of a record that does not say
MARGIN = 0.1  # metres: a clip whose paths stay within it counts as not moved
# name -> (unit, what it is, whether zero is what no effect looks like: sizes are never below zero)
QUANTITIES = {
    "displacement_m": ("m", "distance between paired paths, mean over samples and time", False),
    "displacement_end_m": ("m", "distance between paired paths at the last waypoint", False),
    "lateral_m": ("m", "shift to the left of the original path, whatever the speed, mean over samples and time", True),
    "lateral_end_m": ("m", "shift to the left at the last waypoint", True),
    "longitudinal_m": ("m", "shift along the original path, ahead positive, mean over samples and time", True),
    "longitudinal_end_m": ("m", "shift along the original path at the last waypoint", True),
    "speed_change_mps": ("m/s", "change of the mean speed: travelled arc length over time, free of curvature", True),
    "speed_end_change_mps": ("m/s", "change of the speed at the last waypoint", True),
    "curvature_change_per_m": ("1/m", "change of the mean curvature over as many metres of both, left positive", True),
    "ade_change_m": ("m", "change of ADE against the recorded future, mean over samples", True),
    "min_ade_change_m": ("m", "change of minADE against the recorded future", True),
    "fde_change_m": ("m", "change of FDE against the recorded future", True),
    "energy_distance_m": ("m", "energy distance between the two clouds of paths, pairing ignored", False),
    **words.QUANTITIES,
}
# The size by which clips count as moved, and the shifts that may be shown to be as good as none.
SIZE, SHIFTS = "displacement_m", ("lateral_m", "longitudinal_m")
AGAINST_RECORDED = ("ade_change_m", "min_ade_change_m", "fde_change_m")
COLUMNS = (
    "driver", "clip_id", "arm", "editor", "kind", "t0_us",
    "samples", "displacement_m", "displacement_end_m", "lateral_m", "lateral_end_m",
    "longitudinal_m", "longitudinal_end_m", "first_beyond_s", "speed_change_mps", "speed_end_change_mps",
    "curvature_change_per_m", "energy_distance_m", "energy_p", "reasoning_changed", "reasoning_changed_share",
    "complete_share", "ade_change_m", "min_ade_change_m", "fde_change_m", "recorded_future_valid", *words.QUANTITIES,
)  # fmt: skip


@dataclass(frozen=True)
class Rollout:
    """One inference: its JSON, and pred_xyz (K, T, 3), gt_future_xyz (T, 3), ego_history_xyz (H, 3) float64."""

    path: Path
    record: dict[str, Any]
    driver: str
    clip_id: str
    arm: str
    t0_us: int | None
    pred: np.ndarray
    truth: np.ndarray
    history: np.ndarray


def read_rollout(path: str | Path) -> Rollout | None:
    """Read a rollout's JSON and the NPZ beside it; None for one that says it failed (`success: false`).

    Clip and arm come from the JSON, or from the folders `<arm>/<clip>/`. Raises InputError that names the file when
    one is missing or damaged, or holds paths of a wrong shape or with NaN.
    """
    path = Path(path)
    try:
        data = layout.beside(path, layout.ROLLOUT, layout.ROLLOUT_DATA)
    except ValueError:
        raise InputError(f"{path}: expected a file named <clip>..._inference.json, as drive.py writes it") from None
    record = read_json(path)
    if not isinstance(record, dict):
        raise InputError(f"{path}: expected a JSON object, as drive.py writes it")
    if record.get("success") is False:
        return None
    arrays = load_npz(data, ("pred_xyz", "gt_future_xyz"), "drive this arm again")
    pred, truth = (np.asarray(arrays[name], np.float64) for name in ("pred_xyz", "gt_future_xyz"))
    history = np.asarray(arrays.get("ego_history_xyz", np.zeros((1, 3))))
    if pred.ndim != 3 or truth.shape != pred.shape[1:] or not len(pred) or pred.shape[2] < 2:
        raise InputError(f"{data}: pred_xyz {pred.shape} and gt_future_xyz {truth.shape}: need (K, T, 3) and (T, 3)")
    if not (np.isfinite(pred).all() and np.isfinite(truth).all()):
        raise InputError(f"{data}: holds NaN or infinite coordinates; drive this arm again")
    clip_id = str(record.get("clip_id") or path.parent.name)
    arm = str(record.get("arm") or path.parent.parent.name)
    return Rollout(
        path, record, str(record.get("driver") or UNKNOWN), clip_id, arm, record.get("t0_us"), pred, truth, history
    )


def check_rollouts(rollouts: Sequence[Rollout]) -> dict[tuple[str, int | None], dict[str, Rollout]]:
    """Rollouts by (clip, t0), then arm. Raises InputError on a rollout given twice or on arms of unequal shape."""
    groups: dict[tuple[str, int | None], dict[str, Rollout]] = defaultdict(dict)
    for rollout in rollouts:
        group = groups[rollout.clip_id, rollout.t0_us]
        if rollout.arm in group:
            raise InputError(
                f"{rollout.path}: clip {rollout.clip_id}, arm {rollout.arm} is in {group[rollout.arm].path} too"
            )
        group[rollout.arm] = rollout
    for group in groups.values():
        base = group.get(ORIGINAL)
        for rollout in group.values():
            if base is not None and rollout.pred.shape != base.pred.shape:
                raise InputError(
                    f"{rollout.path}: {rollout.pred.shape[0]} paths of {rollout.pred.shape[1]} waypoints, but the "
                    f"original has {base.pred.shape[0]} of {base.pred.shape[1]}; drive all arms with the same settings"
                )
    return dict(sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] or 0)))


def row_of(rollout: Rollout, base: Rollout, unchanged: Sequence[str], seed: int) -> dict[str, Any]:
    """One row of the table: an arm of a clip against the clip's original."""
    kind = kind_of(rollout.arm)
    rng = np.random.default_rng(noise.seed_of("energy", seed, rollout.clip_id, rollout.t0_us, rollout.arm))
    energy, p = paths.energy_distance(rollout.pred, base.pred, ENERGY_PERMUTATIONS, rng)
    row = {"driver": rollout.driver, "clip_id": rollout.clip_id, "arm": rollout.arm}
    row |= {"editor": str(rollout.record.get("editor") or UNKNOWN), "kind": kind, "t0_us": rollout.t0_us}
    row |= {"samples": len(rollout.pred)} | paths.compare(rollout.pred, base.pred)
    row |= {"energy_distance_m": energy, "energy_p": p}
    row |= reasoning_change(rollout.record, base.record)
    row |= {"complete_share": rollout.record.get("complete_share")}
    row |= paths.accuracy_change(rollout.pred, base.pred, base.truth)
    row["recorded_future_valid"] = kind is not Kind.EDIT or rollout.arm in unchanged
    return row


def reasoning_change(record: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """Whether any sample's reasoning differs from that of the same sample of the original, and what share does."""
    new, old = record.get("reasoning_traces"), base.get("reasoning_traces")
    if not isinstance(new, list) or not isinstance(old, list) or len(new) != len(old) or not old:
        return {"reasoning_changed": None, "reasoning_changed_share": None}
    share = float(np.mean([a != b for a, b in zip(new, old, strict=True)]))
    return {"reasoning_changed": share > 0, "reasoning_changed_share": share}


def effect_rows(rollouts: Sequence[Rollout], unchanged: Sequence[str], seed: int) -> list[dict[str, Any]]:
    """The table: a row for every arm but the original of every clip (and t0) that has an original.

    Raises InputError as `check_rollouts`, for the second rollouts with the original's words too.
    """
    rows = []
    rollouts, second = words.apart(rollouts)
    for (clip_id, t0_us), group in check_rollouts(rollouts).items():
        base = group.get(ORIGINAL)
        for arm in arm_order(group) if base else ():
            if arm == ORIGINAL:
                continue
            row = row_of(group[arm], base, unchanged, seed)
            shared = second.get((clip_id, t0_us, arm))
            if shared is not None:
                check_rollouts([base, shared])
                row |= words.split(group[arm].pred, shared.pred, base.pred)
            rows.append(row)
    return rows


def summarize_arm(
    rows: Sequence[dict[str, Any]],
    arm: str,
    draws: int,
    seed: int,
    margin: float = MARGIN,
    largest: float = claims.LARGEST,
) -> dict[str, Any]:
    """One arm over clips, p values not yet corrected for the number of arms; see `claims_on` for margin and largest."""
    quantities = {}
    for name, (_, _, zero_is_none) in QUANTITIES.items():
        rng = np.random.default_rng(noise.seed_of("effects", seed, arm, name))
        figures = list(by_clip(rows, arm, name).values())
        if not figures:
            continue
        quantity = asdict(summarize(figures, draws, rng))
        if not zero_is_none:
            quantity["p"] = None  # a size is above zero under any noise: only its difference to sham can be tested
        paired = list(minus(rows, arm, SHAM, name).values()) if has_sham(arm) else []
        quantity["minus_sham"] = asdict(summarize(paired, draws, rng)) if paired else None
        above = share_above(figures, list(by_clip(rows, FLOOR, name).values()))
        if above is not None and not zero_is_none:
            quantity |= {"share_above_floor": above[0], "floor_95th_percentile": above[1]}
        quantities[name] = quantity
    own = [row for row in rows if row["arm"] == arm]
    shares = list(by_clip(rows, arm, "reasoning_changed_share").values())
    late = list(by_clip(rows, arm, "first_beyond_s").values())
    return {
        "kind": kind_of(arm),
        "clips": len({row["clip_id"] for row in own}),
        **claims_on(rows, arm, margin, largest),
        "reasoning_changed_share": float(np.mean(shares)) if shares else None,
        "share_beyond_half_a_metre": share_of_instants(own, "first_beyond_s"),
        "median_first_beyond_s": float(np.median(late)) if late else None,
        "recorded_future_valid": all(row["recorded_future_valid"] for row in own),
        "sham_partners": sham_partners(rows, arm),
        "quantities": quantities,
    }


def has_sham(arm: str) -> bool:
    """Whether an arm's effect is its difference to the sham: floor and sham are themselves held against zero."""
    return kind_of(arm) is Kind.EDIT


def claims_on(rows: Sequence[dict[str, Any]], arm: str, margin: float, largest: float) -> dict[str, Any]:
    """What `claims` says of the arm: the share of clips that moved by more than `margin` metres on average over their
    instants and samples, and whether the mean is as good as zero if none moves by more than `largest` metres."""
    sizes = list(by_clip(rows, arm, SIZE).values())
    against_sham = has_sham(arm) and instants(rows, SHAM)
    shifts = {name: minus(rows, arm, SHAM, name) if against_sham else by_clip(rows, arm, name) for name in SHIFTS}
    found = claims.moved(sizes, margin)
    return {
        "moved": found,
        "equivalence": claims.equivalence(
            {name: list(of.values()) for name, of in shifts.items()}, sizes, margin, largest
        ),
        "interval_of_mean_holds": claims.interval_holds(found),
    }


def share_of_instants(rows: Sequence[dict[str, Any]], name: str) -> float | None:
    """Mean over clips of the share of a clip's instants that have the quantity, so that it does not grow with their
    number; None without rows."""
    clips: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        clips[row["clip_id"]].append(row.get(name) is not None)
    return float(np.mean([np.mean(found) for found in clips.values()])) if clips else None


def sham_partners(rows: Sequence[dict[str, Any]], arm: str) -> dict[str, Any] | None:
    """How many instants of clips the arm shares with the sham, and which either has alone; None for floor and sham."""
    if not has_sham(arm):
        return None
    own, sham = instants(rows, arm), instants(rows, SHAM)
    return {"paired": len(own & sham), "without_sham": names(own - sham), "sham_alone": names(sham - own)}


def summarize_arms(rows: Sequence[dict[str, Any]], draws: int, seed: int, margin: float = MARGIN) -> dict[str, Any]:
    """Every arm's summary; p values of the edits are corrected over the edit arms (Holm), quantity by quantity."""
    order = arm_order(row["arm"] for row in rows)
    # A clip that was not driven may move as far as any of the run did.
    largest = max([claims.LARGEST, *(size for arm in order for size in by_clip(rows, arm, SIZE).values())])
    arms = {arm: summarize_arm(rows, arm, draws, seed, margin, largest) for arm in order}
    edits = [arm for arm, summary in arms.items() if summary["kind"] == "edit"]
    for name in QUANTITIES:
        found = [arms[arm]["quantities"][name] for arm in edits if name in arms[arm]["quantities"]]
        for group in (found, [quantity["minus_sham"] for quantity in found if quantity["minus_sham"]]):
            for quantity, corrected in zip(group, holm([quantity["p"] for quantity in group]), strict=True):
                quantity["p_holm"] = corrected
    return arms


def study(
    rollouts: Sequence[Rollout],
    run: str,
    draws: int,
    seed: int,
    unchanged: Sequence[str],
    margin: float = MARGIN,
) -> dict[str, Any]:
    """Rows and the summary of a run: {"rows": [...], "summary": {...}}; the summary is what effects.json holds.

    Each driver is a study of its own: no figure of it knows of another.
    """
    rows, drivers = [], {}
    for driver in dict.fromkeys(rollout.driver for rollout in rollouts):
        own = [rollout for rollout in rollouts if rollout.driver == driver]
        found = effect_rows(own, unchanged, seed)
        arms = summarize_arms(found, draws, seed, margin)
        drivers[driver] = {
            "clips": len({row["clip_id"] for row in found}),
            "notes": notes.all_of(found, lonely(own), arms, unchanged),
            "arms": arms,
        }
        rows += found
    # The split into vision and words is shown only by runs that drove each arm both ways.
    shown = {name: about for name, about in QUANTITIES.items() if name not in words.QUANTITIES or by_any(rows, name)}
    summary = {
        "run": run,
        "no_driving_reason": None,
        "notes": [],
        "drivers": drivers,
        "quantities": {
            name: {"unit": unit, "meaning": meaning, "against_recorded_future": name in AGAINST_RECORDED}
            for name, (unit, meaning, _) in shown.items()
        },
        "settings": settings_of(draws, seed, unchanged, margin),
    }
    return {"rows": rows, "summary": summary}


def settings_of(draws: int, seed: int, unchanged: Sequence[str], margin: float) -> dict[str, Any]:
    """What the figures were made with, for a reader of the summary."""
    return {
        "bootstrap": draws,
        "seed": seed,
        "confidence_level": LEVEL,
        "fewest_clips_for_p": FEWEST,
        "interval": "bootstrap over clips: studentised for the mean, expanded percentile for the median",
        "test": "two-sided sign flip over clips: of symmetry about zero",
        "fewest_for_mean": FEWEST_FOR_MEAN,
        "correction": "Holm over edit arms, per quantity",
        "equivalence_margin_m": margin,
        "moved": "clips whose displacement, mean over instants, samples and time, is beyond the margin; exact",
        "beyond_m": paths.THRESHOLD,
        "energy_permutations": ENERGY_PERMUTATIONS,
        "action_unchanged": list(unchanged),
    }


def lonely(rollouts: Sequence[Rollout]) -> list[tuple[str, int | None]]:
    """Clips and instants that other arms have and the original has not."""
    found, _ = words.apart(rollouts)
    return [instant for instant, group in check_rollouts(found).items() if ORIGINAL not in group]


def by_any(rows: Sequence[dict[str, Any]], name: str) -> bool:
    """Whether any row has the quantity."""
    return any(row.get(name) is not None for row in rows)
