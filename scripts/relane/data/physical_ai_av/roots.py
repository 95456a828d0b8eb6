"""Where a PhysicalAI-AV data set lies: a folder, a hub cache or the hub, each opened as physical_ai_av's own interface.

A root is one of
    a folder                    with features.csv in it: read in place, without any network
    a hub cache folder          with datasets--... in it: its snapshot is such a folder, and read as one
    hf://owner/name@revision    the default hub cache; what is not there is streamed when HF_TOKEN is set
"""

import contextlib
import functools
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from relane.errors import InputError, first_line

_NO_REVISION = "f" * 40  # a plain folder has no revision; the interface wants one and then asks nobody
# Tables that have one row a clip. Releases before 26.03 have sensor_presence alone, later ones feature_presence.
_PRESENCE = ("metadata/feature_presence.parquet", "metadata/sensor_presence.parquet")
_ONE_ROW_A_CLIP = ("clip_index.parquet", *_PRESENCE)
_METADATA = ("features.csv", "clip_index.parquet", "metadata/data_collection.parquet")


def open_dataset(root: str | Path):
    """Open a root (see above) as a `physical_ai_av.PhysicalAIAVDatasetInterface`.

    Raises InputError when the folder is no data set or an incomplete one, when its tables name a clip twice, or when
    a hub revision is missing or cannot be reached.
    """
    root = str(root)
    if root.startswith("hf://"):
        return _open_hub(root)
    return _local_interface()(data_folder(root))


def data_folder(root: str | Path) -> Path:
    """The folder with features.csv of a local root: itself, or the snapshot of a hub cache. Raises InputError."""
    folder = Path(root)
    if (folder / "features.csv").is_file():
        return folder
    snapshots = [found.parent for found in sorted(folder.glob("datasets--*/snapshots/*/features.csv"))]
    named = [found for found in snapshots if _main_of(found) == found.name]
    if named or len(snapshots) == 1:
        return (named or snapshots)[0]
    if snapshots:
        revisions = ", ".join(found.name for found in snapshots)
        raise InputError(
            f"{root}: a hub cache with several revisions ({revisions}) and no refs/main; set pai_root to one "
            "of its snapshots/ folders"
        )
    raise InputError(
        f"{root}: neither a PhysicalAI-AV folder (features.csv) nor a hub cache (datasets--.../snapshots/...), "
        "nor a folder of MP4s with ego motion (<clip>.ego.csv, docs/own_drives.md); set pai_root to one, or to hf://owner/name@revision"
    )


def _main_of(snapshot: Path) -> str | None:
    path = snapshot.parents[1] / "refs/main"
    return path.read_text().strip() if path.is_file() else None


def _open_hub(root: str):
    match = re.fullmatch(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", root.rstrip("/"))
    if match is None:
        raise InputError(f"{root}: expected hf://owner/name@revision")
    if os.environ.get("HF_TOKEN"):
        # The scripts forbid the hub to model libraries; this root and the token say that here it is meant.
        os.environ["HF_HUB_OFFLINE"] = "0"
        import huggingface_hub.constants

        huggingface_hub.constants.HF_HUB_OFFLINE = False
    try:
        return _hub_interface()(match[1], match[2] or "main")
    except InputError:
        raise
    except Exception as error:  # each cause has its own class: no network, no token, gate not accepted, not cached
        raise InputError(
            f"{root}: cannot be opened ({type(error).__name__}); fetch its files first, or set HF_TOKEN for an "
            "account that has accepted the data set's licence"
        ) from None


@functools.cache
def _hub_interface():
    """The interface class over the hub; offline it knows what is cached, releases before 26.03 too."""
    import physical_ai_av

    class HubInterface(physical_ai_av.PhysicalAIAVDatasetInterface):
        def __init__(self, repository: str, revision: str) -> None:
            # No threshold: at its default of 10 GB the interface would wait for an answer from a terminal.
            super().__init__(revision, repo_id=repository, confirm_download_threshold_gb=float("inf"))

        def _load_metadata(self) -> None:
            if self.is_offline_mode:
                # The interface asks for feature_presence even then, which releases before 26.03 lack.
                self.api.file_exists = lambda filename, **_: self.is_file_cached(filename)
            for name in _ONE_ROW_A_CLIP:
                if self.is_file_cached(name):
                    refuse_doubled(self.download_file(name))
            super()._load_metadata()

    return HubInterface


class _NoHub:
    """In place of the hub's clients: what is not in the folder is nowhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file_exists(self, filename: str, **_: object) -> bool:
        return (self.folder / filename).is_file()

    def __getattr__(self, name: str) -> Callable:
        raise FileNotFoundError(f"{self.folder} is a local folder, the hub is not asked ({name})")


@functools.cache
def _local_interface():
    """The interface class over a plain folder: it looks for files there and never asks the hub."""
    import physical_ai_av

    class LocalInterface(physical_ai_av.PhysicalAIAVDatasetInterface):
        def __init__(self, folder: Path) -> None:
            self.folder = folder
            missing = [name for name in _METADATA if not (folder / name).is_file()]
            if not any((folder / name).is_file() for name in _PRESENCE):
                missing.append(" or ".join(_PRESENCE))
            if missing:
                raise InputError(
                    f"{folder}: not a complete PhysicalAI-AV folder: no {', no '.join(missing)}; fetch its metadata"
                )
            try:
                super().__init__(revision=_NO_REVISION, token=False)
            except (OSError, KeyError, ValueError, TypeError) as error:
                raise InputError(f"{folder}: not a readable PhysicalAI-AV folder ({first_line(error)})") from None

        def _load_metadata(self) -> None:
            self.api = self.fs = _NoHub(self.folder)
            self.is_offline_mode = True
            for name in _ONE_ROW_A_CLIP:
                if (self.folder / name).is_file():
                    refuse_doubled(self.folder / name)
            super()._load_metadata()

        def _get_cached_path(self, filename: str) -> str | None:
            path = self.folder / filename
            return str(path) if path.is_file() else None

        def download_file(self, filename: str, **_) -> str:
            path = self._get_cached_path(filename)
            if path is None:
                raise FileNotFoundError(self.folder / filename)
            return path

        @contextlib.contextmanager
        def open_file(self, filename: str, mode: str = "rb", maybe_stream: bool = False) -> Iterator[io.BufferedReader]:
            with open(self.download_file(filename), mode) as file:
                yield file

    return LocalInterface


def refuse_doubled(path: str | Path) -> None:
    """Raise InputError where a table that has one row a clip names a clip twice, or cannot be read."""
    try:
        index = pd.read_parquet(path, columns=[]).index
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable table ({first_line(error)}); fetch it again") from None
    doubled = index[index.duplicated()].unique().astype(str).tolist()
    if doubled:
        more = f" and {len(doubled) - 3} more" if len(doubled) > 3 else ""
        raise InputError(
            f"{path}: more than one row of clip {', '.join(doubled[:3])}{more}; remove the doubled rows, or fetch "
            "the table again"
        )
