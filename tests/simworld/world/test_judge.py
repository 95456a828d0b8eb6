"""The judge by pixels: right on true pictures of all markings, silent where there is no line to read."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simworld.learning.pictures import ALL, repainted
from simworld.world import judge
from simworld.world.ground import DASH, PERIOD
from simworld.world.judge import ALONG, STEP, read_line
from simworld.world.rig import FRONT_TELE, FRONT_WIDE
from simworld.world.scene import Frame, Scene

# Seed, slower car ahead, seconds, camera; in the narrow one such a car soon hides most of the line.
MOMENTS = [
    (1, False, 3.0, FRONT_WIDE),
    (2, True, 5.1, FRONT_WIDE),
    (3, True, 9.0, FRONT_WIDE),
    (2, False, 4.0, FRONT_TELE),
]


def softened(image: np.ndarray) -> np.ndarray:
    """What is left of a picture after a coarse autoencoder: half the pixels, and a little noise."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (width * 3 // 5, height * 3 // 5), interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    return np.clip(soft + np.random.default_rng(0).normal(0, 4, soft.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("seed", "slower", "t", "camera"), MOMENTS)
def test_reads_every_marking_of_true_and_of_softened_pictures(seed, slower, t, camera):
    scene = Scene(seed, ALL[0], slower_car=slower)
    for painted in ALL:
        frame = repainted(scene, painted).render(camera, t)
        assert read_line(frame.image, scene, camera, t, frame.road_mask) == painted
        assert read_line(softened(frame.image), scene, camera, t, frame.road_mask) == painted


def test_the_scenes_own_paint_does_not_matter_and_the_mask_is_found_if_not_given():
    image = Scene(5, ALL[3]).image(FRONT_WIDE, 2.0)
    assert {read_line(image, Scene(5, own), FRONT_WIDE, 2.0) for own in ALL} == {ALL[3]}


def test_a_line_that_was_painted_over_is_no_line():
    scene = Scene(4, ALL[2])
    frame = scene.render(FRONT_WIDE, 2.0)
    paint = cv2.dilate(frame.marking_mask.astype(np.uint8), np.ones((7, 7), np.uint8))
    bare = cv2.inpaint(frame.image, paint, 5, cv2.INPAINT_TELEA)
    assert read_line(bare, scene, FRONT_WIDE, 2.0, frame.road_mask) is None


def test_a_camera_that_does_not_see_the_line_reads_nothing():
    scene = Scene(4, ALL[2])
    camera = "camera_cross_right_120fov"
    assert read_line(scene.image(camera, 2.0), scene, camera, 2.0) is None


def hidden_but(frame: Frame, scene: Scene, t: float, metres: float) -> np.ndarray:
    """The road mask with all hidden of the line but its nearest `metres`."""
    here = scene.drive.at(t)[0]
    s = np.arange(here, here + 60, 0.1)
    pixels, inside = scene.project_road(FRONT_WIDE, t, s, 0 * s)
    on = np.rint(pixels[inside]).astype(int)
    first = s[inside][frame.road_mask[on[:, 1], on[:, 0]]].min()
    [[_, row]], _ = scene.project_road(FRONT_WIDE, t, np.array([first + metres]), np.zeros(1))
    road = frame.road_mask.copy()
    road[: int(row)] = False
    return road


def test_less_than_a_period_in_sight_tells_count_and_color_but_no_pattern():
    scene = Scene(6, ALL[7])
    frame = scene.render(FRONT_WIDE, 2.0)
    seen = read_line(frame.image, scene, FRONT_WIDE, 2.0, hidden_but(frame, scene, 2.0, 6.0))
    assert (seen.count, seen.color, seen.pattern) == ("double", "yellow", "unknown")
    assert read_line(frame.image, scene, FRONT_WIDE, 2.0, hidden_but(frame, scene, 2.0, 1.0)) is None


@given(
    far=st.floats(0.05, 0.9),
    length=st.floats(14.0, 40.0),
    bend=st.floats(0.6, 2.0),
    phase=st.floats(0, PERIOD),
    noise=st.integers(0, 1000),
)
def test_a_line_that_grows_faint_with_distance_is_told_from_one_with_gaps(far, length, bend, phase, noise):
    s = np.arange(0, length, STEP)
    fade = 1 - (1 - far) * (s / length) ** bend
    rough = 1 + 0.05 * np.random.default_rng(noise).standard_normal(len(s))
    near = np.full(len(s), 2 * ALONG)
    assert judge._pattern(s, fade * rough, near) == "solid"
    dashes = np.abs((s - phase) % PERIOD - PERIOD / 2) < DASH / 2
    assert judge._pattern(s, np.where(dashes, 0.5 + 0.5 * fade, 0.02) * rough, near) == "dashed"
