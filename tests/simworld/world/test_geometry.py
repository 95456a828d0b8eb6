"""Cameras and road: projecting and unprojecting agree, and so do road and world coordinates."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.errors import InputError
from simworld.world.look import rng_of
from simworld.world.rig import CAMERAS, Camera
from simworld.world.road import Road

ROADS = [Road(rng_of(seed, "road")) for seed in range(3)]


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 2), s=st.floats(-100, 400), d=st.floats(-9, 9))
def test_world_and_road_coordinates_are_inverse_to_each_other(which, s, d):
    road = ROADS[which]
    x, y, _ = road.pose(np.array([s]), np.array([d]))
    found_s, found_d = road.locate(x, y, np.array([s + 3.0]), rounds=3)
    assert found_s[0] == pytest.approx(s, abs=0.01)
    assert found_d[0] == pytest.approx(d, abs=0.01)


@pytest.mark.parametrize("name", list(CAMERAS))
def test_a_ground_point_projects_back_to_its_pixel(name):
    camera = Camera(name, 320, 180)
    ground = camera.ground()
    rows, columns = np.meshgrid(np.arange(20, 90, 10), np.arange(30, 300, 30), indexing="ij")
    points = np.stack([ground.x, ground.y, 0 * ground.x], -1)[rows, columns].astype(float)
    pixels, _ = camera.project(points)
    np.testing.assert_allclose(pixels, np.stack([columns, rows + ground.top], -1), atol=0.05)


def test_cameras_look_where_their_names_say():
    ahead, left = np.array([20.0, 0.0, 1.0]), np.array([10.0, 12.0, 1.0])
    pixels, theta = Camera("camera_front_wide_120fov", 320, 180).project(np.stack([ahead, left]))
    assert theta[0] < 0.1
    assert pixels[1, 0] < pixels[0, 0]  # what is to the left lies to the left in the picture
    assert Camera("camera_rear_tele_30fov", 320, 180).project(-ahead)[1] < 0.2
    assert Camera("camera_cross_left_120fov", 320, 180).project(left)[1] < 0.4


@pytest.mark.parametrize(("name", "size"), [("front", (320, 180)), ("camera_front_wide_120fov", (321, 180))])
def test_unknown_cameras_and_odd_sizes_are_refused(name, size):
    with pytest.raises(InputError):
        Camera(name, *size)
