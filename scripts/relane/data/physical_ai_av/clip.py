"""PhysicalAI-AV clips: ego motion, camera frames by time, calibration.

Times are int64 microseconds on the data set's clock. Ego motion comes out in the rig frame at t0: x forward, y left,
z up, metres.
"""

import difflib
import functools
import io
import zipfile
import zlib

import av
import numpy as np
import pandas as pd

from relane.data.camera import FTheta, RigCamera
from relane.data.ego import EgoMotion, EgoMotionClip, Vehicle
from relane.data.frames import Frames, period, pick, refuse_short
from relane.data.physical_ai_av.egomotion import read_egomotion
from relane.errors import InputError, UndrivableError, first_line

_UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


class Clip(EgoMotionClip):
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
    def ego(self) -> EgoMotion:
        """The rig's poses. Raises UndrivableError as `read_egomotion`."""
        (content,), file = self._members("egomotion", "egomotion"), f"{self.root}/{self._file('egomotion')}"
        found = read_egomotion(content, f"clip {self.clip_id}: egomotion in {file}")
        return EgoMotion(found.timestamps, lambda times: found(times).pose, file)

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
