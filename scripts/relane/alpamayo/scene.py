"""What the driver sees at t0: every camera's four frames by time, the edited cameras' from their videos.

Frames are picked by time, never by index: t0 - 0.3, -0.2, -0.1 and 0 s, whatever rate a video has. Before the model
they are ordered as it was trained to read them: cameras by sensor index, each oldest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relane.camera import CAMERA_INDEX
from relane.errors import InputError, UndrivableError
from relane.files import read_json
from relane.names import parse_name
from relane.pai import STEP_US, Clip, Frames, nearest, period
from relane.video import iter_frames, probe

# The model's own four cameras. All seven are outside its training: the prompt names no camera, so that three more of
# them move the front tele camera to another place in the sequence.
CAMERAS = {
    4: tuple(name for name, index in CAMERA_INDEX.items() if index in (0, 1, 2, 6)),
    7: tuple(CAMERA_INDEX),
}
FRAMES_PER_CAMERA = 4
# Time stamps are rounded to whole microseconds, and cameras jitter by less than a millisecond.
_JITTER_US = 1_000


@dataclass(frozen=True)
class EditedVideo:
    """One edited camera: its file, the clip and camera of its name, and the time of each frame in microseconds."""

    path: Path
    clip_id: str
    camera: str
    t_us: np.ndarray
    times_from: str  # "sidecar", or "assumed" where only the rate is known


@dataclass(frozen=True)
class Scene:
    """The model's view at t0. `frames` by camera name in the model's order; histories as `Clip.history`."""

    clip_id: str
    t0_us: int
    frames: dict[str, Frames]
    edited: list[EditedVideo]
    history_xyz: np.ndarray
    history_rot: np.ndarray
    future_xyz: np.ndarray
    future_rot: np.ndarray

    @property
    def images(self) -> list[np.ndarray]:
        """All images, camera-major, oldest first, (H, W, 3) uint8 RGB; sizes may differ between cameras."""
        return [image for frames in self.frames.values() for image in frames.images]

    @property
    def camera_indices(self) -> np.ndarray:
        """Sensor index of each camera, int64."""
        return np.array([CAMERA_INDEX[name] for name in self.frames], dtype=np.int64)


def open_edited(path: str | Path, sidecar: str | Path | None, start_us: int = 0) -> EditedVideo:
    """An edited video with the times of its frames: from the clip's JSON, or from its rate and the first one's time.

    Raises InputError when name and sidecar disagree, or the video has more frames than the sidecar has times.
    """
    clip_id, camera = parse_name(path)
    info = probe(path)
    if sidecar is None:
        times = start_us + np.round(np.arange(info.frames) * 1e6 / info.fps).astype(np.int64)
        return EditedVideo(Path(path), clip_id, camera, times, "assumed")
    record = read_json(sidecar)
    if (record.get("clip_id"), record.get("camera")) != (clip_id, camera):
        raise InputError(
            f"{sidecar}: is of {record.get('clip_id')}.{record.get('camera')}, the video {path} of {clip_id}.{camera}; "
            "give --clip-jsons in the order of --videos"
        )
    times = np.array(record.get("t_us") or [], dtype=np.int64)
    if info.frames > len(times):
        raise InputError(f"{path}: {info.frames} frames, but {sidecar} has the times of {len(times)} only")
    # An editor may return fewer frames (whole latent groups); they are the first ones.
    return EditedVideo(Path(path), clip_id, camera, times[: info.frames], str(record.get("times_from", "sidecar")))


def edited_frames(video: EditedVideo, wanted_us: list[int]) -> Frames:
    """The video's frames nearest to the wanted times. Raises InputError when it ends before the last of them."""
    length = period(video.t_us)
    if video.t_us[-1] + length / 2 + _JITTER_US < wanted_us[-1]:
        raise UndrivableError(
            f"{video.path}: its last frame is at {video.t_us[-1]} us and does not reach t0_us {wanted_us[-1]}; use a "
            "longer video, clip.anchor t0, or an earlier t0_us"
        )
    index = nearest(video.t_us, wanted_us)
    wanted = set(index.tolist())
    found = {i: frame for i, frame in enumerate(iter_frames(video.path)) if i in wanted}
    return Frames([found[i] for i in index.tolist()], wanted_us, video.t_us[index].tolist(), length)


def check_late(frames: Frames, label: str) -> None:
    """Raise InputError where a frame is further than half a frame period from its wanted time."""
    for wanted, error in zip(frames.wanted_us, frames.error_us, strict=True):
        if abs(error) > frames.period_us / 2 + _JITTER_US:
            raise UndrivableError(
                f"{label}: the frame nearest to {wanted} us is {error / 1000:.1f} ms off, more than half a frame "
                f"period ({frames.period_us / 2000:.1f} ms); choose another t0_us, or set drive.allow_late_frames"
            )


def assemble(clip: Clip, edited: Sequence[EditedVideo], cameras: int, t0_us: int, allow_late: bool = False) -> Scene:
    """The scene of one clip at t0 with some of its cameras replaced by edited videos.

    Raises InputError when a video is of another clip, two are of one camera, an edited camera is not among the
    model's, a frame is late (unless allowed), or ego motion is missing.
    """
    by_camera = {video.camera: video for video in edited}
    if len(by_camera) != len(edited):
        raise InputError(f"clip {clip.clip_id}: two edited videos are of the same camera; give one per camera")
    for video in edited:
        if video.clip_id != clip.clip_id:
            raise InputError(f"{video.path}: is of clip {video.clip_id}, not of {clip.clip_id}")
        if video.camera not in CAMERAS[cameras]:
            raise InputError(f"{video.path}: the model does not read {video.camera} with cameras: {cameras}")
    history_xyz, history_rot = clip.history(t0_us)
    future_xyz, future_rot = clip.future(t0_us)
    wanted = [t0_us - back * STEP_US for back in range(FRAMES_PER_CAMERA - 1, -1, -1)]
    frames = {}
    for camera in CAMERAS[cameras]:
        video = by_camera.get(camera)
        frames[camera] = edited_frames(video, wanted) if video else clip.frames(camera, wanted)
        if not allow_late:
            check_late(frames[camera], str(video.path) if video else f"clip {clip.clip_id}, {camera}")
    return Scene(clip.clip_id, t0_us, frames, list(edited), history_xyz, history_rot, future_xyz, future_rot)
