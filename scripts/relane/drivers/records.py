"""A rollout's two files: the NPZ with paths and pictures, the JSON with figures, words and how it was made."""

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from relane import __version__
from relane.data.ego import Vehicle
from relane.drivers import Answer
from relane.drivers.scene import Scene
from relane.errors import InputError, UndrivableError
from relane.evaluation.path_metrics import corner_distance, path_metrics
from relane.io.files import read_json
from relane.models import memory_stats


def vis_data(scene: Scene, answer: Answer, save_frames: str = "edited") -> dict[str, np.ndarray]:
    """Arrays of one rollout: K samples, T waypoints; rig frame at t0, metres.

    save_frames: edited: `image_frames` (4, H, W, 3) uint8 RGB of the first edited camera; all: (C, 4, H, W, 3) of every
    camera in the order of `camera_indices`, scaled to the size of that one.
    """
    shown = scene.frames[scene.edited[0].camera].images
    if save_frames == "all":
        shown = [_resized(frames.images, shown[0].shape) for frames in scene.frames.values()]
    return {
        "pred_xyz": answer.xyz,
        "pred_rot": answer.rot,
        "gt_future_xyz": scene.future_xyz,
        "gt_future_rot": scene.future_rot,
        "ego_history_xyz": scene.history_xyz,
        "ego_history_rot": scene.history_rot,
        "image_frames": np.stack(shown),
        "camera_indices": scene.camera_indices,
        "complete": answer.complete,
        "t0_us": np.asarray(scene.t0_us),
    } | answer.arrays


def _resized(images: list[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
    size = shape[1], shape[0]
    return np.stack([i if i.shape == shape else cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in images])


def temporal_config(scene: Scene) -> dict[str, Any]:
    """The clock of a rollout, in seconds: the driver's own, whatever the video's rate, which stands beside it.

    Under our names and under those of the thesis's script. frame_window_seconds: from the oldest frame to the newest.
    """
    sight, time_step = scene.sight, scene.sight.step_us / 1e6
    return {
        "time_step": time_step,
        "num_history_steps": len(scene.history_xyz),
        "num_future_steps": len(scene.future_xyz),
        "num_frames": len(sight.frames),
        "vp_video_fps": scene.edited[0].fps,
        "time_step_seconds": time_step,
        "num_frames_per_camera": len(sight.frames),
        "frame_window_seconds": (sight.frames[-1] - sight.frames[0]) / 1e6,
    }


def seed_metrics(seconds: float, peaks: dict[str, int]) -> dict[str, float]:
    """Time and memory under the names of the thesis's script: a GB is 1024^3 bytes, an MB 1024^2."""
    gpu, host = memory_stats.in_use()
    return {
        "inference_time_seconds": seconds,
        "gpu_memory_used_gb": gpu / 1024**3,
        "gpu_memory_peak_gb": peaks["gpu_peak_bytes"] / 1024**3,
        "ram_used_mb": host / 1024**2,
        "ram_peak_mb": max(peaks["host_peak_bytes"], host) / 1024**2,
    }


def accuracy(scene: Scene, answer: Answer, vehicle: Vehicle | None) -> dict[str, Any]:
    """Figures against the recorded future: those of `path_metrics`, and the corner distance with the true vehicle."""
    figures: dict[str, Any] = path_metrics(answer.xyz, scene.future_xyz, scene.sight.step_us / 1e6)
    figures["corner_distance"] = None
    if vehicle is not None:
        box = (vehicle.length, vehicle.width, vehicle.height)
        paths = (answer.xyz, answer.rot, scene.future_xyz, scene.future_rot)
        figures["corner_distance"] = float(corner_distance(*paths, box, vehicle.ahead))
        figures["corner_box"] = {"length": box[0], "width": box[1], "height": box[2], "ahead": vehicle.ahead}
    return figures


def frame_times(scene: Scene) -> dict[str, Any]:
    """Per camera: wanted and taken times, errors and period in microseconds, and where they came from."""
    sources = {video.camera: video.times_from for video in scene.edited}
    return {
        camera: {
            "wanted_us": frames.wanted_us,
            "t_us": frames.t_us,
            "error_us": frames.error_us,
            "period_us": frames.period_us,
            "times_from": sources.get(camera, "dataset"),
        }
        for camera, frames in scene.frames.items()
    }


def backend(module: str, dtype: str, device: str) -> dict[str, str]:
    """What computed it."""
    names = ("torch", "transformers", "physical_ai_av", "numpy")
    versions = {name: importlib.metadata.version(name) for name in names}
    about = {"name": module, "relane": __version__, "python": platform.python_version()}
    return about | versions | {"dtype": dtype, "device": device}


def read_words(path: str | Path, clip_id: str, t0_us: int, samples: int) -> dict[str, Any]:
    """The record of the original arm's rollout, whose words are to be thought.

    Raises InputError when it is of another clip, t0 or K; UndrivableError when the original arm could not be driven.
    """
    record = read_json(path)
    if record.get("success") is False:
        raise UndrivableError(f"{path}: the original arm was not driven: {record.get('error')}")
    made_for = (record.get("clip_id"), record.get("t0_us"), record.get("num_trajectories"))
    if made_for != (clip_id, t0_us, samples):
        raise InputError(
            f"{path}: reasoning of clip, t0_us and K {made_for}, but this rollout is {(clip_id, t0_us, samples)}; "
            "drive the original arm with the same settings first"
        )
    return record
