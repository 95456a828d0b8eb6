"""The tables of a local PhysicalAI-AV folder that planning reads: features, clips, and what a clip's files hold.

Imports the standard library alone until a table is read.
"""

import functools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from relane.errors import InputError
from relane.io.content import ABSENT, content_of, digest_of, zip_entries
from relane.io.csvfile import read_csv
from relane.names import CAMERAS

# What the driving stage reads of a clip beside its cameras.
DRIVEN_BY = ("egomotion", "camera_intrinsics", "sensor_extrinsics", "vehicle_dimensions")


def pai_features(root: Path) -> dict[str, dict[str, str]]:
    """Rows of a dataset's features.csv by feature name. Raises InputError when it lacks a column."""
    columns = ("feature", "directory", "chunk_path", "clip_files_in_zip")
    rows = read_csv(root / "features.csv", columns, "is it a PhysicalAI-AV dataset?")
    return {row.cells["feature"]: row.cells for row in rows}


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


def driven_content(root: str, clip_id: str, cameras: Sequence[str]) -> str:
    """16 hex digits over what the driving stage reads of a clip in a data set folder: ego motion, calibration, cameras.

    "" for a root that is no folder: the name of a hub revision says what it holds. For a hub cache its revision.
    """
    if "://" in root:
        return ""
    folder = Path(root)
    if not (folder / "features.csv").is_file():
        found = sorted(folder.glob("datasets--*/refs/main"))
        return found[0].read_text(encoding="utf-8").strip() if found else ABSENT
    read = [*DRIVEN_BY, *(name for name in CAMERAS if name in cameras)]
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
