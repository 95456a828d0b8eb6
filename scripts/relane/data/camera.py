"""Where a point of the road falls on a camera's picture: f-theta or pinhole, by calibration or roughly.

Camera frame: x right, y down, z out of the lens. Rig frame: rear axle on the ground, x forward, y left, z up, metres.
Pixels (u, v) count from the top left, integers at pixel centres. A picture that was scaled or cropped after
calibration has its own camera: `resized`, `cropped`.
"""

import re
from dataclasses import dataclass, field, replace

import numpy as np

from relane.errors import InputError
from relane.names import CAMERAS

CAMERA_INDEX = {name: index for index, name in enumerate(CAMERAS)}
# Rough mounts for clips without calibration: yaw in degrees, then x, y, z in metres in the rig frame.
_ROUGH_MOUNT = {
    "camera_cross_left_120fov": (55, 2.1, 0.9, 1.0),
    "camera_front_wide_120fov": (0, 1.75, 0.0, 1.45),
    "camera_cross_right_120fov": (-55, 2.1, -0.9, 1.0),
    "camera_rear_left_70fov": (150, 2.0, 0.95, 0.95),
    "camera_rear_tele_30fov": (180, -0.9, 0.0, 1.2),
    "camera_rear_right_70fov": (-150, 2.0, -0.95, 0.95),
    "camera_front_tele_30fov": (0, 1.75, -0.05, 1.45),
}
# Camera axes as columns in the rig frame for a camera that looks along x.
# Names of a pinhole's distortion coefficients, in the order of `Pinhole.distortion`, which is OpenCV's.
DISTORTION = ("k1", "k2", "p1", "p2", "k3")
_LOOKING_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class _Picture:
    """Size of the picture, principal point in pixels, and pixels per calibrated pixel along u and v."""

    width: int
    height: int
    cx: float
    cy: float
    scale: tuple[float, float] = field(default=(1.0, 1.0), kw_only=True)

    def resized(self, width: int, height: int):
        """The camera of the same picture scaled to another size; the ratio need not be kept."""
        x, y = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            cx=(self.cx + 0.5) * x - 0.5,
            cy=(self.cy + 0.5) * y - 0.5,
            scale=(self.scale[0] * x, self.scale[1] * y),
        )

    def cropped(self, left: int, top: int, width: int, height: int):
        """The camera of the part that starts at pixel (left, top)."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

    def _place(self, direction: np.ndarray, radius: np.ndarray) -> np.ndarray:
        return np.array([self.cx, self.cy]) + np.asarray(self.scale) * direction * radius[..., None]


@dataclass(frozen=True)
class FTheta(_Picture):
    """Fisheye camera: distance from the principal point = polynomial of the angle to the axis.

    `forward` holds the coefficients, constant first, pixels per rad^i (PhysicalAI-AV: fw_poly_0..4).
    """

    forward: tuple[float, ...]

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Camera-frame points (..., 3) -> pixels (..., 2) and whether each can be seen (...) bool.

        Seen means in front of the camera and within the angle up to which the polynomial grows; pixels of unseen
        points are NaN. It may still lie outside the picture. theta = atan2(|xy|, z); on the axis the direction is
        free and the radius is that of angle 0.
        """
        points = np.asarray(points, np.float64)
        off_axis = np.hypot(points[..., 0], points[..., 1])
        theta = np.arctan2(off_axis, points[..., 2])
        seen = (points[..., 2] > 0) & (theta < self._limit())
        direction = points[..., :2] / np.where(off_axis > 0, off_axis, 1.0)[..., None]
        pixels = self._place(direction, np.polynomial.Polynomial(self.forward)(theta))
        return np.where(seen[..., None], pixels, np.nan), seen

    def _limit(self) -> float:
        roots = np.polynomial.Polynomial(self.forward).deriv().roots()
        turns = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
        return float(turns.min(initial=np.pi))


