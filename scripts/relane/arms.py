"""Arms: the ways in which each clip is shown to a driving model. Standard library only."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an arm is for."""

    ORIGINAL = "original"  # the clip itself, through the same codec: what every effect is a difference to
    FLOOR = "floor"  # the original once more with other noise: how far a model moves by itself
    SHAM = "sham"  # through the whole editor, asked for the markings that the clip already has
    EDIT = "edit"  # an instruction, painted here
    EXTERNAL = "external"  # a video edited elsewhere


# Arms that a run has once are named as their kind.
ORIGINAL, FLOOR, SHAM = str(Kind.ORIGINAL), str(Kind.FLOOR), str(Kind.SHAM)
RESERVED = (ORIGINAL, FLOOR, SHAM)
COMMON_NOISE = "crn"  # common random numbers


@dataclass(frozen=True)
class Arm:
    """One arm: its name in paths and tables, what it is for, what its editor is asked for, and which editor that is.

    editor: a backend of this run, `external`, or `none` where nothing is edited.
    """

    name: str
    kind: Kind
    text: str = ""
    editor: str = "none"

    @property
    def painted(self) -> bool:
        """Whether an editor of this run makes its videos."""
        return self.kind in (Kind.SHAM, Kind.EDIT)

    @property
    def noise_key(self) -> str:
        """Arms with the same key share their noise: all but the floor, which differs in nothing else."""
        return FLOOR if self.kind is Kind.FLOOR else COMMON_NOISE

    @property
    def video_arm(self) -> str:
        """The arm whose videos are driven: the floor has none of its own."""
        return ORIGINAL if self.kind is Kind.FLOOR else self.name


def arms_of(
    switches: Mapping[str, bool], instructions: Mapping[str, str], editor: str, external: Iterable[str] = ()
) -> dict[str, Arm]:
    """The arms of a run by name, in the order of its tables.

    switches: the configuration's `arms`, whether floor and sham are there. instructions: texts by slug. editor: the
    backend that paints. external: names of arms that were edited elsewhere.
    """
    arms = [Arm(ORIGINAL, Kind.ORIGINAL)]
    arms += [Arm(FLOOR, Kind.FLOOR)] if switches[FLOOR] else []
    arms += [Arm(SHAM, Kind.SHAM, SHAM, editor)] if switches[SHAM] else []
    arms += [Arm(slug, Kind.EDIT, text, editor) for slug, text in instructions.items()]
    arms += [Arm(name, Kind.EXTERNAL, editor="external") for name in dict.fromkeys(external)]
    return {arm.name: arm for arm in arms}


def kind_of(arm: str) -> Kind:
    """The kind of an arm of which only the name is known; one that was edited elsewhere counts as an edit."""
    return Kind(arm) if arm in RESERVED else Kind.EDIT


def arm_order(arms: Iterable[str]) -> list[str]:
    """Names of arms without repetition: original, floor, sham, then the others by name."""
    rank = {name: number for number, name in enumerate(RESERVED)}
    return sorted(set(arms), key=lambda arm: (rank.get(arm, len(rank)), arm))
