"""The corridor around lane lines, on roads drawn here, where the truth is known to the pixel."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.config.sections.region import Region
from relane.errors import InputError
from relane.io.masks import grow
from relane.road.regions import Grid, Perspective, calibrate, corridor_region, perspective, steady

H, W = 180, 320
HORIZON, COLUMN = 80.0, 165.0
CAMERA = 1.5  # metres above the road
WHITE, YELLOW = (230, 230, 228), (225, 180, 40)
DEFAULT = Region()


def lateral() -> tuple[np.ndarray, np.ndarray]:
    """Metres right of the camera and rows below the horizon of every pixel on a flat road."""
    v, u = np.mgrid[:H, :W].astype(float)
    below = v - HORIZON
    return (u - COLUMN) * CAMERA / np.maximum(below, 1e-6), below


def scene(lines, curve=0.0, dash_shift=None, edges=(-5.5, 5.0), noise=3.0, seed=0):
    """A frame, its road mask and its paint: lines are (X in metres, colour), 0.15 m wide; curve bends them."""
    x, below = lateral()
    x = x - curve * (1 / np.maximum(below, 6) - 1 / 99) ** 2 / (1 / 10 - 1 / 99) ** 2
    ground = below > 2
    road = ground & (x > edges[0]) & (x < edges[1])
    frame = np.full((H, W, 3), (150, 180, 220), float)
    frame[ground] = (80, 120, 60)
    frame[road] = 95
    depth = 140 * CAMERA / np.maximum(below, 1e-6)  # metres ahead, for a focal length of 140 pixels
    paint = np.zeros((H, W), bool)
    for position, colour in lines:
        line = road & (np.abs(x - position) < 0.075 + 0.5 * CAMERA / np.maximum(below, 1))
        if dash_shift is not None:
            line &= (depth + dash_shift) % 6 < 2.5
        frame[line] = colour
        paint |= line
    frame += np.random.default_rng(seed).normal(0, noise, frame.shape)
    return frame.clip(0, 255).astype(np.uint8), road, paint


def corridor(scenes, settings=DEFAULT, dilate_size=0):
    frames, masks = [s[0] for s in scenes], np.stack([s[1] for s in scenes])
    report, regions = corridor_region(iter(frames), masks, settings, dilate_size)
    return report, list(regions)


def test_corridor_covers_the_lines_and_little_else():
    scenes = [scene([(-1.8, YELLOW), (1.7, WHITE)], seed=i) for i in range(6)]
    report, regions = corridor(scenes)
    x, below = lateral()
    near = np.minimum(abs(x + 1.8), abs(x - 1.7))
    for (_, road, paint), region in zip(scenes, regions, strict=True):
        assert region[paint].all()
        assert not region[road & (near > 0.5 + 0.15 + 2 * CAMERA / np.maximum(below, 1))].any()
    assert report["fallback"] is None
    assert report["frames_with_lines"] == 6
    assert report["lines_per_frame"] == 2
    assert abs(report["vanishing_point"][1] - HORIZON) < 4
    assert abs(report["vanishing_point"][0] - COLUMN) < 4


def test_dashes_are_joined_to_a_line_over_the_frames():
    scenes = [scene([(-1.8, WHITE)], dash_shift=0.9 * i, seed=i) for i in range(14)]
    _, regions = corridor(scenes)
    whole = scene([(-1.8, WHITE)])[2]
    covered = [region[whole].mean() for region in regions]
    assert min(covered) > 0.97


def test_a_stripe_that_is_seen_once_is_no_line():
    scenes = [scene([(1.7, WHITE)], seed=i) for i in range(15)]
    scenes[7] = scene([(1.7, WHITE), (-2.5, WHITE)])
    report, regions = corridor(scenes)
    assert report["lines_per_frame"] == 1
    assert regions[7][scenes[7][2]].mean() < 0.7


def test_a_double_line_and_a_curve_are_covered():
    for curve in (-1.5, 0.0, 1.5):
        scenes = [scene([(-0.25, YELLOW), (0.25, YELLOW)], curve=curve, seed=i) for i in range(4)]
        report, regions = corridor(scenes)
        assert report["fallback"] is None
        assert min(r[s[2]].mean() for r, s in zip(regions, scenes, strict=True)) > 0.97, curve


def test_the_corridor_stays_on_the_road_and_off_vehicles():
    scenes = [scene([(-1.8, WHITE), (1.7, WHITE)], seed=i) for i in range(3)]
    for _, road, _ in scenes:
        road[100:130, 110:150] = False  # a vehicle on the left line
    _, regions = corridor(scenes, dilate_size=9)
    for (_, road, _), region in zip(scenes, regions, strict=True):
        assert not region[~road].any()
        assert region.any()


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 2.0))
def test_width_in_metres_follows_the_perspective(width):
    _, regions = corridor([scene([(0.0, WHITE)])], Region(corridor_width=width, camera_height=CAMERA))
    for row in (120, 150, 170):
        metres = regions[0][row].sum() * CAMERA / (row - HORIZON)
        assert abs(metres - width) < 0.12 + 2 * CAMERA / (row - HORIZON)


def test_width_in_pixels_is_the_same_in_every_row():
    _, regions = corridor([scene([(0.0, WHITE)])], Region(corridor_width=21, corridor_unit="px"))
    assert all(abs(int(regions[0][row].sum()) - 21) <= 4 for row in (120, 140, 160, 175))


def test_a_road_without_lines_gets_its_middle_and_says_so():
    scenes = [scene([], seed=i) for i in range(3)]
    report, regions = corridor(scenes, Region(corridor_width=1.0))
    assert report["fallback"] == "centre"
    assert report["frames_with_lines"] == 0
    x, below = lateral()
    middle = scenes[0][1] & (np.abs(x + 0.25) < 0.2) & (below > 15)
    assert regions[0][middle].mean() > 0.9
    assert regions[0].sum() < 0.4 * scenes[0][1].sum()


def test_a_shadow_is_no_line():
    frame, road, paint = scene([])
    x, _ = lateral()
    frame[road & (x < -1)] //= 2  # its edge is a step, not a stripe
    report, _ = corridor([(frame, road, paint)])
    assert report["fallback"] == "centre"


def test_without_any_perspective_the_whole_road_is_repainted():
    sliver = np.zeros((H, W), bool)
    sliver[100:103, 10:60] = True
    report, regions = corridor([(np.zeros((H, W, 3), np.uint8), sliver, None)])
    assert report == {"fallback": "road"}
    assert np.array_equal(regions[0], sliver)


def test_frames_without_road_stay_empty_and_do_not_disturb_their_neighbours():
    scenes = [scene([(1.7, WHITE)], seed=i) for i in range(5)]
    scenes[2][1][:] = False
    _, regions = corridor(scenes)
    assert not regions[2].any()
    assert regions[1][scenes[1][2]].all()


def test_large_pictures_are_searched_at_a_smaller_size_and_masked_at_their_own():
    frame, road, paint = scene([(1.7, WHITE)])
    big = [
        cv2.resize(a.astype(np.uint8), (W * 4, H * 4), interpolation=cv2.INTER_NEAREST) for a in (frame, road, paint)
    ]
    report, regions = corridor([(big[0], big[1] > 0, None)])
    assert regions[0].shape == (H * 4, W * 4)
    assert regions[0][big[2] > 0].mean() > 0.99
    assert abs(report["metres_per_pixel_at_the_bottom"] - CAMERA / (4 * (H - HORIZON))) < 4e-4


@settings(max_examples=30)
@given(st.floats(60, 100), st.floats(-4, -2), st.floats(2, 4))
def test_horizon_from_the_widths_of_the_road(horizon, left, right):
    v, u = np.mgrid[:H, :W].astype(float)
    below = v - horizon
    mask = (below > 12) & (u > COLUMN + left * below / 2) & (u < COLUMN + right * below / 2)
    assert abs(perspective(mask).row - horizon) < 3


def test_calibration_moves_a_leaning_vanishing_point_back():
    frame, road, _ = scene([(-1.8, WHITE), (1.7, WHITE)])
    du, dv = calibrate([(frame, road)], [Perspective(COLUMN + 15, HORIZON - 3)], CAMERA)
    assert abs(du + 15) < 3
    assert abs(dv - 3) < 2.5


def test_steady_fills_gaps_and_ignores_outliers():
    views = [Perspective(100.0, 50.0)] * 9
    views[3], views[5] = None, Perspective(500.0, 90.0)
    assert steady(views) == [Perspective(100.0, 50.0)] * 9
    assert steady([None, None]) == [None, None]


def test_the_grid_shows_a_point_where_the_pinhole_equations_put_it():
    grid = Grid(Perspective(COLUMN, HORIZON), H, CAMERA)
    picture = np.mgrid[:H, :W][1].astype(np.float32)  # each pixel holds its column
    sampled = grid.sample(picture, outside=-1)
    row, metre = 40, 180  # X = 1.0
    expected = COLUMN + 1.0 * grid.below[row] / CAMERA
    assert sampled[row, metre] == pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"corridor_unit": "ft"}, "corridor_unit"),
        ({"corridor_width": 0}, "corridor_width"),
        ({"camera_height": -1}, "camera_height"),
        ({"dilate_size": -1}, "dilate_size"),
    ],
)
def test_settings_name_the_wrong_key(wrong, key):
    with pytest.raises(InputError, match=f"region.{key}"):
        Region.of(wrong)


def test_the_same_clip_gives_the_same_corridor():
    scenes = [scene([(1.7, WHITE)], seed=i) for i in range(3)]
    (first, a), (second, b) = corridor(scenes, dilate_size=3), corridor(scenes, dilate_size=3)
    assert first == second
    assert np.array_equal(a, b)
    plain = corridor(scenes)[1]
    assert np.array_equal(a[0], grow(plain[0], 3) & scenes[0][1])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.001, 0.05, 0.5, 1.0]))
def test_any_mask_gives_a_corridor_inside_it(seed, density):
    rng = np.random.default_rng(seed)
    count, height, width = (int(rng.integers(low, high)) for low, high in ((1, 4), (8, 80), (8, 80)))
    masks = rng.random((count, height, width)) <= density
    frames = rng.integers(0, 255, (count, height, width, 3), dtype=np.uint8)
    _, regions = corridor_region(iter(frames), masks, dilate_size=int(rng.integers(0, 9)))
    regions = list(regions)
    assert len(regions) == count
    assert not any((region & ~mask).any() for region, mask in zip(regions, masks, strict=True))
