"""The world knows its own truth, and its pictures, masks and drives agree with it."""

import cv2
import numpy as np
import pytest

from relane.errors import InputError
from relane.prompts.lanes import COLORS, COUNTS, PATTERNS, Attributes
from simworld.world import Scene
from simworld.world.driver import DT
from simworld.world.rig import CAMERAS, FRONT_WIDE

SOLID, DASHED = Attributes("single", "white", "solid"), Attributes("single", "white", "dashed")
DOUBLE, YELLOW = Attributes("double", "white", "dashed"), Attributes("single", "yellow", "solid")


def lateral(scene: Scene) -> float:
    """Metres to the left of the ego lane's centre, 6.4 s after t0."""
    return float(np.interp(scene.t0_s + 6.4, scene.drive.t, scene.drive.d) - scene.road.lanes.ego)


@pytest.mark.parametrize("seed", range(4))
def test_behind_a_slower_car_the_driver_changes_lane_only_over_a_single_dashed_line(seed):
    width = Scene(seed, SOLID).road.lanes.width
    assert lateral(Scene(seed, DASHED, slower_car=True)) == pytest.approx(width, abs=0.5)
    for stays in (SOLID, DOUBLE, YELLOW):
        scene = Scene(seed, stays, slower_car=True)
        assert abs(lateral(scene)) < 0.5
        assert not scene.drive.changed_lane
        assert scene.drive.speed[-1] < 0.75 * scene.drive.speed[0]


def test_without_a_slower_car_no_marking_changes_the_path():
    drives = [Scene(3, attributes).drive for attributes in (SOLID, DASHED, DOUBLE, YELLOW)]
    assert all(np.array_equal(drives[0].x, drive.x) for drive in drives[1:])


def test_colour_has_no_effect_on_the_path_behind_a_slower_car():
    white, yellow = (Scene(1, Attributes("single", c, "dashed"), slower_car=True).drive for c in ("white", "yellow"))
    assert np.array_equal(white.y, yellow.y)


@pytest.mark.parametrize("seed", range(4))
def test_until_t0_the_drive_does_not_give_away_what_comes(seed):
    a, b = Scene(seed, SOLID, slower_car=True), Scene(seed, DASHED, slower_car=True)
    before = a.drive.t <= a.t0_s
    assert np.array_equal(a.drive.x[before], b.drive.x[before])
    assert a.t0_s < a.drive.noticed_s < a.t0_s + 1.6


@pytest.mark.parametrize("seed", range(3))
def test_the_drive_never_meets_another_vehicle(seed):
    for attributes in (SOLID, DASHED):
        scene = Scene(seed, attributes, slower_car=True)
        for vehicle in scene.traffic:
            along = vehicle.s + vehicle.speed * scene.drive.t - (scene.drive.s + 1.4)
            assert not np.any((np.abs(along) < 4.7) & (np.abs(vehicle.d - scene.drive.d) < 1.9))


def test_the_path_is_one_that_a_bicycle_can_drive():
    drive = Scene(2, DASHED, slower_car=True).drive
    along = np.diff(drive.x) * np.cos(drive.heading[:-1]) + np.diff(drive.y) * np.sin(drive.heading[:-1])
    across = np.diff(drive.y) * np.cos(drive.heading[:-1]) - np.diff(drive.x) * np.sin(drive.heading[:-1])
    np.testing.assert_allclose(along / DT, drive.speed[:-1], atol=0.02)
    assert np.abs(across / DT).max() < 0.02  # the rear axle does not slide sideways
    np.testing.assert_allclose(np.diff(drive.heading) / DT, (drive.speed * drive.curvature)[:-1], atol=0.01)
    assert np.abs(drive.curvature).max() < 0.1


@pytest.mark.parametrize("attributes", [DASHED, DOUBLE, YELLOW])
def test_a_repainted_drive_differs_in_the_paint_and_nowhere_else(attributes):
    scene = Scene(7, SOLID, slower_car=True)
    plain, other = scene.render(FRONT_WIDE, 5.1), scene.repainted(attributes).render(FRONT_WIDE, 5.1)
    changed = np.abs(plain.image.astype(int) - other.image).max(-1) > 24
    assert changed.sum() > 100
    assert (changed & (plain.marking_mask | other.marking_mask)).sum() > 0.8 * changed.sum()
    assert np.array_equal(plain.road_mask, other.road_mask)


