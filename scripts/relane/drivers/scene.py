"""What a driver sees at t0: its cameras' frames by time, the edited cameras' from their videos, and the rig's poses.

Frames are picked by time, never by index: at or before each instant that the driver asks for, as the data set's own
loader does, whatever rate a video has; none is ever shown from after t0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relane.data import DrivingClip
from relane.data.camera import CAMERA_INDEX
from relane.data.ego import Vehicle
from relane.data.frames import JITTER_US, Frames, period, pick, refuse_short
from relane.drivers import Sight
from relane.errors import InputError, UndrivableError
from relane.io.files import read_json
from relane.io.video import iter_frames, probe
from relane.names import parse_name

CHOICES = ("before", "nearest")


@dataclass(frozen=True)
class EditedVideo:
    """One edited camera: its file, the clip and camera of its name, and the time of each frame in microseconds."""

    path: Path
    clip_id: str
    camera: str
    t_us: np.ndarray
    times_from: str  # "sidecar", or "assumed" where only the rate is known
    fps: float


@dataclass(frozen=True)
class FrameRules:
    """Which frames may be shown. `choice`: before or nearest, as `relane.data.frames.pick`.

    allow_late: frames further from their time than the choice explains. allow_repeated: cameras of fewer frames a
    second than the driver reads, whose frames serve two slots or stand off its clock.
    """

    choice: str = "before"
    allow_late: bool = False
    allow_repeated: bool = False


@dataclass(frozen=True)
class Scene:
    """A driver's view at t0. `frames` by camera name in its order; poses (N, 3) and (N, 3, 3) float32 in the rig frame
    at t0, at the times of `sight.history` and `sight.future`.

    label: the arm, for messages. frame_notes: what is to be told of frames off the driver's clock, a sentence a camera.
    """

    clip_id: str
    label: str
    t0_us: int
    sight: Sight
    frames: dict[str, Frames]
    edited: list[EditedVideo]
    history_xyz: np.ndarray
    history_rot: np.ndarray
    future_xyz: np.ndarray
    future_rot: np.ndarray
    vehicle: Vehicle | None = None
    frame_notes: tuple[str, ...] = ()

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
        return EditedVideo(Path(path), clip_id, camera, times, "assumed", info.fps)
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
    times_from = str(record.get("times_from", "sidecar"))
    return EditedVideo(Path(path), clip_id, camera, times[: info.frames], times_from, info.fps)


def edited_frames(video: EditedVideo, wanted_us: list[int], choice: str = "before") -> Frames:
    """The video's frame for each wanted time, by `frames.pick`. Raises UndrivableError when it ends before them."""
    refuse_short(video.t_us, wanted_us, choice, str(video.path))
    index = pick(video.t_us, wanted_us, choice)
    wanted = set(index.tolist())
    found = {i: frame for i, frame in enumerate(iter_frames(video.path)) if i in wanted}
    return Frames([found[i] for i in index.tolist()], wanted_us, video.t_us[index].tolist(), period(video.t_us))


def late(frames: Frames, choice: str) -> str | None:
    """What is wrong where a frame is further from its time than the choice explains, as the end of a sentence."""
    for wanted, error in zip(frames.wanted_us, frames.error_us, strict=True):
        if choice == "before" and error > 0:
            return f"has no frame at or before {wanted} us, the first is {error / 1000:.1f} ms later"
        if choice == "before" and -error > frames.period_us + JITTER_US:
            return (
                f"the last frame before {wanted} us is {-error / 1000:.1f} ms old, more than a frame period "
                f"({frames.period_us / 1000:.1f} ms)"
            )
        if choice == "nearest" and abs(error) > frames.period_us / 2 + JITTER_US:
            return (
                f"the frame nearest to {wanted} us is {error / 1000:.1f} ms off, more than half a frame period "
                f"({frames.period_us / 2000:.1f} ms)"
            )
    return None


