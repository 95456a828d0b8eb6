"""Paint that is found without any model of the road, and corridors that are judged by it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.config.sections.region import Region
from relane.prompts.lanes import Attributes
from relane.road.paint_check import ENOUGH, outside_shares, stripes, summary, worst_stretch
from relane.road.regions import REACH_IN_TIME, WIDER, WINDOW
from simworld.world.scene import Scene
from tests.test_regions import WHITE, YELLOW, H, W, corridor, scene

LINES = [(-1.8, YELLOW), (1.7, WHITE)]


@pytest.mark.parametrize("lines", [LINES, [(-0.25, YELLOW), (0.25, YELLOW)], [(3.0, WHITE)]])
@pytest.mark.parametrize("dash_shift", [None, 1.0])
def test_line_like_paint_is_found_and_asphalt_is_not(lines, dash_shift) -> None:
    frame, road, paint = scene(lines, dash_shift=dash_shift, curve=1.0)
    found = stripes(frame, road)
    near = cv2.dilate(paint.astype(np.uint8), np.ones((3, 7), np.uint8)) > 0
    assert not (found & ~near).any()
    below = np.arange(H)[:, None] > 110  # farther up a line is as thin as a pixel
    assert found[paint & below].mean() > 0.7


def test_shadows_vehicles_and_the_roads_own_edge_are_no_paint() -> None:
    frame, road, _ = scene([])
    frame[120:125] //= 2  # a shadow across the road
    frame[:, 150:156][road[:, 150:156]] //= 2  # and one along it
    frame[130:150, 200:230] = (200, 40, 40)  # a vehicle that the mask did not leave out: wide, not thin
    assert not stripes(frame, road).any()


@pytest.mark.parametrize("camera", ["camera_front_tele_30fov", "camera_front_wide_120fov"])
def test_a_corridor_that_fits_is_left_as_it_is(camera: str) -> None:
    """Tele and wide views of the synthetic world, whose paint is known to the pixel."""
    world = Scene(100, Attributes("single", "white", "dashed"), slower_car=True, width=320, height=180, seconds=4)
    views = [world.render(camera, 1 + 0.2 * number) for number in range(8)]
    report, regions = corridor([(view.image, view.road_mask, None) for view in views], dilate_size=8)
    assert (report["fallback"], report["width_used"], report["frames_by_road"]) == (None, 1.0, 0)
    assert report["outside_share"]["max"] < 0.1
    assert min(region[view.marking_mask].mean() for region, view in zip(regions, views, strict=True)) > 0.95


def panned(pixels: int, frames: int = 11, of: int = 24):
    """A road by a mask that stays as it was drawn by hand, while the camera looks aside for the first frames."""
    views = [scene(LINES, seed=seed) for seed in range(of)]
    road = views[0][1]
    moved = [tuple(np.roll(part, pixels, axis=1) for part in view) for view in views[:frames]] + views[frames:]
    return [(frame, road, paint & road) for frame, _, paint in moved]


def test_a_corridor_beside_the_paint_is_not_kept_in_silence() -> None:
    views = panned(80)
    report, regions = corridor(views)
    assert report["fallback"] == "road"
    assert "of the paint lay outside a corridor of 2 m" in report["reason"]
    for (_, road, paint), region in zip(views, regions, strict=True):
        assert region[paint].all()
        assert not (region & ~road).any()
    assert report["outside_share"]["first"] == report["outside_share"]["mean"] == 0


def test_paint_in_few_rows_that_no_line_is_made_of_is_not_left_beside_a_borrowed_line() -> None:
    """Frame 0 shows short pieces at one place, too few for a line; the lines that are found later lie elsewhere."""
    views = []
    for seed in range(26):
        frame, road, paint = scene([(1.7, WHITE)] if seed >= 13 else [(-2.6, WHITE)], seed=seed)
        if seed < 13:
            bare = scene([], seed=seed)[0]
            hidden = np.ones((H, W), bool)
            hidden[125:137] = False
            frame[hidden], paint = bare[hidden], paint & ~hidden
        views.append((frame, road, paint))
    report, regions = corridor(views)
    assert report["frames_with_lines"] < 26
    assert report["fallback"] == "road"
    assert regions[0][views[0][2]].all()


def test_a_corridor_that_is_a_little_too_narrow_is_widened() -> None:
    narrow = Region(corridor_width=0.25)
    # Wide paint: a double line whose halves the narrow corridor sees as one.
    views = [scene([(-0.14, YELLOW), (0.14, YELLOW)], seed=seed) for seed in range(6)]
    report, regions = corridor(views, narrow)
    wide, _ = corridor(views)
    assert wide["fallback"] is None
    assert (report["fallback"], report["width_used"]) == ("wider", WIDER * 0.25)
    assert report["outside_share"]["mean"] < 0.25
    assert min(region[view[2]].mean() for region, view in zip(regions, views, strict=True)) > 0.75


def test_lines_are_borrowed_from_near_frames_only() -> None:
    count = WINDOW + REACH_IN_TIME + 20
    views = [scene([] if seed < count else [(1.7, WHITE)], seed=seed) for seed in range(count + 6)]
    report, regions = corridor(views)
    # Evidence is gathered over WINDOW frames, so the first frame with lines comes up to that much earlier.
    assert 6 <= report["frames_with_lines"] <= 6 + WINDOW
    assert report["frames_with_borrowed_lines"] == REACH_IN_TIME
    assert report["frames_by_road"] == count + 6 - report["frames_with_lines"] - REACH_IN_TIME
    assert np.array_equal(regions[0], views[0][1])
    assert regions[-1].sum() < 0.4 * views[-1][1].sum()
    assert report["fallback"] is None


def test_where_no_lines_but_paint_is_seen_the_road_is_taken_and_not_its_middle() -> None:
    """Every frame shows short pieces far from the road's middle, of which no line is made."""
    views = []
    for seed in range(6):
        frame, road, paint = scene([(-2.6, WHITE)], seed=seed)
        hidden = np.ones((H, W), bool)
        hidden[125:134] = False
        frame[hidden] = scene([], seed=seed)[0][hidden]
        views.append((frame, road, paint & ~hidden))
    report, regions = corridor(views)
    assert (report["frames_with_lines"], report["fallback"]) == (0, "road")
    assert regions[0][views[0][2]].all()
    bare, _ = corridor([scene([], seed=seed) for seed in range(6)])
    assert bare["fallback"] == "centre"
    assert bare["outside_share"] == {"first": None, "mean": None, "max": None, "frames_with_paint": 0}


@settings(max_examples=50)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40), st.integers(0, 6))
def test_the_worst_stretch_is_a_mean_of_shares_and_never_above_the_largest(values, window: int) -> None:
    shares = np.array([np.nan if value is None else value for value in values])
    worst = worst_stretch(shares, window)
    seen = shares[~np.isnan(shares)]
    assert 0 <= worst <= (seen.max() if len(seen) else 0) + 1e-12
    if len(seen):
        assert worst >= seen.mean() * (len(seen) == len(shares)) - 1e-12 or window < len(shares)
    assert summary(shares)["frames_with_paint"] == len(seen)


def test_a_frame_with_next_to_no_paint_says_nothing() -> None:
    stripe = np.zeros((20, 20), bool)
    stripe[0, : ENOUGH // 4] = True
    assert np.isnan(outside_shares([stripe], [~stripe])).all()
    stripe[:10, :10] = True
    half = np.zeros_like(stripe)
    half[:5] = True
    assert outside_shares([stripe], [half]) == pytest.approx([0.5], abs=0.06)
