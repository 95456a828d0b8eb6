"""PhysicalAI-AV clips: ego motion, camera frames by time, calibration; from a folder, a hub cache or streamed.

A root is one of
    a folder                    with features.csv in it: read in place, without any network
    a hub cache folder          with datasets--... in it: read through physical_ai_av, offline
    hf://owner/name@revision    the default hub cache; what is not there is streamed when HF_TOKEN is set
Times are int64 microseconds on the data set's clock. Ego motion comes out in the rig frame at t0: x forward, y left,
z up, metres. The model's clock is 10 Hz whatever rate a video has: 16 poses of history, 64 of future, 0.1 s apart.
"""

import contextlib
import difflib
import functools
import io
import os
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import pandas as pd

from relane.camera import FTheta, RigCamera
from relane.errors import InputError, UndrivableError

STEP_US = 100_000
HISTORY_STEPS, FUTURE_STEPS = 16, 64
_REPOSITORY = "nvidia/PhysicalAI-Autonomous-Vehicles"
_NO_REVISION = "f" * 40  # a plain folder has no revision; the interface wants one and then asks nobody


def open_dataset(root: str | Path):
    """Open a root (see above) as a `physical_ai_av.PhysicalAIAVDatasetInterface`.

    Raises InputError when the folder is no data set, or when a hub revision is missing or cannot be reached.
    """
    root = str(root)
    if root.startswith("hf://"):
        return _open_hub(root)
    folder = Path(root)
    if (folder / "features.csv").is_file():
        return _local_interface()(folder)
    caches = sorted(folder.glob("datasets--*/refs/main"))
    if not caches:
        raise InputError(
            f"{root}: neither a PhysicalAI-AV folder (features.csv) nor a hub cache (datasets--.../refs/main); "
            "set pai_root to one, or to hf://owner/name@revision"
        )
    repository = caches[0].parents[1].name.removeprefix("datasets--").replace("--", "/", 1)
    return _hub_interface(root, repository, caches[0].read_text().strip(), folder)


