"""What of an effect goes through vision and what through words: each arm driven once more with the original's words.

With the original arm's reasoning forced upon it, an arm differs from the original by what it sees alone ("vision"); its
own rollout differs from that one by what it says ("words"). Signed shifts add up: effect = vision + words.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from relane.effects import paths
from relane.effects.along import lateral_longitudinal

if TYPE_CHECKING:
    from relane.effects.study import Rollout

_PARTS = (("vision", "seen with the original's words"), ("words", "own words against the original's"))
QUANTITIES = {
    f"{part}_{name}_m": ("m", f"{what}, {about}", signed)
    for part, about in _PARTS
    for name, what, signed in (
        ("displacement", "distance between paired paths", False),
        ("lateral", "shift to the left of the original path", True),
        ("longitudinal", "shift along the original path", True),
    )
}


def apart(rollouts: Sequence["Rollout"]) -> tuple[list["Rollout"], dict[tuple, "Rollout"]]:
    """The rollouts of the main analysis, and those of the second by (clip, t0, arm).

    Of the second are rollouts with shared reasoning whose arm has one with its own reasoning too; in a run with
    shared reasoning alone these are the main ones. The original arm counts for both.
    """
    own = {_key(rollout) for rollout in rollouts if not _shared(rollout)}
    second = {_key(rollout): rollout for rollout in rollouts if _shared(rollout) and _key(rollout) in own}
    taken = {id(rollout) for rollout in second.values()}
    return [rollout for rollout in rollouts if id(rollout) not in taken], second


def _key(rollout: "Rollout") -> tuple:
    return rollout.clip_id, rollout.t0_us, rollout.arm


def _shared(rollout: "Rollout") -> bool:
    return rollout.record.get("reasoning") == "shared"


def split(own: np.ndarray, shared: np.ndarray, base: np.ndarray) -> dict[str, float]:
    """The quantities above from paths (K, T, 2+): the arm's own, its own with the original's words, the original's."""
    vision, total = (np.stack(lateral_longitudinal(path, base)) for path in (shared, own))
    apart = {"vision": paths.apart(shared, base), "words": paths.apart(own, shared)}
    result = {}
    for part, (lateral, longitudinal) in (("vision", vision), ("words", total - vision)):
        result[f"{part}_displacement_m"] = float(apart[part].mean())
        result[f"{part}_lateral_m"] = float(lateral.mean())
        result[f"{part}_longitudinal_m"] = float(longitudinal.mean())
    return result
