"""The clip sheet: a CSV that locks which clips a run works on, one row a clip and camera.

Columns (all must be there, others are left alone):

    clip_id   name of the clip: letters, digits, `.`, `_`, `-`
    camera    name of the camera: the same without `.`; `<clip_id>.<camera>` names the video everywhere
    uri       the MP4 (local path, gs:// or any other fsspec URL), or PhysicalAI-AV's local camera chunk zip
    pai_root  PhysicalAI-AV dataset folder or `hf://repo@revision`, or folder of MP4s (docs/own_drives.md), which has
              the clip's ego motion, calibration and other cameras; blank: no ego motion, so no driving stage. One clip
              has one: all its rows say the same
    size      bytes of the MP4, or blank
    checksum  `<algorithm>:<value>` of the MP4 (sha256, md5, crc32, generation), or blank: not checked

The Snakefile reads this file at every planning, so this module imports nothing but the standard library.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from relane.errors import InputError
from relane.io.csvfile import read_csv, write_csv
from relane.names import CAMERAS

COLUMNS = ("clip_id", "camera", "uri", "pai_root", "size", "checksum")
# Ids become file and folder names, with suffixes of ours after them: short enough for every file system, and never
# starting with a dot (hidden, or `..`) or a dash (an option on a command line).
_CLIP_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,119}")
_CAMERA = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,59}")


@dataclass(frozen=True)
class Clip:
    """One row: a clip seen by one camera. `size` is in bytes; blank cells are "" (size: None)."""

    clip_id: str
    camera: str
    uri: str
    pai_root: str = ""
    size: int | None = None
    checksum: str = ""

    @property
    def video(self) -> str:
        """`<clip_id>.<camera>`, the `{video}` of every file name."""
        return f"{self.clip_id}.{self.camera}"

    @property
    def drivable(self) -> bool:
        """True when ego motion exists, without which the driving stage has no history to start from.

        The camera must be one of PhysicalAI-AV's too: another one is none that the model could be shown.
        """
        return bool(self.pai_root) and self.camera in CAMERAS


def fault(clip: Clip) -> str | None:
    """What is wrong with a row's own fields, as the end of a sentence, or None."""
    for column, value, pattern in (("clip_id", clip.clip_id, _CLIP_ID), ("camera", clip.camera, _CAMERA)):
        if not value:
            return f"{column} is blank"
        if not pattern.fullmatch(value):
            allowed = "letters, digits, _ and -" if column == "camera" else "letters, digits, . _ and -"
            return f"{column} {value!r} is unsafe or too long: use {allowed}, not starting with '.' or '-'"
    if not clip.uri and not clip.pai_root.startswith("hf://"):
        return "uri is blank (only rows streamed from pai_root hf://... may leave it so)"
    if any(ord(char) < 32 for char in clip.uri + clip.pai_root + clip.checksum):
        return "uri, pai_root or checksum holds a control character"
    if clip.checksum and not re.fullmatch(r"[a-z0-9]+:\S+", clip.checksum):
        return f"checksum {clip.checksum!r} is not <algorithm>:<value>"
    return None


def read_sheet(path: str | Path) -> list[Clip]:
    """The rows of a clip sheet in their order.

    Raises InputError, naming the file and the row (line of the file) where it can: no such file, a missing column, an
    unsafe id, a blank field, a size that is no number, a video named twice (both rows), no rows.
    """
    path = Path(path)
    rows = read_csv(path, COLUMNS, "scripts/resolve_clips.py writes a clip sheet", whole=True)
    clips: list[Clip] = []
    line_of: dict[str, int] = {}
    for row in rows:
        clip, line = _clip(path, row.number, row.cells), row.number
        if clip.video in line_of:
            raise InputError(
                f"{path}: rows {line_of[clip.video]} and {line} both name the video {clip.video!r}; remove one"
            )
        line_of[clip.video] = line
        clips.append(clip)
    differ = _differing_roots(clips)
    if differ:
        one, other = differ
        raise InputError(f"{path}: rows {line_of[one.video]} and {line_of[other.video]} {_say_roots(one, other)}")
    if not clips:
        raise InputError(f"{path}: the clip sheet has no rows; add clips with scripts/resolve_clips.py")
    return clips


