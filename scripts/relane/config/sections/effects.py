"""Section `effects`: the statistics (scripts/effects.py)."""

from typing import Annotated

from relane.config.option import Distinct, Metres, Section, option


class Effects(Section, key="effects"):
    """The statistics (`scripts/effects.py`)."""

    bootstrap: int = option(10_000, "Resamples of the clips behind each interval.", ge=100)
    action_unchanged: Annotated[list[str], Distinct()] = option(
        [],
        "Edit arms that leave the right action as it was, such as another colour of the same line: only for these is "
        "the recorded future still the truth, and only they are compared by ADE, minADE and FDE.",
    )
    equivalence_margin_m: Metres = option(
        0.1,
        "A clip counts as moved where the distance between its paired paths, averaged over time, samples and instants, "
        "is beyond this. The claim on an arm is the share of clips that moved, with its exact interval "
        "(docs/statistics.md).",
    )
    seed: int = option(42, "Part of the key of the resampling.")