def off_clock(frames: Frames, step_us: int) -> str | None:
    """What is wrong where frames do not keep the driver's clock, one in `step_us`, as the end of a sentence.

    A driver that sees one frame (step_us 0) has no clock.
    """
    if not step_us:
        return None
    has = f"it has {1e6 / frames.period_us:.3g} frames a second and the model reads {1e6 / step_us:.3g}"
    t0 = frames.wanted_us[-1]
    slots = [f"{(wanted - t0) / 1e6:.1f}" for wanted in frames.wanted_us]
    for number in range(1, len(slots)):
        if frames.t_us[number] == frames.t_us[number - 1]:
            return (
                f"its frame of {frames.t_us[number]} us serves two slots, {slots[number - 1]} and {slots[number]} s "
                f"from t0_us {t0}: {has}"
            )
    if frames.period_us > step_us + JITTER_US:
        shown = ", ".join(f"{(time - t0) / 1000:.0f}" for time in frames.t_us)
        return f"{has}: for {', '.join(slots)} s it would be shown the frames of {shown} ms from t0_us {t0}"
    return None


def stale(frames: Frames, step_us: int) -> str | None:
    """What is to be told where frames are older than half a step of the driver's clock, as the end of a sentence.

    At 10 frames a second the last frame before an instant is that old where the video's times lie just after it.
    """
    age = -min(frames.error_us)
    if not step_us or age <= step_us / 2 + JITTER_US:
        return None
    return f"its frames are up to {age / 1000:.1f} ms older than the instants they stand for"


def assemble(
    clip: DrivingClip,
    edited: Sequence[EditedVideo],
    sight: Sight,
    t0_us: int,
    rules: FrameRules = FrameRules(),
    label: str = "",
) -> Scene:
    """The scene of one clip at t0 with some of its cameras replaced by edited videos.

    Raises InputError when a video is of another clip, two are of one camera, or an edited camera is not among the
    driver's; UndrivableError when a frame is late or serves two slots (unless allowed), or ego motion is missing.
    """
    by_camera = {video.camera: video for video in edited}
    if len(by_camera) != len(edited):
        raise InputError(f"clip {clip.clip_id}: two edited videos are of the same camera; give one per camera")
    for video in edited:
        if video.clip_id != clip.clip_id:
            raise InputError(f"{video.path}: is of clip {video.clip_id}, not of {clip.clip_id}")
        if video.camera not in sight.cameras:
            read = ", ".join(sight.cameras)
            raise InputError(f"{video.path}: the model does not read {video.camera}; it reads {read}")
    poses = *clip.history(t0_us, sight.history), *clip.future(t0_us, sight.future)
    frames, notes = {}, []
    for camera in sight.cameras:
        frames[camera], note = _seen(clip, camera, by_camera.get(camera), t0_us, sight, rules)
        notes += [f"{camera}: {note}"] if note else []
    return Scene(clip.clip_id, label, t0_us, sight, frames, list(edited), *poses, clip.vehicle(), tuple(notes))


def _seen(
    clip: DrivingClip, camera: str, video: EditedVideo | None, t0_us: int, sight: Sight, rules: FrameRules
) -> tuple[Frames, str | None]:
    """One camera's frames, and what is to be told of them."""
    wanted, step = [t0_us + offset for offset in sight.frames], sight.frame_step_us
    label = str(video.path) if video else f"clip {clip.clip_id}, {camera}"
    found = edited_frames(video, wanted, rules.choice) if video else clip.frames(camera, wanted, rules.choice)
    behind = late(found, rules.choice)
    if behind and not rules.allow_late:
        raise UndrivableError(f"{label}: {behind}; choose another t0_us, or set drive.allow_late_frames")
    wrong = off_clock(found, step)
    # A frame that is allowed to be late may stand for the slots that it missed.
    if wrong and not (behind or rules.allow_repeated):
        raise UndrivableError(
            f"{label}: {wrong}; make clips at clip.fps {1e6 / step:.3g} or more of a source that has as many, or set "
            "drive.allow_repeated_frames"
        )
    return found, wrong or stale(found, step)
