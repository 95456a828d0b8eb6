"""Videos that are no data set of their own, and the data set where the ego motion of their clips lies.

Imports the standard library alone until a data set on this disk is named: the Snakefile resolves sources.
"""

from dataclasses import replace
from urllib.parse import unquote

from relane.data import data_set
from relane.data.sheet import Clip
from relane.errors import InputError
from relane.names import CAMERAS


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

    That is for a video of a camera that drivers know, and where the data set can tell, of a clip that it knows.
    Raises InputError when the folder is no data set, or knows none of the clips.
    """
    if not root:
        return clips
    root = root.removeprefix("mp4://")  # a folder is known by what lies in it
    known = data_set(root).clip_ids(root)
    drivable = [clip.camera in CAMERAS and (known is None or clip.clip_id in known) for clip in clips]
    if not any(drivable):
        raise InputError(
            f"{root}: none of the {len(clips)} videos, such as {clips[0].uri}, can be driven from this data set; name "
            "them <clip_id>.<camera>.mp4 after its clips and cameras, or leave pai_root out"
        )
    return [replace(clip, pai_root=root) if drives else clip for clip, drives in zip(clips, drivable, strict=True)]
