"""Which default points lie on the road, and which on a vehicle that happens to be there."""

import numpy as np
import pytest

from relane.config.sections.sam2 import POINTS
from relane.prompts.lanes import Attributes
from relane.road.points import on_road
from relane.road.segmentation import RoadSegmenter
from simworld.world.scene import Scene

TELE, WIDE = "camera_front_tele_30fov", "camera_front_wide_120fov"
WIDTH, HEIGHT = 320, 180
EVERYWHERE = np.ones((HEIGHT, WIDTH), bool)


def asphalt(seed: int = 0) -> np.ndarray:
    """A grey road with some grain over the whole picture."""
    grain = np.random.default_rng(seed).normal(0, 4, (HEIGHT, WIDTH, 1))
    return np.clip(95 + grain.repeat(3, axis=2), 0, 255).astype(np.uint8)


def hit(rows: slice, columns: slice) -> set[tuple[float, float]]:
    """The default points in a rectangle of the picture."""
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[rows, columns] = True
    return {(x, y) for x, y in POINTS if inside[int(y * HEIGHT), int(x * WIDTH)]}


BODY = slice(90, 138), slice(115, 205)


def car(picture: np.ndarray, colour: tuple[int, int, int]) -> None:
    """A vehicle's rear over the far points: body, dark window, lamps, bumper."""
    rows, columns = BODY
    picture[rows, columns] = colour
    for row in range(rows.start, rows.stop, 5):
        picture[row : row + 2, columns] = (20, 20, 24)
    picture[120:126, 122:134] = picture[120:126, 186:198] = (200, 30, 30)


@pytest.mark.parametrize("colour", [(190, 30, 30), (235, 235, 235), (15, 15, 18), (30, 60, 170)])
def test_points_on_a_vehicle_are_dropped_and_the_others_kept(colour) -> None:
    picture = asphalt()
    car(picture, colour)
    on_car = hit(*BODY)
    assert on_car
    assert set(on_road(picture, EVERYWHERE, POINTS)) == set(POINTS) - on_car


def test_a_light_shadow_or_an_even_road_drops_nothing() -> None:
    picture = asphalt()
    assert on_road(picture, EVERYWHERE, POINTS) == list(POINTS)
    picture[120:140] = picture[120:140] * 0.7  # a shadow
    assert on_road(picture, EVERYWHERE, POINTS) == list(POINTS)


def test_what_the_first_guess_leaves_out_is_dropped() -> None:
    guess = EVERYWHERE.copy()
    guess[:130] = False
    assert set(on_road(asphalt(), guess, POINTS)) == set(POINTS) - hit(slice(0, 130), slice(None))


def test_where_nothing_tells_the_points_apart_all_stay() -> None:
    assert on_road(asphalt(), ~EVERYWHERE, POINTS) == list(POINTS)
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    assert len(on_road(noise, EVERYWHERE, POINTS)) >= 3


def points_on(mask: np.ndarray) -> set[tuple[float, float]]:
    return {(x, y) for x, y in POINTS if mask[int(y * HEIGHT), int(x * WIDTH)]}


def test_in_the_synthetic_world_no_kept_point_is_on_the_lead_vehicle_and_the_road_is_not_emptied() -> None:
    hit_before = hit_after = kept = total = 0
    for seed in range(12):
        world = Scene(seed, Attributes("single", "white", "solid"), slower_car=True, width=WIDTH, height=HEIGHT)
        for t in (5.0, 7.5, 9.0):
            view = world.render(TELE, t)
            vehicle = ~view.road_mask
            left = set(on_road(view.image, EVERYWHERE, POINTS))
            hit_before += len(points_on(vehicle))
            hit_after += len(points_on(vehicle) & left)
            kept += len(points_on(view.road_mask) & left)
            total += len(points_on(view.road_mask))
    assert hit_before > 0
    assert hit_after <= hit_before / 3
    assert kept >= 0.75 * total


@pytest.fixture(scope="module")
def segmenter(tiny) -> RoadSegmenter:
    return RoadSegmenter(tiny("sam2"), "cpu")


def test_the_default_points_are_asked_again_without_those_on_the_vehicle(segmenter) -> None:
    picture = asphalt()
    car(picture, (190, 30, 30))
    segmenter.image(picture)
    assert set(segmenter.points_used) <= set(POINTS) - hit(*BODY)


def test_points_that_a_user_names_are_taken_as_they_are(segmenter) -> None:
    picture = asphalt()
    car(picture, (190, 30, 30))
    own = [(0.5, 0.7), (0.5, 0.85)]
    segmenter.image(picture, own)
    assert segmenter.points_used == own
