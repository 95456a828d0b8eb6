"""The table of regions measures what it says: the ideal edit is without fault, and a known fault has its size."""

from pathlib import Path

import numpy as np
import pytest

from relane.io.masks import grow
from relane.prompts.lanes import Attributes
from simworld.benchmarks import region_table
from simworld.world.rig import FRONT_WIDE
from simworld.world.scene import Scene

WANTED = Attributes("double", "yellow", "solid")


@pytest.fixture(scope="module")
def scene():
    """Three frames of a drive, its ideal edit, and a mask of the whole road."""
    drawn = Scene(3, Attributes("single", "white", "dashed"))
    times = [2.0, 2.1, 2.2]
    true = [drawn.render(FRONT_WIDE, t) for t in times]
    ideal = [drawn.repainted(WANTED).render(FRONT_WIDE, t) for t in times]
    frames = np.stack([frame.image for frame in true])
    masks = np.stack([grow(frame.road_mask, 5) for frame in true])
    return region_table.Drive("a", drawn, times, true, Path(), frames), ideal, masks


def test_the_ideal_edit_is_without_fault(scene):
    drive, ideal, masks = scene
    found = region_table.measure(drive, ideal, WANTED, masks, np.stack([frame.image for frame in ideal]))
    assert found["all"] == found["pattern"] == [True] * 3
    assert max(found["tone"] + found["road tone"]) < 0.5
    assert found["flicker"] == [1.0, 1.0]
    assert found["dB"] == [100.0] * 3
    assert "dashed" not in found


def test_the_source_shows_other_lines_and_nothing_else_wrong(scene):
    drive, ideal, masks = scene
    found = region_table.measure(drive, ideal, WANTED, masks, drive.frames)
    assert found["count"] == found["color"] == found["pattern"] == [False] * 3
    assert max(found["tone"] + found["seam"]) == 0
    assert max(found["dB"]) < 100


def test_a_darker_road_has_its_tone_and_its_seam(scene):
    drive, ideal, masks = scene
    dark = np.where(masks[..., None], drive.frames.clip(10) - 10, drive.frames)
    found = region_table.measure(drive, ideal, WANTED, masks, dark)
    assert found["tone"] == pytest.approx([10] * 3, abs=0.5)
    assert found["seam"] == pytest.approx([10] * 3, abs=0.5)
    # Half of the mask painted, the other left: half the tone on the whole road.
    half = masks & (np.arange(masks.shape[2]) < drive.scene.width // 2)
    dark = np.where(half[..., None], drive.frames.clip(10) - 10, drive.frames)
    found = region_table.measure(drive, ideal, WANTED, half, dark)
    assert found["tone"] == pytest.approx([10] * 3, abs=0.5)
    assert 2 < min(found["road tone"]) < max(found["road tone"]) < 8
