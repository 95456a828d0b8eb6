"""What the report shows, collected from a run's folder.

Files that every run of these videos and arms leaves are required; what only some runs have (rollouts, a critic's
pictures, plots) is shown where it is there. Unknown keys are ignored.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from relane import layout
from relane.arms import FLOOR, ORIGINAL
from relane.errors import InputError
from relane.io.csvfile import read_csv
from relane.io.files import read_json
from relane.report import tables

# Arms without an edit of their own, and what they are for.
UNEDITED = {
    ORIGINAL: "the clip itself, through the same codec: what every effect is a difference to",
    FLOOR: "the clip once more, driven with other noise: how far the driver moves by itself",
}


@dataclass(frozen=True)
class Media:
    """A file that goes into the report, and its name below `media/`."""

    source: Path
    name: str

    @property
    def href(self) -> str:
        """The reference from index.html."""
        return quote(f"media/{self.name}")


@dataclass
class Attempt:
    """One try at the first frame: its picture (three panels where a critic looked), caption and verdict."""

    number: int
    caption: str
    picture: Media | None
    chosen: bool
    verdict: dict[str, Any] | None


@dataclass
class Arm:
    """One arm of one video."""

    name: str
    instruction: str = ""
    edited: Media | None = None
    overlay: Media | None = None
    overlay_missing: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    refinement: str = ""
    metrics: list[tables.Table] = field(default_factory=list)
    label: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    drive: list[tuple[str, str]] = field(default_factory=list)
    effect: list[tuple[str, str]] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)


@dataclass
class Video:
    """One video (a camera of a clip) with all its arms."""

    name: str
    clip_id: str
    camera: str
    facts: list[tuple[str, str]]
    source: Media
    arms: list[Arm]
    plots: list[Media]


@dataclass
class Report:
    """The whole page."""

    run: str
    arms: list[str]
    videos: list[Video]
    skipped: list[dict[str, str]]
    no_driving_reason: str
    effects: tables.Effects | None
    plots: list[Media]
    provenance: dict[str, Any]
    total: int

    def media(self) -> list[Media]:
        """Every file that the page refers to, once."""
        found = {item.name: item for item in self.plots}
        for video in self.videos:
            pictures = [attempt.picture for arm in video.arms for attempt in arm.attempts]
            moving = [item for arm in video.arms for item in (arm.edited, arm.overlay)]
            found |= {item.name: item for item in (video.source, *video.plots, *moving, *pictures) if item}
        return list(found.values())


def gather(
    folder: Path,
    run: str,
    videos: Sequence[str],
    arms: Sequence[str],
    clips: Sequence[str],
    no_driving_reason: str,
    external_arms: Sequence[str] = (),
    total: int = 0,
    driver: str = "",
    t0_us: int = 0,
) -> Report:
    """Everything that the page shows of a run's folder. `clips` are the driven ones and may be empty.

    `videos` and `clips` are those to show; a run may have more, `total` videos in all, and its effects count them all.
    `external_arms`, of `arms`, were edited elsewhere: they have a video, for some clips, and nothing on how
    it was made. `driver` and `t0_us` say which of an arm's rollouts is shown.

    Raises InputError that names the first required file that is missing or not what its stage writes.
    """
    provenance = _record(layout.below(folder, layout.PROVENANCE))
    metadata = _rows(layout.below(folder, layout.MASK_TABLE), "video", "status")
    rollouts = Rollouts(folder, clips, no_driving_reason, driver, t0_us)
    shown = [_video(folder, name, arms, rollouts, external_arms) for name in videos]
    return Report(
        run=run,
        arms=list(arms),
        videos=shown,
        skipped=[row for row in metadata if row["status"] != "ok"],
        no_driving_reason=no_driving_reason,
        effects=rollouts.effects,
        plots=[plot for plot in rollouts.plots if not plot.source.name.startswith("paths_")],
        provenance=provenance,
        total=max(total, len(shown)),
    )


class Rollouts:
    """What the driving stage left: nothing where no clip was driven."""

    def __init__(self, folder: Path, clips: Sequence[str], no_driving_reason: str, driver: str, t0_us: int) -> None:
        self.folder, self.clips, self.reason = folder, clips, no_driving_reason
        self.shown = {"driver": driver, "rollout": layout.rollout_name(t0_us)}
        self.effects: tables.Effects | None = None
        self.plots: list[Media] = []
        self.rows: list[dict[str, str]] = []
        if clips:
            effects, table = layout.below(folder, layout.EFFECTS), layout.below(folder, layout.EFFECTS_TABLE)
            self.effects = tables.effects(_record(effects), effects)
            plots = layout.below(folder, layout.EFFECTS_PLOTS)
            # Of several drivers each has a folder of its own.
            found = sorted((plots / driver if (plots / driver).is_dir() else plots).glob("*.png"))
            self.plots = [Media(path, f"plots/{path.name}") for path in found]
            if table.is_file():
                self.rows = _rows(table, "driver", "clip_id", "arm")

    def plots_of(self, clip_id: str) -> list[Media]:
        """The clip's own plots: `paths_<clip>.png`, or one for each t0."""
        own = re.compile(rf"paths_{re.escape(clip_id)}(_\d+)?\.png")
        return [plot for plot in self.plots if own.fullmatch(plot.source.name)]

    def add(self, video: Video, arm: Arm) -> None:
        """Put an arm's overlay, figures and words into it, or why there are none."""
        if video.clip_id not in self.clips:
            arm.overlay_missing = self.reason or "not driven: no ego motion comes with this clip"
            return
        inference = _record(self._of(layout.ROLLOUT, video, arm))
        arm.drive, arm.reasoning = tables.drive_facts(inference), tables.reasoning(inference)
        if inference.get("success") is False:
            arm.drive.append(("not driven", str(inference.get("error", ""))))
        key = (self.shown["driver"], video.clip_id, arm.name)
        own = [row for row in self.rows if (row["driver"], row["clip_id"], row["arm"]) == key]
        arm.effect = tables.clip_effects(own)
        # One rollout serves all cameras of a clip; its overlay is drawn on one of them.
        if inference.get("camera_name", video.camera) == video.camera:
            overlay = self._of(layout.ROLLOUT_OVERLAY, video, arm)
            arm.overlay = _file(overlay, f"{video.name}/{arm.name}/overlay.mp4")
        else:
            arm.overlay_missing = f"drawn on {inference['camera_name']}"

    def _of(self, pattern: str, video: Video, arm: Arm) -> Path:
        return layout.below(self.folder, pattern, arm=arm.name, clip=video.clip_id, **self.shown)


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    return [row.cells for row in read_csv(path, columns, "the report of this run needs it, so make it first")]