def _open_hub(root: str):
    match = re.fullmatch(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", root.rstrip("/"))
    if match is None:
        raise InputError(f"{root}: expected hf://owner/name@revision")
    if os.environ.get("HF_TOKEN"):
        # The scripts forbid the hub to model libraries; this root and the token say that here it is meant.
        os.environ["HF_HUB_OFFLINE"] = "0"
        import huggingface_hub.constants

        huggingface_hub.constants.HF_HUB_OFFLINE = False
    return _hub_interface(root, match[1], match[2] or "main", None)


def _hub_interface(root: str, repository: str, revision: str, cache: Path | None):
    import physical_ai_av

    try:
        # No threshold: at its default of 10 GB the interface would wait for an answer from a terminal.
        return physical_ai_av.PhysicalAIAVDatasetInterface(
            revision, repo_id=repository, cache_dir=cache, confirm_download_threshold_gb=float("inf")
        )
    except Exception as error:  # each cause has its own class: no network, no token, gate not accepted, not cached
        raise InputError(
            f"{root}: cannot be opened ({type(error).__name__}); fetch its files first, or set HF_TOKEN for an "
            "account that has accepted the data set's licence"
        ) from None


@functools.cache
def _local_interface():
    """The interface class over a plain folder: it looks for files there and never asks the hub."""
    import physical_ai_av

    class LocalInterface(physical_ai_av.PhysicalAIAVDatasetInterface):
        def __init__(self, folder: Path) -> None:
            self.folder = folder
            try:
                super().__init__(revision=_NO_REVISION, token=False)
            except (FileNotFoundError, KeyError, ValueError) as error:
                raise InputError(f"{folder}: not a complete PhysicalAI-AV folder ({error})") from None

        def _get_cached_path(self, filename: str) -> str | None:
            path = self.folder / filename
            return str(path) if path.is_file() else None

        def is_file_cached(self, filename: str) -> bool:
            return self._get_cached_path(filename) is not None

        def _has_file(self, filename: str) -> bool:
            return self.is_file_cached(filename)

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


@dataclass(frozen=True)
class Frames:
    """Frames picked by time: images (H, W, 3) uint8 RGB, the times wanted and got, and the camera's frame period."""

    images: list[np.ndarray]
    wanted_us: list[int]
    t_us: list[int]
    period_us: float

    @property
    def error_us(self) -> list[int]:
        """Got minus wanted, microseconds."""
        return [got - wanted for got, wanted in zip(self.t_us, self.wanted_us, strict=True)]


@dataclass(frozen=True)
class Vehicle:
    """Metres: length, width, height of the body, and how far its centre is ahead of the rear axle."""

    length: float
    width: float
    height: float
    ahead: float


class Clip:
    """One clip of an open data set. Raises InputError for a clip that is not there, naming near ids."""

    def __init__(self, dataset, clip_id: str) -> None:
        self.dataset, self.clip_id = dataset, clip_id
        self.root = getattr(dataset, "folder", None) or f"hf://{dataset.repo_id}@{dataset.revision}"
        known = dataset.clip_index.index
        if clip_id not in known:
            near = difflib.get_close_matches(clip_id, known.astype(str), n=3, cutoff=0.5)
            hint = f"; near it: {', '.join(near)}" if near else "; correct the clip id, or fetch the clip"
            raise UndrivableError(f"clip {clip_id!r} is not among the {len(known)} clips of {self.root}{hint}")

    def _feature(self, feature: str):
        try:
            with np.errstate(invalid="ignore"):  # NaN is told as an error below, not warned of before
                return self.dataset.get_clip_feature(self.clip_id, feature, maybe_stream=True)
        except (FileNotFoundError, KeyError, ValueError, zipfile.BadZipFile) as error:
            detail = (str(error).splitlines() or [""])[0][:200]
            told = f"clip {self.clip_id}: no readable {feature} in {self.root} ({detail})"
            if isinstance(error, (FileNotFoundError, zipfile.BadZipFile)):
                raise InputError(f"{told}; fetch it again") from None
            # No poses can be made of such values: the clip's own fault.
            raise UndrivableError(f"{told}: NaN, or a table that lacks a column; leave the clip out") from None

    @functools.cached_property
    def _ego(self):
        return self._feature("egomotion")

    def _poses(self, t0_us: int, offsets_us: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
        times = t0_us + offsets_us
        first, last = self._ego.time_range
        if times.min() < first or times.max() > last:
            raise UndrivableError(
                f"clip {self.clip_id}: no ego motion around t0_us {t0_us}: its {what} needs {times.min()} to "
                f"{times.max()} us, the clip has {first} to {last}; choose another t0_us"
            )
        pose, here = self._ego(times).pose, self._ego(np.array([t0_us])).pose[0]
        relative = here.inv() * pose
        xyz, rot = relative.translation, relative.rotation.as_matrix()
        if not (np.isfinite(xyz).all() and np.isfinite(rot).all()):
            raise UndrivableError(f"clip {self.clip_id}: the ego motion {what} at t0_us {t0_us} holds NaN")
        return xyz.astype(np.float32), rot.astype(np.float32)

    def history(self, t0_us: int) -> tuple[np.ndarray, np.ndarray]:
        """Poses at t0 - 1.5 s ... t0: xyz (16, 3) and rot (16, 3, 3) float32; the last is the origin."""
        return self._poses(t0_us, np.arange(1 - HISTORY_STEPS, 1) * STEP_US, "history")

    def future(self, t0_us: int) -> tuple[np.ndarray, np.ndarray]:
        """Poses at t0 + 0.1 ... t0 + 6.4 s: xyz (64, 3) and rot (64, 3, 3) float32."""
        return self._poses(t0_us, np.arange(1, FUTURE_STEPS + 1) * STEP_US, "future")

    def poses(self, t0_us: int, times_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the rig is at any times (N,), in the rig frame at t0: xyz (N, 3) and rot (N, 3, 3) float32."""
        return self._poses(t0_us, np.asarray(times_us, dtype=np.int64) - t0_us, "path")

    def frames(self, camera: str, wanted_us: list[int]) -> Frames:
        """The camera's frames nearest to the wanted times. Raises InputError when the camera is not there."""
        if camera not in self.dataset.features.ALL:
            raise InputError(f"clip {self.clip_id}: {self.root} has no camera {camera!r}")
        try:
            name = self.dataset.features.get_chunk_feature_filename(self.dataset.get_clip_chunk(self.clip_id), camera)
            members = self.dataset.features.get_clip_files_in_zip(self.clip_id, camera)
            with self.dataset.open_file(name, maybe_stream=True) as file, zipfile.ZipFile(file) as archive:
                stamps = pd.read_parquet(io.BytesIO(archive.read(members["frame_timestamps"])))
                video = io.BytesIO(archive.read(members["video"]))
        except (FileNotFoundError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"clip {self.clip_id}: no readable {camera} in {self.root} ({error})") from None
        times = np.array(stamps["timestamp"], dtype=np.int64)
        index = nearest(times, wanted_us)
        images = decode_frames(video, index, len(times), f"clip {self.clip_id}, {camera}")
        return Frames(images, list(wanted_us), times[index].tolist(), period(times))

    def camera(self, camera: str) -> RigCamera | None:
        """The calibrated camera at its calibrated size; None where the clip has no calibration of it."""
        try:
            model = self._feature("camera_intrinsics").camera_models[camera]
            pose = self._feature("sensor_extrinsics").sensor_poses[camera]
        except (InputError, KeyError):
            return None
        cx, cy = map(float, model.principal_point)
        lens = FTheta(model.width, model.height, cx, cy, forward=tuple(map(float, model.th2r.coef)))
        return RigCamera(lens, pose.rotation.as_matrix(), np.array(pose.translation))

    def vehicle(self) -> Vehicle | None:
        """The vehicle's true dimensions; None where the clip has none."""
        try:
            box = self._feature("vehicle_dimensions")
        except InputError:
            return None
        return Vehicle(box.length, box.width, box.height, box.rear_axle_to_bbox_center)


def nearest(times_us: np.ndarray, wanted_us: list[int]) -> np.ndarray:
    """Index (N,) of the time nearest to each wanted one; of two equally near the earlier."""
    return np.abs(np.asarray(times_us)[None] - np.asarray(wanted_us)[:, None]).argmin(axis=1)


def period(times_us: np.ndarray) -> float:
    """The usual distance between frames in microseconds; 100 ms for a single frame."""
    return float(np.median(np.diff(times_us))) if len(times_us) > 1 else float(STEP_US)


def decode_frames(file: io.BytesIO, index: np.ndarray, expected: int, label: str) -> list[np.ndarray]:
    """Frames (H, W, 3) uint8 RGB by number, decoded from the key frame before the first of them.

    A frame's number is its place among the sorted presentation times of all packets, so the rate need not be
    constant and the video need not start at 0. Raises InputError when there are not `expected` frames, or on damage.
    """
    try:
        with av.open(file) as container:
            stream = container.streams.video[0]
            stamps = sorted(p.pts for p in container.demux(stream) if p.pts is not None and not p.is_discard)
            if len(stamps) != expected:
                raise InputError(f"{label}: {len(stamps)} frames but {expected} time stamps")
            wanted = {stamps[i] for i in index}
            container.seek(min(wanted), stream=stream)
            stream.thread_type = "AUTO"
            found: dict[int, np.ndarray] = {}
            for frame in container.decode(stream):
                if frame.pts in wanted:
                    found[frame.pts] = frame.to_ndarray(format="rgb24")
                if len(found) == len(wanted):
                    break
            return [found[stamps[i]] for i in index]
    except (av.error.FFmpegError, KeyError) as error:
        raise InputError(f"{label}: the video cannot be decoded ({type(error).__name__}); fetch it again") from None
