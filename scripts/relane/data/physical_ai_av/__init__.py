"""PhysicalAI-AV: a folder, a hub cache or `hf://owner/name@revision` (see `roots`), as a data set of `relane.data`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from relane.data.physical_ai_av.index import clip_index, driven_content

if TYPE_CHECKING:
    from relane.data.physical_ai_av.clip import Clip


def open_clip(root: str | Path, clip_id: str) -> "Clip":
    """One clip. Raises InputError where the root cannot be opened, UndrivableError for a clip that is not there."""
    from relane.data.physical_ai_av.clip import Clip
    from relane.data.physical_ai_av.roots import open_dataset

    return Clip(open_dataset(root), clip_id)


def clip_ids(root: str) -> set[str] | None:
    """The clips of a local folder's index; None for the hub's. Raises InputError where it is no such folder."""
    if root.startswith("hf://"):
        return None
    from relane.data.physical_ai_av.roots import data_folder

    return set(clip_index(data_folder(root))["clip_id"])


def content(root: str, clip_id: str, cameras: Sequence[str]) -> str:
    """See `index.driven_content`."""
    return driven_content(root, clip_id, cameras)


def times_content(root: str, clip_id: str, camera: str) -> str:
    """Nothing: a clip's times lie beside its video, in the chunk that is looked into for it."""
    return ""


def check(root: str, clip_id: str, cameras: Sequence[str]) -> None:
    """Nothing: what a chunk lacks is told by the job that reads it."""