@pytest.mark.parametrize("camera", list(CAMERAS))
def test_the_lane_line_is_drawn_where_the_camera_model_projects_it(camera):
    scene = Scene(11, SOLID)
    frame = scene.render(camera, 3.0)
    s0 = scene.drive.at(3.0)[0]
    s = np.concatenate([np.arange(-50, -7, 0.5), np.arange(7, 45, 0.5)]) + s0
    hits = total = 0
    for place in s:
        pixels, inside = scene.project_road(camera, 3.0, np.array([place]), np.array([0.0]))
        u, v = np.rint(pixels[0]).astype(int)
        if inside[0] and frame.road_mask[v, u]:
            total += 1
            hits += bool(frame.marking_mask[max(v - 1, 0) : v + 2, max(u - 1, 0) : u + 2].any())
    assert total >= 5
    assert hits == total


def test_the_road_mask_ends_at_the_asphalt_and_leaves_vehicles_out():
    scene = Scene(0, SOLID, slower_car=True)
    frame = scene.render("camera_front_tele_30fov", 5.1)
    s0, lanes = scene.drive.at(5.1)[0], scene.road.lanes
    for d, expected in ((lanes.asphalt[0] + 0.3, True), (lanes.asphalt[0] - 0.3, False), (lanes.ego, True)):
        pixels, inside = scene.project_road("camera_front_tele_30fov", 5.1, np.array([s0 + 15.0]), np.array([d]))
        if inside[0]:
            u, v = np.rint(pixels[0]).astype(int)
            assert frame.road_mask[v, u] == expected, d
    car = scene.traffic[0]
    rear = car.s + car.speed * 5.1 - 2.0
    pixels, _ = scene.project_road("camera_front_tele_30fov", 5.1, np.array([rear]), np.array([lanes.ego]))
    u, v = np.rint(pixels[0]).astype(int)
    assert not frame.road_mask[v - 6, u]


def test_the_bonnet_hides_road_at_the_lower_edge():
    frames = [Scene(4, SOLID, bonnet=bonnet).render(FRONT_WIDE, 2.0) for bonnet in (False, True)]
    assert frames[0].road_mask[-1, 160]
    assert not frames[1].road_mask[-1, 160]


def test_the_same_seed_gives_the_same_pixels_and_another_seed_does_not():
    a, b, c = (Scene(seed, SOLID, width=96, height=54).image(FRONT_WIDE, 1.0) for seed in (8, 8, 9))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_solid_paint_is_unbroken_and_dashed_paint_has_gaps():
    scene = Scene(12, SOLID)
    s0 = scene.drive.at(1.0)[0]
    s = s0 + np.arange(6, 24, 0.25)
    covers = []
    for attributes in (SOLID, DASHED):
        mask = scene.repainted(attributes).render(FRONT_WIDE, 1.0).marking_mask
        pixels, inside = scene.project_road(FRONT_WIDE, 1.0, s, np.zeros_like(s))
        u, v = np.rint(pixels[inside]).astype(int).T
        covers.append(np.mean(mask[v, u]))
    assert covers[0] > 0.97
    assert 0.3 < covers[1] < 0.7


def read_paint(scene: Scene, t: float) -> Attributes:
    """Count, color and pattern of the line beside the ego lane, from pixels along its known place alone."""
    s, d = np.meshgrid(scene.drive.at(t)[0] + np.arange(4.5, 17, 0.1), np.arange(-0.6, 0.61, 0.03), indexing="ij")
    pixels, _ = scene.project_road(FRONT_WIDE, t, s.ravel(), d.ravel())
    u, v = pixels.T.reshape(2, *s.shape).astype(np.float32)
    strip = cv2.remap(scene.image(FRONT_WIDE, t).astype(np.float32), u, v, cv2.INTER_LINEAR)
    bright = strip[..., :2].mean(-1) - np.median(strip[..., :2].mean(-1)[:, [0, 1, -2, -1]])
    painted = bright.max(1) > 0.5 * np.percentile(bright, 98)
    across = bright[:45][painted[:45]].mean(0) > 0.5 * bright[:45][painted[:45]].mean(0).max()
    paint = strip[bright > 0.8 * np.percentile(bright, 98)].mean(0)
    ridges = int(across[0]) + int(np.sum(across[1:] & ~across[:-1]))
    color = "yellow" if paint[2] < 0.6 * paint[0] else "white"
    return Attributes({1: "single", 2: "double"}[ridges], color, "solid" if painted.mean() > 0.9 else "dashed")


@pytest.mark.parametrize("slug", [f"{a}-{b}-{c}" for a in COUNTS[:2] for b in COLORS[:2] for c in PATTERNS[:2]])
def test_the_pixels_of_the_line_show_the_attributes(slug):
    for seed in (1, 6):
        scene = Scene(seed, Attributes(*slug.split("-")))
        assert read_paint(scene, 4.0).slug() == slug


@pytest.mark.parametrize(
    ("attributes", "words"), [(Attributes("single", "white", "mixed"), "mixed"), (Attributes(), "unknown")]
)
def test_markings_that_cannot_be_painted_are_refused(attributes, words):
    with pytest.raises(InputError, match=words):
        Scene(0, attributes)
