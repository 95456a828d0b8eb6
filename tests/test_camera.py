"""Projection: known geometry on a rendered picture, the axis, points behind, scaling and cropping."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.data.camera import FTheta, Pinhole, RigCamera, uncalibrated, yaw_mount
from relane.errors import InputError

WIDTH, HEIGHT = 960, 540
HALF_ANGLE = np.deg2rad(60)
FOCAL = (WIDTH / 2) / (HALF_ANGLE - 0.03 * HALF_ANGLE**3)
LENS = FTheta(WIDTH, HEIGHT, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, forward=(0.0, FOCAL, 0.0, -0.03 * FOCAL, 0.0))
MOUNT = np.array([1.75, 0.0, 1.45])
CAMERA = RigCamera(LENS, yaw_mount(0), MOUNT)
LANE = 5.4  # metres from the middle to each edge line


def render_road() -> np.ndarray:
    """Road with a white mark around each of `lane_points` as this fisheye sees it: each pixel's ray to the ground.

    Marks, not lines: the pinhole's error is along the line, towards the vanishing point.

    The angle of a pixel is found by bisection of the lens's own polynomial, with none of the code under test.
    """
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    du, dv = u - LENS.cx, v - LENS.cy
    radius = np.hypot(du, dv)
    low, high = np.zeros_like(radius), np.full_like(radius, 1.5)
    for _ in range(50):
        middle = (low + high) / 2
        below = FOCAL * middle - 0.03 * FOCAL * middle**3 < radius
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    side = np.sin(low) / np.maximum(radius, 1e-9)
    right, down, out = side * du, side * dv, np.cos(low)
    distance = np.where(down > 1e-3, MOUNT[2] / np.maximum(down, 1e-3), 1e4)
    x, y = MOUNT[0] + distance * out, -distance * right
    mark = (np.abs(np.abs(y) - LANE) < 0.12) & (np.abs((x - 5) % 1 - 0.5) > 0.25) & (x < 22)
    return np.where(mark, 235, np.where(distance < 1e4, 70, 160)).astype(np.uint8)


def lane_points() -> np.ndarray:
    """30 points of the two lines, 6 to 20 m ahead, rig frame."""
    x = np.linspace(6, 20, 15)
    return np.array([[a, side, 0.0] for a in x for side in (LANE, -LANE)])


def on_line(picture: np.ndarray, pixels: np.ndarray, reach: int = 2) -> int:
    """How many pixels (N, 2) have a white pixel within `reach`."""
    hits = 0
    for u, v in np.round(pixels).astype(int):
        patch = picture[max(v - reach, 0) : v + reach + 1, max(u - reach, 0) : u + reach + 1]
        hits += bool(patch.size and patch.max() > 200)
    return hits


def test_every_lane_point_lands_on_the_rendered_line_and_a_pinhole_misses_by_tens_of_pixels() -> None:
    picture, points = render_road(), lane_points()
    pixels, seen = CAMERA.project(points)
    assert seen.all()
    assert on_line(picture, pixels) == 30
    pinhole = RigCamera(Pinhole.from_field_of_view(WIDTH, HEIGHT, 120), yaw_mount(0), MOUNT)
    miss = np.linalg.norm(pinhole.project(points)[0] - pixels, axis=1)
    assert on_line(picture, pinhole.project(points)[0]) < 20
    assert np.median(miss) > 40
    assert miss.max() > 80


@given(st.integers(200, 3000), st.integers(100, 2000))
def test_a_resized_camera_sees_the_same_directions(width: int, height: int) -> None:
    small = CAMERA.resized(width, height)
    pixels, _ = CAMERA.project(lane_points())
    scaled, _ = small.project(lane_points())
    expected = (pixels + 0.5) * [width / WIDTH, height / HEIGHT] - 0.5
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_a_cropped_camera_is_shifted() -> None:
    pixels, _ = LENS.project(np.array([[0.5, 0.4, 3.0]]))
    shifted, _ = LENS.cropped(100, 40, 300, 200).project(np.array([[0.5, 0.4, 3.0]]))
    np.testing.assert_allclose(shifted, pixels - [100, 40])


@pytest.mark.parametrize("model", [LENS, Pinhole.from_field_of_view(WIDTH, HEIGHT, 70)])
def test_the_axis_is_the_principal_point_and_what_lies_behind_is_not_seen(model: FTheta | Pinhole) -> None:
    pixels, seen = model.project(np.array([[0.0, 0.0, 5.0], [0.3, 0.2, -5.0], [1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(pixels[0], [model.cx, model.cy])
    assert seen.tolist() == [True, False, False]
    assert np.isnan(pixels[1:]).all()


def test_angles_past_the_polynomials_turn_are_not_seen() -> None:
    # r = 100 t - 40 t^3 grows up to t = sqrt(1 / 1.2) = 0.913 and comes back after it: two rays, one pixel.
    lens = FTheta(200, 200, 99.5, 99.5, forward=(0.0, 100.0, 0.0, -40.0))
    angles = np.array([0.9, 0.93])
    rays = np.stack([np.sin(angles), 0 * angles, np.cos(angles)], axis=1)
    assert lens.project(rays)[1].tolist() == [True, False]


@pytest.mark.parametrize(("name", "degrees"), [("front_wide_120fov", 120), ("rear_left_70fov", 70)])
def test_the_fallback_takes_the_field_of_view_from_the_name(name: str, degrees: float) -> None:
    camera = uncalibrated(f"camera_{name}", 1920, 1080)
    assert not camera.calibrated
    edge = np.tan(np.deg2rad(degrees) / 2)
    pixels, _ = camera.model.project(np.array([edge, 0.0, 1.0]))
    assert pixels[0] == pytest.approx(1919 / 2 + 960)


def test_an_unknown_camera_has_no_fallback() -> None:
    with pytest.raises(InputError, match="no calibration"):
        uncalibrated("dashcam", 640, 480)


def test_a_pinhole_distorts_as_opencv_does() -> None:
    """Within the picture, against OpenCV's own projection; beyond the radius at which it folds back nothing is seen."""
    distortion = (-0.3, 0.09, 0.001, -0.002, -0.01)
    pinhole = Pinhole(WIDTH, HEIGHT, 481.0, 265.0, fx=500.0, fy=510.0, distortion=distortion)
    points = np.random.default_rng(0).uniform((-4, -2, 5), (4, 2, 12), (50, 3))
    matrix = np.array([[500.0, 0, 481.0], [0, 510.0, 265.0], [0, 0, 1]])
    want, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), matrix, np.array(distortion))
    pixels, seen = pinhole.project(points)
    assert seen.all()
    np.testing.assert_allclose(pixels, want[:, 0], atol=1e-6)
    assert not Pinhole(WIDTH, HEIGHT, 0, 0, fx=1, fy=1, distortion=(-0.3, 0, 0, 0, 0)).project([[2.0, 0, 1.0]])[1]
