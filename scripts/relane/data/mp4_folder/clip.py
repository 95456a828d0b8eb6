"""A clip of a folder of MP4s, read."""

import functools
from pathlib import Path

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import RigidTransform, Rotation, Slerp

from relane.data.camera import RigCamera
from relane.data.ego import EgoMotion, EgoMotionClip, Vehicle
from relane.data.frames import Frames, period, pick, refuse_short
from relane.data.mp4_folder import cameras_file, ego_file
from relane.data.mp4_folder.cameras import read_camera, read_vehicle
from relane.data.mp4_folder.tables import read_ego, read_times
from relane.data.timed_video import Source, open_source, timed_frames, to_rgb
from relane.errors import InputError, UndrivableError


class Clip(EgoMotionClip):
    """One clip of a folder. Raises UndrivableError where it has no ego motion."""

    def __init__(self, folder: Path, clip_id: str) -> None:
        self.folder, self.clip_id = folder, clip_id
        self._ego_file = ego_file(folder, clip_id)

    @functools.cached_property
    def ego(self) -> EgoMotion:
        """The rig's poses: places by cubic splines, rotations by slerp. Raises UndrivableError as `read_ego`."""
        rows = read_ego(self._ego_file)
        times, poses = np.array([time for time, _ in rows], np.int64), np.array([pose for _, pose in rows])
        # From the first row on, so that microseconds since 1970 lose nothing in floating point.
        place = CubicSpline(times - times[0], poses[:, :3])
        turn = Slerp(times - times[0], Rotation.from_quat(poses[:, [4, 5, 6, 3]]))

        def pose_at(wanted: np.ndarray) -> RigidTransform:
            return RigidTransform.from_components(place(wanted - times[0]), turn(wanted - times[0]))

        return EgoMotion(times, pose_at, str(self._ego_file))

    def _video(self, camera: str) -> Path:
        return self.folder / f"{self.clip_id}.{camera}.mp4"

    def times(self, camera: str) -> np.ndarray | None:
        """The times of the camera's frames (N,) int64: its table's, else the video's own from its first frame on.

        None where there is no such video. Raises UndrivableError as `read_times`.
        """
        video = self._video(camera)
        if not video.is_file():
            return None
        table = video.with_suffix(".times.csv")
        if table.is_file():
            return np.array(read_times(table), np.int64)
        container, stream = open_source(Source(video, str(video)))
        with container:
            stamps = sorted(p.pts for p in container.demux(stream) if p.pts is not None and not p.is_discard)
            own = [round(stamp * stream.time_base * 1_000_000) for stamp in stamps]
        if not own or min(np.diff(own), default=1) <= 0:
            raise InputError(f"{video}: its frames have no times, or two the same; remux it into an MP4")
        return np.array(own, np.int64) - own[0]

    def frames(self, camera: str, wanted_us: list[int], choice: str = "before") -> Frames:
        """The camera's frame for each wanted time, upright and in BT.709's colours, as clips are prepared.

        Raises UndrivableError where the folder lacks the camera, or its frames end before a wanted time; InputError
        where the video is damaged, or has not as many frames as its table has times.
        """
        video, times = self._video(camera), self.times(camera)
        if times is None:
            raise UndrivableError(
                f"{video}: no such file, and the driver reads this camera; add it, or use a driver that does without"
            )
        refuse_short(times, wanted_us, choice, str(video))
        index = pick(times, wanted_us, choice)
        table = times if video.with_suffix(".times.csv").is_file() else None
        left, found = set(index.tolist()), {}
        for number, (_, frame) in enumerate(timed_frames(Source(video, str(video), table))):
            if number in left:
                left.remove(number)
                found[number] = to_rgb(frame)
            if not left:
                break
        if left:
            raise InputError(f"{video}: frame {min(left)} of {len(times)} cannot be decoded; copy or export it again")
        return Frames([found[i] for i in index.tolist()], list(wanted_us), times[index].tolist(), period(times))

    def camera(self, camera: str) -> RigCamera | None:
        """See `DrivingClip`. Raises UndrivableError as `read_camera`."""
        file = cameras_file(self.folder, self.clip_id)
        return None if file is None else read_camera(file, camera)

    def vehicle(self) -> Vehicle | None:
        """See `DrivingClip`."""
        file = cameras_file(self.folder, self.clip_id)
        return None if file is None else read_vehicle(file)
