"""Sentences on what may be concluded from a run's effects, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from relane.arms import FLOOR, SHAM, Kind, arm_order, kind_of
from relane.effects.pairs import Instant, Rows, instants, values, words_for
from relane.effects.statistics import FEWEST, LEVEL

OF_THE_TESTS = (
    "Effects of edits are differences to the sham arm (minus_sham), taken at the same instant of the same clip; a size "
    "such as displacement is tested only there. p is that of sign flips, which test whether the differences are "
    "symmetric about zero: a small p says that clips tend to one side, a large one does not show that there is no "
    "effect."
)


def all_of(rows: Rows, lonely: Sequence[Instant], arms: Mapping[str, Any], unchanged: Sequence[str]) -> list[str]:
    """All notes of a run. `lonely`: where other arms were driven and the original was not."""
    found = [on_claim(arm, summary) for arm, summary in arms.items()]
    found += on_number(rows) + on_controls(rows) + on_partners(rows, lonely) + on_intervals(arms)
    edits = [arm for arm in arms if kind_of(arm) is Kind.EDIT]
    found += [on_recorded_future(arm, arm in unchanged) for arm in edits]
    return found + ([OF_THE_TESTS] if edits else [])


def on_claim(arm: str, summary: Mapping[str, Any]) -> str:
    """What holds of an arm: the share of clips that moved, and of the mean what can be said."""
    moved, mean = summary["moved"], summary["equivalence"]
    clips, margin = moved["clips"], f"{moved['beyond_m']:g} m"
    line = f"{arm}: {moved['moved']} of {clips} clip{'s' if clips != 1 else ''} moved beyond {margin} on average"
    if moved["moved"]:
        line += f", {moved['share']:.1%} (exact 95 % interval {moved['low']:.1%} to {moved['high']:.1%})"
    if moved["share"] < 0.5:
        line += f": at most {moved['at_most']:.1%} of clips do (exact, one-sided 95 %)"
    if mean and mean["shown"]:
        line += (
            f". Its mean is within {margin} too: displacement at most {mean['displacement_at_most_m']:.2g} m, if no "
            f"clip moves by more than {mean['if_no_clip_beyond_m']:.2g} m"
        )
    return line + "."


def on_number(rows: Rows) -> list[str]:
    """What few clips cannot show."""
    clips = {row["clip_id"] for row in rows}
    edits = {row["arm"] for row in rows if kind_of(row["arm"]) is Kind.EDIT}
    if rows and len(clips) < FEWEST:
        return [
            f"{len(clips)} clip{'s' if len(clips) > 1 else ''}: the numbers hold for what was driven, no further. "
            f"Intervals of means and p values need at least {FEWEST} clips, because the clip is the unit that is "
            "resampled."
        ]
    least = 2.0 ** (1 - len(clips)) * max(1, len(edits))
    if rows and least > 1 - LEVEL:
        return [
            f"{len(clips)} clips in {len(edits)} edit arm{'s' if len(edits) != 1 else ''}: even if every clip moves to "
            f"the same side, p cannot be below {least:.3g} after correction."
        ]
    return []


def on_controls(rows: Rows) -> list[str]:
    """Which controls are missing."""
    arms, notes = {row["arm"] for row in rows}, []
    if rows and SHAM not in arms:
        notes.append(
            "No sham arm: what the editor does to the pictures by itself cannot be told from what the markings do."
        )
    if rows and FLOOR not in arms:
        notes.append("No noise-floor arm: how far the model's paths move by chance is not known.")
    return notes


def on_partners(rows: Rows, lonely: Sequence[Instant]) -> list[str]:
    """What has no partner, by clip and instant, and so enters no comparison."""
    notes = []
    if lonely:
        notes.append(f"No original arm at {words_for(lonely)}: what other arms did there is left out.")
    places = {(row["clip_id"], row["t0_us"]) for row in rows}
    arms = arm_order(row["arm"] for row in rows)
    sham = instants(rows, SHAM)
    for arm in arms:
        own = instants(rows, arm)
        if places - own:
            notes.append(
                f"Arm {arm} lacks {len(places - own)} of {len(places)} rollouts ({words_for(places - own)}); its "
                "summary is over the others."
            )
        if kind_of(arm) is Kind.EDIT and sham and own != sham:
            notes.append(
                f"{arm} minus sham is over the {len(own & sham)} rollouts that both have: {len(own - sham)} of this "
                f"arm and {len(sham - own)} of the sham have no partner."
            )
        halves = values(rows, arm, "vision_lateral_m")
        if halves and len(halves) < len(own):
            notes.append(
                f"{arm}: {len(own) - len(halves)} of {len(own)} rollouts have none with the original's words "
                f"({words_for(own - set(halves))}), so vision and words do not add up to the effect over all."
            )
    return notes


def on_intervals(arms: Mapping[str, Any]) -> list[str]:
    """Where the interval of the mean says less than it seems to."""
    none = [arm for arm, summary in arms.items() if not summary["moved"]["moved"]]
    every = [arm for arm, found in arms.items() if found["moved"]["moved"] and not found["interval_of_mean_holds"]]
    notes = []
    if none:
        most = max(arms[arm]["moved"]["clips"] for arm in none)
        notes.append(
            f"{', '.join(none)}: no clip moved, so the interval of the mean tells nothing of clips that move seldom "
            f"and far (clips that make up 5 % go unseen in {0.95**most:.0%} of studies of {most}). Read the share of "
            "clips instead."
        )
    if every:
        notes.append(
            f"{', '.join(every)}: every clip moved, but they are few: the interval of the mean tells nothing of clips "
            "that do not move. Read the share of clips too."
        )
    return notes


def on_recorded_future(arm: str, unchanged: bool) -> str:
    """Whether the recorded future is still the truth for an edit."""
    if unchanged:
        return f"{arm}: declared to leave the right action unchanged, so ADE, minADE and FDE may be compared."
    return (
        f"{arm}: the edit may change what the right action is, so the recorded future is no longer the truth and "
        "changes of ADE, minADE and FDE against it are not errors. Read displacement, lateral and longitudinal instead."
    )
