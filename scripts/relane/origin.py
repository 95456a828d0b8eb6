"""What a source holds, for `params:`: a job runs again when its source's content changes, and not when it is touched.

The clip sheet's checksum is taken where there is one. What has none and lies on this machine is looked into at
planning: an MP4 is hashed whole, once (`relane.content`); of a PhysicalAI-AV chunk zip the sizes and CRC-32 of the
clip's own files are read from the zip's directory. What is wrong with a source is said by the job that reads it.
"""

import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path

from relane.content import ABSENT, digest_of, sha256_of, zip_entries
from relane.names import CAMERAS
from relane.sheet import Clip
from relane.sources import pai_features

# What the driving stage reads of a clip beside its cameras.
DRIVEN_BY = ("egomotion", "camera_intrinsics", "sensor_extrinsics", "vehicle_dimensions")


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


def content_of(paths: Iterable[str]) -> dict[str, str]:
    """`sha256:<hex>` of each local file, hashed in threads; "absent" for one that is not there."""
    files = {path: Path(path) for path in paths}
    found = sha256_of({path for path in files.values() if path.is_file()}, what="sources")
    return {path: f"sha256:{found[file]}" if file in found else ABSENT for path, file in files.items()}


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


def driven_content(root: str, clip_id: str, cameras: int) -> str:
    """16 hex digits over what the driving stage reads of a clip in a data set folder: ego motion, calibration, cameras.

    "" for a root that is no folder: the name of a hub revision says what it holds. For a hub cache its revision.
    """
    if "://" in root:
        return ""
    folder = Path(root)
    if not (folder / "features.csv").is_file():
        found = sorted(folder.glob("datasets--*/refs/main"))
        return found[0].read_text(encoding="utf-8").strip() if found else ABSENT
    read = [*DRIVEN_BY, *(name for name in CAMERAS if cameras == 7 or "rear" not in name)]
    features, chunk = _features(root), _chunks(root).get(clip_id)
    parts = []
    for feature in (features[name] for name in read if name in features):
        path = str(folder / feature["chunk_path"].format(chunk_id=chunk)) if chunk is not None else ""
        names = [name.format(clip_id=clip_id) for name in json.loads(feature["clip_files_in_zip"] or "{}").values()]
        if path.endswith(".zip"):
            entries = zip_entries(path)
            parts += [(name, entries.get(name, entries.get("", ABSENT))) for name in names]
        else:
            parts.append((feature["feature"], _table(path)))
    return digest_of(parts)


@functools.cache
def _features(root: str) -> dict[str, dict[str, str]]:
    return pai_features(Path(root))


@functools.cache
def _table(path: str) -> str:
    return content_of([path])[path] if path else ABSENT


@functools.cache
def _chunks(root: str) -> dict[str, int]:
    """The chunk of each clip; empty for an index that cannot be read."""
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(Path(root) / "clip_index.parquet", columns=["clip_id", "chunk"]).to_pydict()
    except (OSError, ValueError, KeyError):
        return {}
    return dict(zip(map(str, table["clip_id"]), table["chunk"], strict=True))
