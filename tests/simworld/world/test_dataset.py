"""The world on disk: physical-ai-av reads it, twice written it is the same bytes, and a bad request writes nothing."""

import json

import numpy as np
import pytest

from relane.data.physical_ai_av.roots import open_dataset
from relane.errors import InputError
from relane.io.files import sha256_file
from relane.prompts.lanes import Attributes
from simworld.world import Scene
from simworld.world.dataset import egomotion_table, parse_slug, plan_clips, write_dataset

from .conftest import CAMERAS, SMALL


def test_physical_ai_av_reads_every_feature_offline(small_world):
    reader = open_dataset(small_world)
    clip_id = reader.clip_index.index[0]
    video = reader.get_clip_feature(clip_id, CAMERAS[0])
    images, times = video.decode_images_from_timestamps(np.array([500_000]))
    assert images.shape == (1, 54, 96, 3)
    assert 0 <= 500_000 - times[0] <= 100_000
    ego = reader.get_clip_feature(clip_id, "egomotion")
    np.testing.assert_allclose(ego(np.array([0])).pose.translation, [[0, 0, 0]], atol=1e-9)
    assert ego.time_range[0] < 0 < 1_000_000 < ego.time_range[1]
    assert len(reader.get_clip_feature(clip_id, "camera_intrinsics").camera_models) == 7
    assert CAMERAS[0] in reader.get_clip_feature(clip_id, "sensor_extrinsics").sensor_poses
    assert reader.get_clip_feature(clip_id, "vehicle_dimensions").wheelbase == 2.9


def test_the_calibration_on_disk_projects_road_points_onto_their_pixels(small_world):
    reader = open_dataset(small_world)
    plan = plan_clips(2, 5, 1)[0]
    scene = Scene(plan.seed, plan.attributes, slower_car=True, width=96, height=54, seconds=1.0)
    model = reader.get_clip_feature(plan.clip_id, "camera_intrinsics").camera_models[CAMERAS[0]]
    pose = reader.get_clip_feature(plan.clip_id, "sensor_extrinsics").sensor_poses[CAMERAS[0]]
    s, x, y, heading = scene.drive.at(0.5)
    places = s + np.arange(5.0, 40.0)
    wx, wy, _ = scene.road.pose(places, 0.0)
    c, n = np.cos(heading), np.sin(heading)
    rig = np.stack([(wx - x) * c + (wy - y) * n, (wy - y) * c - (wx - x) * n, 0 * wx], -1)
    ours, inside = scene.project_road(CAMERAS[0], 0.5, places, 0 * places)
    assert inside.sum() > 20
    np.testing.assert_allclose(model.ray2pixel(pose.inv().apply(rig))[inside], ours[inside], atol=1e-6)
    back = model.ray2pixel(model.pixel2ray(ours[inside]))
    np.testing.assert_allclose(back, ours[inside], atol=0.05)  # the inverse polynomial is a fit


def test_ego_motion_says_the_speed_the_car_has():
    table = egomotion_table(Scene(2, Attributes("single", "white", "dashed"), slower_car=True).drive)
    seconds = table.timestamp.to_numpy() / 1e6
    moved = np.hypot(np.gradient(table.x, seconds), np.gradient(table.y, seconds))
    np.testing.assert_allclose(moved, np.hypot(table.vx, table.vy), atol=0.05)
    start = table[table.timestamp == 0].iloc[0]
    assert abs(start.vy) < 1e-9 < start.vx


def test_the_same_request_gives_the_same_bytes(small_world, tmp_path):
    write_dataset(tmp_path / "again", plan_clips(2, 5, 1), CAMERAS, **SMALL)
    files = sorted(p.relative_to(small_world) for p in small_world.rglob("*") if p.is_file())
    assert len(files) == 12
    for file in files:
        assert sha256_file(small_world / file) == sha256_file(tmp_path / "again" / file), file


def test_the_truth_beside_the_dataset_says_markings_and_path(small_world):
    plan = plan_clips(2, 5, 1)[0]
    truth = json.loads((small_world / "truth" / f"{plan.clip_id}.json").read_text())
    assert truth["attributes"] == {"count": "single", "color": "white", "pattern": "solid"}
    assert (truth["slower_car"], truth["may_cross"]) == (True, False)


def test_truth_path_starts_where_the_car_is_at_t0():
    truth = Scene(5, Attributes("single", "white", "solid")).truth()
    path = np.array(truth["path_xy"])
    assert path.shape == (64, 2)
    assert path[0, 0] == pytest.approx(0.1 * truth["speed_at_t0"], abs=0.02)


def test_clip_ids_come_from_the_seed_and_do_not_repeat():
    ids = [plan.clip_id for plan in plan_clips(50, 1, 0)]
    assert len(set(ids)) == 50
    assert ids[:3] == [plan.clip_id for plan in plan_clips(3, 1, 0)]
    assert not set(ids) & {plan.clip_id for plan in plan_clips(50, 2, 0)}


def test_a_foreign_folder_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="not a synthetic world"):
        write_dataset(tmp_path, plan_clips(1, 0, 0), CAMERAS, **SMALL)
    assert (tmp_path / "thesis.txt").exists()


@pytest.mark.parametrize(
    "call",
    [
        lambda: parse_slug("white-solid"),
        lambda: parse_slug("single-blue-solid"),
        lambda: plan_clips(2, 0, 3),
        lambda: plan_clips(0, 0, 0),
    ],
)
def test_bad_requests_are_named(call):
    with pytest.raises(InputError):
        call()