@dataclass(frozen=True)
class Pinhole(_Picture):
    """Perspective camera with focal lengths in calibrated pixels.

    distortion: radial k1, k2, k3 and tangential p1, p2 in OpenCV's order k1, k2, p1, p2, k3, of the model of Brown and
    Conrady: x' = x (1 + k1 r^2 + k2 r^4 + k3 r^6) + 2 p1 x y + p2 (r^2 + 2 x^2), y' likewise with p1 and p2 exchanged.
    """

    fx: float
    fy: float
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    @classmethod
    def from_field_of_view(cls, width: int, height: int, degrees: float) -> "Pinhole":
        """The pinhole whose full horizontal field of view is `degrees`, principal point in the middle."""
        focal = width / 2 / np.tan(np.deg2rad(degrees) / 2)
        return cls(width, height, (width - 1) / 2, (height - 1) / 2, fx=float(focal), fy=float(focal))

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `FTheta.project`; seen ends where the radial distortion would fold the picture back."""
        points = np.asarray(points, np.float64)
        seen = points[..., 2] > 0
        depth = np.where(seen, points[..., 2], 1.0)
        flat = points[..., :2] / depth[..., None]
        if any(self.distortion):
            seen &= (flat**2).sum(axis=-1) < self._limit()
            flat = self._distorted(np.where(seen[..., None], flat, 0.0))
        pixels = np.array([self.cx, self.cy]) + np.asarray(self.scale) * flat * np.array([self.fx, self.fy])
        return np.where(seen[..., None], pixels, np.nan), seen

    def _distorted(self, flat: np.ndarray) -> np.ndarray:
        k1, k2, p1, p2, k3 = self.distortion
        x, y = flat[..., 0], flat[..., 1]
        square = x**2 + y**2
        radial = 1 + square * (k1 + square * (k2 + square * k3))
        right = x * radial + 2 * p1 * x * y + p2 * (square + 2 * x**2)
        down = y * radial + p1 * (square + 2 * y**2) + 2 * p2 * x * y
        return np.stack([right, down], axis=-1)

    def _limit(self) -> float:
        """The square of the radius up to which the distorted radius grows."""
        k1, k2, _, _, k3 = self.distortion
        roots = np.polynomial.Polynomial((1, 3 * k1, 5 * k2, 7 * k3)).roots()
        turns = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
        return float(turns.min(initial=np.inf))


@dataclass(frozen=True)
class RigCamera:
    """A camera on the rig: `rotation` (3, 3) turns camera axes into rig axes, `position` (3,) metres in the rig."""

    model: FTheta | Pinhole
    rotation: np.ndarray
    position: np.ndarray
    calibrated: bool = True

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rig-frame points (..., 3) in metres -> pixels (..., 2), NaN where unseen, and seen (...) bool."""
        points = np.asarray(points, np.float64)
        return self.model.project((points - self.position) @ self.rotation)  # row vectors: R^T p

    def resized(self, width: int, height: int) -> "RigCamera":
        """The same camera on a scaled picture."""
        return replace(self, model=self.model.resized(width, height))


def yaw_mount(degrees: float) -> np.ndarray:
    """Rotation (3, 3) camera -> rig of a level camera that looks `degrees` to the left of straight ahead."""
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]) @ _LOOKING_AHEAD


def uncalibrated(camera: str, width: int, height: int) -> RigCamera:
    """A pinhole by the field of view in the camera's name (120, 70, 30), on a rough mount; `calibrated` is False.

    Off by tens of pixels on a fisheye: for clips without calibration only, and to be said on the picture.
    """
    match = re.search(r"_(\d+)fov$", camera)
    if match is None or camera not in _ROUGH_MOUNT:
        raise InputError(f"camera {camera!r}: no calibration and no known mount; expected one of {list(CAMERA_INDEX)}")
    yaw, *position = _ROUGH_MOUNT[camera]
    model = Pinhole.from_field_of_view(width, height, float(match[1]))
    return RigCamera(model, yaw_mount(yaw), np.array(position), calibrated=False)
