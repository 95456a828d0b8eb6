"""PhysicalAI-AV clips: ego motion, camera frames by time, calibration.

Times are int64 microseconds on the data set's clock. Ego motion comes out in the rig frame at t0: x forward, y left,
z up, metres.
"""

import difflib
import functools
import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
import pandas as pd

from relane.camera import FTheta, RigCamera
from relane.egomotion import gap, read_egomotion
from relane.errors import InputError, UndrivableError, first_line
from relane.pai_roots import open_dataset as open_dataset  # a clip is of an open data set

# Time stamps are rounded to whole microseconds, and cameras jitter by less than a millisecond.
JITTER_US = 1_000
_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


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

    def _file(self, feature: str) -> str:
        """The chunk's file that holds a feature of this clip, as messages name it."""
        chunk = self.dataset.get_clip_chunk(self.clip_id)
        return self.dataset.features.get_chunk_feature_filename(chunk, feature)

    def _members(self, feature: str, *aliases: str) -> list[bytes]:
        """This clip's files in a chunk's zip, by the names that features.csv gives them.

        Raises UndrivableError when the chunk holds none of this clip or the data set has no such feature, InputError
        when there is no such chunk, or the zip is damaged.
        """
        if feature not in self.dataset.features.ALL:
            kind = "camera" if feature.startswith("camera") else "feature"
            raise UndrivableError(f"clip {self.clip_id}: {self.root} has no {kind} {feature!r} in its features.csv")
        name = self._file(feature)
        try:
            files = self.dataset.features.get_clip_files_in_zip(self.clip_id, feature)
            with self.dataset.open_file(name, maybe_stream=True) as file, zipfile.ZipFile(file) as archive:
                lacking = [files[alias] for alias in aliases if files[alias] not in archive.namelist()]
                if not lacking:
                    return [archive.read(files[alias]) for alias in aliases]
        except _UNREADABLE as error:
            raise InputError(
                f"clip {self.clip_id}: no readable {feature} in {self.root}/{name} ({type(error).__name__}: "
                f"{first_line(error)}); fetch this chunk again"
            ) from None
        raise UndrivableError(
            f"clip {self.clip_id}: {self.root}/{name} has no {', no '.join(lacking)}: this clip was recorded without "
            f"{feature}, or the chunk is not complete; fetch it again, or leave the clip out"
        )

    def _calibration(self, feature: str):
        """A calibration feature as physical_ai_av reads it; None where there is no file of it, or no row of the clip.

        Raises UndrivableError when the clip's rows are doubled or damaged.
        """
        try:
            return self.dataset.get_clip_feature(self.clip_id, feature, maybe_stream=True)
        except FileNotFoundError:
            return None
        except KeyError as error:
            if error.args[:1] in ((self.clip_id,), (f"Unknown feature {feature!r} in {self.dataset.repo_id!r}.",)):
                return None
            raise self._damaged(feature, error) from None
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise self._damaged(feature, error) from None

    def _damaged(self, feature: str, error: Exception) -> UndrivableError:
        return UndrivableError(
            f"clip {self.clip_id}: its rows in {self.root}/{self._file(feature)} are doubled, or lack a value "
            f"({type(error).__name__}: {first_line(error)}); correct the table, or fetch it again"
        )

    @functools.cached_property
    def _ego(self):
        (content,) = self._members("egomotion", "egomotion")
        return read_egomotion(content, f"clip {self.clip_id}: egomotion in {self.root}/{self._file('egomotion')}")

    def _poses(self, t0_us: int, times: np.ndarray, what: str) -> tuple[np.ndarray, np.ndarray]:
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

    def _recorded(self, t0_us: int, offsets_us: Sequence[int], what: str) -> tuple[np.ndarray, np.ndarray]:
        """Poses that a driver reads or is judged by: never interpolated over missing rows."""
        times = t0_us + np.asarray(offsets_us, np.int64)
        missing = gap(self._ego.timestamps, int(times.min()), int(times.max()))
        if missing:
            start, stop = missing
            raise UndrivableError(
                f"clip {self.clip_id}: its egomotion in {self.root}/{self._file('egomotion')} has no rows from {start} "
                f"to {stop} us ({(stop - start) / 1e6:.2f} s), within the {what} of t0_us {t0_us}; choose another t0_us"
            )
        return self._poses(t0_us, times, what)

    def history(self, t0_us: int, offsets_us: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Poses at these times from t0, the last 0: xyz (N, 3) and rot (N, 3, 3) float32; the last is the origin."""
        return self._recorded(t0_us, offsets_us, "history")

    def future(self, t0_us: int, offsets_us: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Poses at these times from t0, all later: xyz (N, 3) and rot (N, 3, 3) float32."""
        return self._recorded(t0_us, offsets_us, "future")

    def poses(self, t0_us: int, times_us: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where the rig is at any times (N,), in the rig frame at t0: xyz (N, 3) and rot (N, 3, 3) float32."""
        return self._poses(t0_us, np.asarray(times_us, dtype=np.int64), "path")

    @property
    def span(self) -> tuple[int, int]:
        """First and last time of the ego motion."""
        first, last = self._ego.time_range
        return int(first), int(last)

    def frames(self, camera: str, wanted_us: list[int], choice: str = "before") -> Frames:
        """The camera's frame for each wanted time, by `pick`.

        Raises UndrivableError when the clip lacks the camera, or its frames end before a wanted time; InputError when
        the data set does, or its files are damaged.
        """
        label = f"clip {self.clip_id}, {camera} in {self.root}"
        stamps, video = self._members(camera, "frame_timestamps", "video")
        times = self._stamps(stamps, label)
        refuse_short(times, wanted_us, choice, label)
        index = pick(times, wanted_us, choice)
        images = decode_frames(io.BytesIO(video), index, len(times), f"clip {self.clip_id}, {camera}")
        return Frames(images, list(wanted_us), times[index].tolist(), period(times))

    def times(self, camera: str) -> np.ndarray | None:
        """The times of the camera's frames (N,) int64; None where the data set has no such camera of this clip."""
        if camera not in self.dataset.features.ALL:
            return None
        if hasattr(self.dataset, "folder") and not self.dataset.is_file_cached(self._file(camera)):
            return None
        try:
            (stamps,) = self._members(camera, "frame_timestamps")
        except UndrivableError:
            return None
        return self._stamps(stamps, f"clip {self.clip_id}, {camera} in {self.root}")

    @staticmethod
    def _stamps(content: bytes, label: str) -> np.ndarray:
        try:
            times = np.array(pd.read_parquet(io.BytesIO(content))["timestamp"], dtype=np.int64)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise UndrivableError(
                f"{label}: its time stamps cannot be read ({first_line(error)}); fetch the chunk again"
            ) from None
        if not len(times) or (np.diff(times) <= 0).any():
            raise UndrivableError(f"{label}: its time stamps are empty or do not increase; fetch the chunk again")
        return times

    def camera(self, camera: str) -> RigCamera | None:
        """The calibrated camera at its calibrated size; None where the clip has no calibration of it."""
        intrinsics, extrinsics = self._calibration("camera_intrinsics"), self._calibration("sensor_extrinsics")
        if intrinsics is None or extrinsics is None:
            return None
        model, pose = intrinsics.camera_models.get(camera), extrinsics.sensor_poses.get(camera)
        if model is None or pose is None:
            return None
        try:
            cx, cy = map(float, model.principal_point)
            size = int(model.width), int(model.height)
            lens = FTheta(*size, cx, cy, forward=tuple(map(float, model.th2r.coef)))
        except (TypeError, ValueError) as error:
            raise self._damaged("camera_intrinsics", error) from None
        rotation, position = pose.rotation.as_matrix(), np.array(pose.translation)
        if position.shape != (3,):
            raise self._damaged("sensor_extrinsics", ValueError(f"{len(position)} poses of {camera}"))
        return RigCamera(lens, rotation, position)

    def vehicle(self) -> Vehicle | None:
        """The vehicle's true dimensions; None where the clip has none."""
        box = self._calibration("vehicle_dimensions")
        return None if box is None else Vehicle(box.length, box.width, box.height, box.rear_axle_to_bbox_center)


def pick(times_us: np.ndarray, wanted_us: list[int], choice: str = "before") -> np.ndarray:
    """Index (N,) of the frame for each wanted time among increasing times.

    before: the last one that is not after it, as the data set's own loader takes it
    (physical_ai_av.video.VideoReader.decode_images_from_timestamps); the first one where all are after it.
    nearest: the nearest one, of two equally near the earlier.
    """
    times, wanted = np.asarray(times_us), np.asarray(wanted_us)
    if choice == "before":
        return np.maximum(np.searchsorted(times, wanted, side="right") - 1, 0)
    return np.abs(times[None] - wanted[:, None]).argmin(axis=1)


def refuse_short(times_us: np.ndarray, wanted_us: list[int], choice: str, label: str) -> None:
    """Raise UndrivableError where a further frame would have to stand at or before the last of the wanted times."""
    length = period(times_us)
    # A frame is shown until the next is due; the nearest one serves half a period to either side.
    served = length - JITTER_US if choice == "before" else length / 2 + JITTER_US
    if times_us[-1] + served < wanted_us[-1]:
        raise UndrivableError(
            f"{label}: its last frame is at {times_us[-1]} us and does not reach t0_us {wanted_us[-1]}; use a longer "
            "video, clip.anchor t0, or an earlier t0_us"
        )


def period(times_us: np.ndarray) -> float:
    """The usual distance between frames in microseconds; 100 ms for a single frame."""
    return float(np.median(np.diff(times_us))) if len(times_us) > 1 else 100_000.0


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
