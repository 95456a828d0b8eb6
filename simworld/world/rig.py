"""The seven f-theta cameras of the synthetic car: mounts, calibration, rays to the ground and points to pixels.

Rig frame: the rear axle's centre on the ground, x forward, y left, z up, metres. Camera frame: x right, y down,
z out. Names, fields of view and layout are those of PhysicalAI-AV; mounts are plausible, not measured.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.spatial.transform as spt

from relane.errors import InputError

FRONT_WIDE, FRONT_TELE = "camera_front_wide_120fov", "camera_front_tele_30fov"
# name -> (full field of view in degrees, yaw of the optical axis in degrees, mount x, y, z in metres)
CAMERAS = {
    "camera_cross_left_120fov": (120, 55, 2.1, 0.9, 1.0),
    "camera_front_wide_120fov": (120, 0, 1.75, 0.0, 1.45),
    "camera_cross_right_120fov": (120, -55, 2.1, -0.9, 1.0),
    "camera_rear_left_70fov": (70, 150, 2.0, 0.95, 0.95),
    "camera_rear_tele_30fov": (30, 180, -0.9, 0.0, 1.2),
    "camera_rear_right_70fov": (70, -150, 2.0, -0.95, 0.95),
    "camera_front_tele_30fov": (30, 0, 1.75, -0.05, 1.45),
}
# What Alpamayo-R1 was trained on: cross-left, front-wide, cross-right, front-tele.
FOUR_CAMERAS = (
    "camera_cross_left_120fov",
    "camera_front_wide_120fov",
    "camera_cross_right_120fov",
    "camera_front_tele_30fov",
)
VEHICLE = {
    "length": 4.9,
    "width": 1.9,
    "height": 1.6,
    "rear_axle_to_bbox_center": 1.4,
    "wheelbase": 2.9,
    "track_width": 1.6,
}
FARTHEST = 400.0  # metres; rays that meet the ground beyond are drawn as if they met it here, deep in the haze


def ftheta_polynomials(fov_deg: float, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients, low to high, of r(theta) in pixels and of a degree-4 fit of its inverse theta(r), (5,) each.

    Mildly non-linear, r = k (theta - 0.03 theta^3), with half the field of view at half the width.
    """
    half = np.deg2rad(fov_deg / 2)
    k = (width / 2) / (half - 0.03 * half**3)
    forward = np.array([0.0, k, 0.0, -0.03 * k, 0.0])
    theta = np.linspace(0, half * 1.25, 400)
    r = np.polynomial.Polynomial(forward)(theta)
    powers = np.stack([r, r**2, r**3, r**4], 1)
    return forward, np.concatenate([[0.0], np.linalg.lstsq(powers, theta, rcond=None)[0]])


def camera_to_rig(yaw_deg: float) -> spt.Rotation:
    """Rotation from the camera frame to the rig frame for a level camera that looks `yaw_deg` to the left."""
    ahead = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], float)  # columns: camera axes in the rig
    return spt.Rotation.from_euler("z", yaw_deg, degrees=True) * spt.Rotation.from_matrix(ahead)


@dataclass(frozen=True)
class GroundMap:
    """Where the pixels below the horizon meet the flat ground: rows `top` to the bottom, each array (h, W) float32.

    x, y: metres in the rig frame. distance: metres along the ray.
    """

    top: int
    x: np.ndarray
    y: np.ndarray
    distance: np.ndarray


