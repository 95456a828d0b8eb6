"""What a source holds, for `params:`: a job runs again when its source's content changes, and not when it is touched.

The clip sheet's checksum is taken where there is one. What has none and lies on this machine is looked into at
planning: an MP4 is hashed whole, once (`relane.io.content`); of a PhysicalAI-AV chunk zip the sizes and CRC-32 of the
clip's own files are read from the zip's directory. What is wrong with a source is said by the job that reads it. What
driving reads beside them is told by the data set (`relane.data`).
"""

import os
from collections.abc import Iterable
from pathlib import Path

from relane.data.sheet import Clip
from relane.io.content import ABSENT, content_of, digest_of, zip_entries


def local_path(uri: str) -> str:
    """The path of a local source in one spelling, relative where it lies below the working directory; "" for others."""
    scheme, found, rest = uri.partition("://")
    path = uri if not found else rest if scheme in ("file", "local") else ""
    if not path:
        return ""
    # `..` stays: behind a link it is another folder than it seems.
    path = path if ".." in Path(path).parts else os.path.normpath(path)
    inside = os.path.relpath(path) if os.path.isabs(path) else path
    return path if inside.startswith("..") else inside


def source_contents(clips: Iterable[Clip]) -> dict[str, str]:
    """What tells the content of each clip's source, by video name.

    The sheet's checksum; else a digest of what lies on this machine; "" for a remote source without a checksum, of
    which nothing is known but its address.
    """
    clips = list(clips)
    plain = {clip.video: local_path(clip.uri) for clip in clips if not clip.checksum and not clip.uri.endswith(".zip")}
    hashed = content_of({path for path in plain.values() if path})
    return {clip.video: clip.checksum or hashed.get(plain.get(clip.video, ""), "") or _packed(clip) for clip in clips}


def _packed(clip: Clip) -> str:
    if not clip.uri.endswith(".zip") or not local_path(clip.uri):
        return ""
    entries = zip_entries(local_path(clip.uri))
    names = [f"{clip.clip_id}.{clip.camera}.{ending}" for ending in ("mp4", "timestamps.parquet")]
    return digest_of((name, entries.get(name, entries.get("", ABSENT))) for name in names)
