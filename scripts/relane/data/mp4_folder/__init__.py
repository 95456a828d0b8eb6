"""A folder of MP4s with their ego motion beside them, as a data set of `relane.data`: docs/own_drives.md.

<clip>.<camera>.mp4         a camera's video, by the name that drivers know it by
<clip>.ego.csv              or .ego.json: where the rig was (see `tables`)
<clip>.cameras.json         or, for all clips, cameras.json: intrinsics, extrinsics and the vehicle (see `cameras`)
<clip>.<camera>.times.csv   the time of each frame, where the video's own times are not those of the ego motion
"""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relane.data.mp4_folder.tables import read_ego
from relane.errors import InputError, UndrivableError
from relane.io.content import content_of, digest_of

if TYPE_CHECKING:
    from relane.data.mp4_folder.clip import Clip

EGO = (".ego.csv", ".ego.json")


def folder_of(root: str | Path) -> Path:
    """The folder of a root, `mp4://` before it or not. Raises InputError where there is none."""
    folder = Path(str(root).removeprefix("mp4://"))
    if not folder.is_dir():
        raise InputError(f"{root}: no such folder")
    return folder


def clip_ids(root: str | Path) -> set[str]:
    """The clips that have ego motion."""
    return {path.name.removesuffix(end) for end in EGO for path in folder_of(root).glob(f"*{end}")}


def ego_file(root: str | Path, clip_id: str) -> Path:
    """A clip's ego motion. Raises UndrivableError where there is none, naming near ids, or two."""
    folder = folder_of(root)
    found = [folder / f"{clip_id}{end}" for end in EGO if (folder / f"{clip_id}{end}").is_file()]
    if len(found) > 1:
        raise UndrivableError(f"{found[0]} and {found[1].name}: two tables of one clip's ego motion; remove one")
    if not found:
        near = difflib.get_close_matches(clip_id, clip_ids(root), n=3, cutoff=0.5)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise UndrivableError(f"{folder / (clip_id + EGO[0])}: no such file, clip {clip_id} has no ego motion{hint}")
    return found[0]


def cameras_file(root: str | Path, clip_id: str) -> Path | None:
    """The calibration of a clip: its own, else that of the folder, if any."""
    names = (f"{clip_id}.cameras.json", "cameras.json")
    return next((folder_of(root) / name for name in names if (folder_of(root) / name).is_file()), None)


def content(root: str | Path, clip_id: str, cameras: Sequence[str]) -> str:
    """16 hex digits over the clip's ego motion, calibration, and the videos and times of these cameras."""
    folder = folder_of(root)
    names = [f"{clip_id}{end}" for end in (*EGO, ".cameras.json")] + ["cameras.json"]
    names += [f"{clip_id}.{camera}.{end}" for camera in cameras for end in ("mp4", "times.csv")]
    found = content_of(str(folder / name) for name in names)
    return digest_of((name, found[str(folder / name)]) for name in names)


def times_content(root: str | Path, clip_id: str, camera: str) -> str:
    """The digest of the table of a camera's times; "" where there is none."""
    table = folder_of(root) / f"{clip_id}.{camera}.times.csv"
    return content_of([str(table)])[str(table)] if table.is_file() else ""


def check(root: str | Path, clip_id: str, cameras: Sequence[str]) -> None:
    """Raise UndrivableError for cameras that are read and not there, and for what is wrong with the ego motion."""
    folder = folder_of(root)
    lacking = [camera for camera in cameras if not (folder / f"{clip_id}.{camera}.mp4").is_file()]
    if lacking:
        files = ", ".join(f"{clip_id}.{camera}.mp4" for camera in lacking)
        raise UndrivableError(
            f"{folder}: the driver reads {len(cameras)} cameras, and {len(lacking)} of them are not there: {files}; "
            "add them, or leave the clip out (a driver that reads fewer cameras may do without)"
        )
    read_ego(ego_file(root, clip_id))


def open_clip(root: str | Path, clip_id: str) -> "Clip":
    """One clip. Raises InputError where there is no such folder, UndrivableError where it has no such clip."""
    from relane.data.mp4_folder.clip import Clip

    return Clip(folder_of(root), clip_id)
