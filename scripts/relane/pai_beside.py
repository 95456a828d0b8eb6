"""Videos that are no data set of their own, and the data set where the ego motion of their clips lies.

Imports the standard library alone until a data set on this disk is named: the Snakefile resolves sources.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from relane.errors import InputError
from relane.names import CAMERAS
from relane.sheet import Clip


def split_pai_root(source: str) -> tuple[str, str]:
    """A source without its option `pai_root=...`, and that option's value, "" where it has none.

    Other options stay where they are: those of a web address are the server's.
    """
    head, mark, query = source.partition("?")
    if not mark or "pai_root=" not in query:
        return source, ""
    parts = query.split("&")
    named = [unquote(part.removeprefix("pai_root=")) for part in parts if part.startswith("pai_root=")]
    if len(named) > 1:
        raise InputError(f"{source}: option 'pai_root' is given twice")
    kept = "&".join(part for part in parts if not part.startswith("pai_root="))
    return head + (f"?{kept}" if kept else ""), "".join(named)


def with_pai_root(clips: list[Clip], root: str) -> list[Clip]:
    """The same clips with the data set that their ego motion lies in, where it can have them.

    That is for a video of a camera of PhysicalAI-AV, and for a folder on this disk one whose clip its index knows.
    Raises InputError when the folder is no data set, or knows none of the clips.
    """
    if not root:
        return clips
    known = None
    if not root.startswith("hf://"):
        from relane.pai_roots import data_folder

        known = set(clip_index(data_folder(root))["clip_id"])
    drivable = [clip.camera in CAMERAS and (known is None or clip.clip_id in known) for clip in clips]
    if not any(drivable):
        raise InputError(
            f"{root}: none of the {len(clips)} videos, such as {clips[0].uri}, can be driven from this data set; name "
            "them <clip_id>.<camera>.mp4 after its clips and cameras, or leave pai_root out"
        )
    return [replace(clip, pai_root=root) if drives else clip for clip, drives in zip(clips, drivable, strict=True)]


def clip_index(root: Path) -> dict[str, list]:
    """Ids of a data set's clips and whether each is valid. Raises InputError when it cannot be read, or is doubled."""
    import pyarrow.parquet

    path = root / "clip_index.parquet"
    try:
        table = pyarrow.parquet.read_table(path, columns=["clip_id", "clip_is_valid"]).to_pydict()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: not readable as PhysicalAI-AV's clip index ({error})") from None
    doubled = sorted(clip for clip, rows in Counter(table["clip_id"]).items() if rows > 1)
    if doubled:
        raise InputError(f"{path}: more than one row of clip {', '.join(doubled[:3])}; remove the doubled rows")
    return table