def _clip(path: Path, line: int, row: dict[str, str]) -> Clip:
    if row["size"] and not row["size"].isdecimal():
        raise InputError(f"{path} row {line}: size {row['size']!r} is not a number of bytes")
    size = int(row["size"]) if row["size"] else None
    clip = Clip(row["clip_id"], row["camera"], row["uri"], row["pai_root"], size, row["checksum"])
    wrong = fault(clip)
    if wrong:
        raise InputError(f"{path} row {line}: {wrong}")
    return clip


def check_clips(clips: Iterable[Clip]) -> list[Clip]:
    """The same clips as a list. Raises InputError on an unsafe one, or naming both sources of a doubled video."""
    seen: dict[str, Clip] = {}
    for clip in clips:
        wrong = fault(clip)
        if wrong:
            raise InputError(f"{clip.uri or clip.pai_root}: {wrong}")
        if clip.video in seen:
            raise InputError(
                f"{seen[clip.video].uri or seen[clip.video].pai_root} and {clip.uri or clip.pai_root} "
                f"both become the video {clip.video!r}; rename one"
            )
        seen[clip.video] = clip
    differ = _differing_roots(seen.values())
    if differ:
        raise InputError(f"{differ[0].video} and {differ[1].video} {_say_roots(*differ)}")
    return list(seen.values())


def _differing_roots(clips: Iterable[Clip]) -> tuple[Clip, Clip] | None:
    """The first two rows of one clip whose pai_root differ: its cameras are driven together, from one data set."""
    first: dict[str, Clip] = {}
    for clip in clips:
        if first.setdefault(clip.clip_id, clip).pai_root != clip.pai_root:
            return first[clip.clip_id], clip
    return None


def _say_roots(one: Clip, other: Clip) -> str:
    roots = " and ".join(repr(clip.pai_root) if clip.pai_root else "none" for clip in (one, other))
    return (
        f"are of one clip, {one.clip_id!r}, with two pai_root: {roots}; give both the same "
        "(resolve_clips.py --pai-root), or both none"
    )


def not_driven(clips: Iterable[Clip], read: Iterable[str]) -> list[str]:
    """Why clips will not be driven, a phrase a reason with how many it holds for; empty when all will be.

    read: the cameras that the model reads. A clip counts once, by its best camera.
    """
    reasons: dict[str, str] = {}
    for clip in clips:
        if clip.drivable and clip.camera in read:
            reasons[clip.clip_id] = ""
        elif reasons.get(clip.clip_id) != "":
            reasons[clip.clip_id] = _reason(clip)
    counted = Counter(reason for reason in reasons.values() if reason)
    total = len(reasons)
    return [f"{number} of {total} {reason}" for reason, number in counted.most_common()]


def _reason(clip: Clip) -> str:
    if not clip.pai_root:
        return "have no pai_root, where their ego motion lies (resolve_clips.py --pai-root, or &pai_root= in a source)"
    if not clip.drivable:
        return f"are of a camera {clip.camera!r} that PhysicalAI-AV does not know (name files <clip_id>.<camera>.mp4)"
    return f"are of {clip.camera}, which the model does not read with this drive.cameras"


def write_sheet(path: str | Path, clips: Iterable[Clip]) -> None:
    """Write clips as a sheet, atomically. Raises InputError when `check_clips` does, or when there are none."""
    clips = check_clips(clips)
    if not clips:
        raise InputError(f"{path}: no clips to write")
    write_csv(path, COLUMNS, ([getattr(clip, name) for name in COLUMNS] for clip in clips))
