"""One small world on disk for the tests of its layout."""

from pathlib import Path

import pytest

from simworld.world.dataset import plan_clips, write_dataset

SMALL = {"width": 96, "height": 54, "fps": 10.0, "seconds": 1.0}
CAMERAS = ("camera_front_wide_120fov", "camera_front_tele_30fov")


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of one second, two cameras."""
    folder = tmp_path_factory.mktemp("world") / "world"
    write_dataset(folder, plan_clips(2, 5, 1), CAMERAS, **SMALL)
    return folder
