"""Section `clip`: how sources become clips (scripts/prepare_clip.py)."""

from typing import Annotated, Literal

from pydantic import Field

from relane.config.option import ALONE, EITHER, SEVERAL, Crf, Distinct, Positive, Section, option
from relane.errors import InputError

Instant = Annotated[int, Field(ge=0)]
Instants = Annotated[list[Instant], Distinct(), Field(min_length=1)]


class Clip(Section, key="clip"):
    """How sources become clips (`scripts/prepare_clip.py`)."""

    fps: float = option(
        10,
        "Frames per second of the clip; frames are picked by their true times. The driving model's clock is 10 Hz "
        "whatever this says.",
        unit="frames/s",
        gt=0,
    )
    max_frames: Positive = option(150, "Frames a clip has at most; all of them are segmented and edited.")
    min_frames: Positive = option(
        49,
        "A source that gives fewer frames cannot be used; VideoPainter needs one window, 49. A clip runs again only "
        "where another value makes it too short, or usable.",
        rerun=False,
    )
    anchor: Literal["start", "t0"] = option(
        "start",
        "`start`: the first `max_frames` frames; `t0`: the window that ends at `t0_us`, the last of several, so that "
        "the driving model sees edited frames.",
    )
    t0_us: Annotated[Annotated[Instant, ALONE] | Annotated[Instants, SEVERAL], EITHER] = option(
        5_100_000,
        "The instant at which the driving model plans, in microseconds on the source's own clock; or a list of them. "
        "The first gives files their plain names, further ones append `_t0_<microseconds>`; statistics average them by "
        "clip.",
        unit="\u00b5s",
    )
    frame_choice: Literal["before", "nearest"] = option(
        "before",
        "Which frame of a driven clip stands for an instant: the last one at or before it, as PhysicalAI-AV's own "
        "loader takes it, so that nothing from after the instant is shown; or the nearest, as clips without ego motion "
        "take it.",
    )
    crf: Crf = option(18, "H.264 quality of the clip; 0 is lossless.")
    record_failures: bool = option(
        True,
        "Whether a source that cannot be used (too short, damaged, not to be fetched at the second attempt) is named "
        "in the report with its reason and left out, also of datasets; `false`: its job fails. To try one again: "
        "`--forcerun results/<run>/clips/<video>.mp4`.",
        rerun=False,
    )

    @property
    def instants(self) -> list[int]:
        """The planning instants, microseconds."""
        return self.t0_us if isinstance(self.t0_us, list) else [self.t0_us]

    def check(self) -> None:
        """No clip can have fewer frames than it must have."""
        if self.min_frames > self.max_frames:
            raise InputError(
                f"clip.max_frames {self.max_frames}, clip.min_frames {self.min_frames}: max_frames must be at least "
                "min_frames"
            )

    def check_reach(self) -> None:
        """Raise InputError where the window of a clip that ends at its last instant begins before the source does."""
        # With the half frame that a source may lack.
        reach = int(max(self.instants) / 1e6 * self.fps + 0.5) + 1
        if self.anchor == "t0" and reach < self.min_frames:
            raise InputError(
                f"clip.anchor t0: from the start to the last of clip.t0_us {max(self.instants)} there are {reach} "
                f"frames at {self.fps:g} fps, but clip.min_frames is {self.min_frames}; choose a later t0_us, or lower "
                "min_frames"
            )