class Camera:
    """One camera of the rig at a picture size: projection both ways. Raises InputError for an unknown name."""

    def __init__(self, name: str, width: int, height: int) -> None:
        if name not in CAMERAS:
            raise InputError(f"unknown camera {name!r}: use one of {', '.join(CAMERAS)}")
        if min(width, height) < 16 or width % 2 or height % 2:
            raise InputError(f"picture size {width}x{height}: both numbers must be even and at least 16")
        fov, yaw, *mount = CAMERAS[name]
        self.name, self.width, self.height = name, width, height
        self.yaw, self.mount = np.deg2rad(yaw), np.array(mount, float)
        self.half_fov = np.deg2rad(fov / 2)
        self.forward, self.backward = ftheta_polynomials(fov, width)
        self.rotation = camera_to_rig(yaw).as_matrix()
        self.centre = np.array([(width - 1) / 2, (height - 1) / 2])

    def rays(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Unit rays (..., 3) in the rig frame through pixels u, v (...)."""
        du, dv = u - self.centre[0], v - self.centre[1]
        r = np.hypot(du, dv)
        theta = np.polynomial.Polynomial(self.backward)(r)
        scale = np.where(r > 1e-9, np.sin(theta) / np.maximum(r, 1e-9), 0.0)
        return np.stack([scale * du, scale * dv, np.cos(theta)], -1) @ self.rotation.T

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rig points (..., 3) to pixels (..., 2) and to the angle (...) off the optical axis in radians."""
        local = (points - self.mount) @ self.rotation
        across = np.hypot(local[..., 0], local[..., 1])
        theta = np.arctan2(across, local[..., 2])
        r = np.polynomial.Polynomial(self.forward)(theta)
        return self.centre + (r / np.maximum(across, 1e-9))[..., None] * local[..., :2], theta

    def ground(self) -> GroundMap:
        """The ground under every pixel below the horizon (the camera is level, so that is the lower half)."""
        top = self.height // 2
        u, v = np.meshgrid(np.arange(self.width), np.arange(top, self.height))
        ray = self.rays(u, v)
        distance = np.minimum(-self.mount[2] / np.minimum(ray[..., 2], -1e-9), FARTHEST)
        x, y = self.mount[0] + distance * ray[..., 0], self.mount[1] + distance * ray[..., 1]
        return GroundMap(top, *(part.astype(np.float32) for part in (x, y, distance)))

    def sky(self) -> tuple[np.ndarray, np.ndarray]:
        """Azimuth to the left in the rig frame and elevation, (top, W) radians, of the pixels above the horizon."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height // 2))
        ray = self.rays(u, v)
        return np.arctan2(ray[..., 1], ray[..., 0]), np.arcsin(np.clip(ray[..., 2], -1, 1))


def intrinsics_table(clip_ids: list[str], width: int, height: int) -> pd.DataFrame:
    """PhysicalAI-AV's camera intrinsics of all seven cameras, indexed by clip_id and camera_name."""
    rows = []
    for clip_id in clip_ids:
        for name in CAMERAS:
            camera = Camera(name, width, height)
            row = {"clip_id": clip_id, "camera_name": name, "width": width, "height": height}
            row |= {"cx": camera.centre[0], "cy": camera.centre[1]}
            row |= {f"bw_poly_{i}": value for i, value in enumerate(camera.backward)}
            row |= {f"fw_poly_{i}": value for i, value in enumerate(camera.forward)}
            rows.append(row)
    return pd.DataFrame(rows).set_index(["clip_id", "camera_name"])


def extrinsics_table(clip_ids: list[str]) -> pd.DataFrame:
    """PhysicalAI-AV's sensor extrinsics (sensor to rig: quaternion, metres), indexed by clip_id and sensor_name."""
    rows = []
    for clip_id in clip_ids:
        poses = {name: (*camera_to_rig(yaw).as_quat(), *mount) for name, (_, yaw, *mount) in CAMERAS.items()}
        poses["lidar_top_360fov"] = (0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.9)
        for name, pose in poses.items():
            values = dict(zip(("qx", "qy", "qz", "qw", "x", "y", "z"), pose, strict=True))
            rows.append({"clip_id": clip_id, "sensor_name": name} | values)
    return pd.DataFrame(rows).set_index(["clip_id", "sensor_name"])


def dimensions_table(clip_ids: list[str]) -> pd.DataFrame:
    """PhysicalAI-AV's vehicle dimensions in metres, indexed by clip_id."""
    return pd.DataFrame([{"clip_id": clip_id} | VEHICLE for clip_id in clip_ids]).set_index("clip_id")