def _file(path: Path, name: str) -> Media:
    if not path.is_file():
        raise InputError(f"{path}: no such file; the report of this run needs it, so make it first")
    return Media(path, name)


def _record(path: Path) -> dict[str, Any]:
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object; make it again")
    return value


def _video(folder: Path, name: str, arms: Sequence[str], rollouts: Rollouts, external: Sequence[str]) -> Video:
    sidecar = layout.below(folder, layout.CLIP_JSON, video=name)
    record = _record(sidecar)
    if "clip_id" not in record or "camera" not in record:
        raise InputError(f"{sidecar}: no clip_id or camera; make it again with prepare_clip.py")
    region = layout.below(folder, layout.REGION_JSON, video=name)  # only of videos that are edited here
    video = Video(
        name=name,
        clip_id=str(record["clip_id"]),
        camera=str(record["camera"]),
        facts=tables.clip_facts(record) + (tables.region_facts(_record(region)) if region.is_file() else []),
        source=_file(layout.below(folder, layout.CLIP, video=name), f"{name}/source.mp4"),
        arms=[],
        plots=rollouts.plots_of(str(record["clip_id"])),
    )
    for arm_name in arms:
        edited = layout.below(folder, layout.EDITED, instruction=arm_name, video=name)
        if arm_name in UNEDITED:
            arm = Arm(arm_name, UNEDITED[arm_name])
        elif arm_name not in external:
            arm = _edit(folder, video, arm_name)
        elif edited.is_file():
            arm = Arm(arm_name, "edited elsewhere", Media(edited, f"{name}/{arm_name}/edited.mp4"))
        else:
            continue
        rollouts.add(video, arm)
        # Without a rollout the arms that edit nothing have nothing to show.
        if arm_name not in UNEDITED or arm.overlay:
            video.arms.append(arm)
    return video


def _edit(folder: Path, video: Video, name: str) -> Arm:
    def path(pattern: str) -> Path:
        return layout.below(folder, pattern, instruction=name, video=video.name)

    records = (layout.FIRST_FRAME_JSON, layout.EDITED_JSON, layout.EVALUATION)
    first_frame, edit, quality = (_record(path(pattern)) for pattern in records)
    attempts = _attempts(path(layout.REFINEMENT), first_frame, f"{video.name}/{name}")
    return Arm(
        name=name,
        instruction=str(first_frame.get("instruction", "")),
        edited=_file(path(layout.EDITED), f"{video.name}/{name}/edited.mp4"),
        attempts=attempts,
        refinement=tables.refinement(first_frame),
        metrics=tables.quality(quality, path(layout.EVALUATION)),
        label=str(quality.get("label", "")),
        facts=tables.edit_facts(first_frame, edit),
    )


def _attempts(folder: Path, first_frame: dict[str, Any], media: str) -> list[Attempt]:
    evaluation = folder / "qwen_eval.json"
    # The sidecar lists the tries too; the folder's own record is the one written together with its pictures.
    record = _record(evaluation) if evaluation.is_file() else first_frame
    attempts = []
    for entry in record.get("tries", []):
        number = int(entry.get("try", len(attempts) + 1))
        pictures = [folder / f"try_{number:02d}_{kind}.png" for kind in ("panels", "output")]
        found = next((path for path in pictures if path.is_file()), None)
        attempts.append(
            Attempt(
                number=number,
                caption=str(entry.get("caption", "")),
                picture=Media(found, f"{media}/{found.name}") if found else None,
                chosen=number == record.get("chosen_try"),
                verdict=tables.verdict(entry.get("verdict")),
            )
        )
    return attempts
