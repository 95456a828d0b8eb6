"""docs/extending.md is true: what its code adds works, from the one file that it says."""

import re
from pathlib import Path

import numpy as np
import pytest

from relane import drivers
from relane.evaluation import metrics
from tests.rollouts import arguments, roll, write_clip

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()


def code_of(heading: str) -> str:
    """The first block of code under a heading of the page."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]


def test_a_driver_is_one_module_and_a_name(root, tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees one frame and plans 4 s, unlike the first driver; records, arrays and figures come by themselves."""
    import draw_overlay
    import drive

    (tmp_path / "straight_on.py").write_text(code_of("A driving model"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(drivers.DRIVERS, "straight", "straight_on")
    write_clip(tmp_path)
    line = arguments(root, tmp_path, tiny, driver="straight", checkpoint=None, editor="videopainter")
    record, data = roll(drive.load(drive.parser().parse_args(line)), line)
    assert (record["driver"], record["editor"], record["success"]) == ("straight", "videopainter", True)
    assert record["cameras"] == ["camera_front_wide_120fov"]
    assert record["reasoning_traces"] == ["straight on"] * 3
    assert list(record["by_horizon"]) == ["1", "3"]
    assert data["pred_xyz"].shape == (3, 40, 3)
    # The recorded drive has 10.3 m/s and does not turn.
    np.testing.assert_allclose(data["pred_xyz"][0, :, 0], 1.03 * np.arange(1, 41), atol=1e-2)
    assert record["ade_mean"] < 0.1
    files = {"inference": "inference.json", "vis-data": "vis_data.npz", "output": "overlay.mp4"}
    draw_overlay.main([f"--{name}={tmp_path / file}" for name, file in files.items()])
    assert (tmp_path / "overlay.mp4").stat().st_size


def test_a_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    from relane.evaluation.quality import Comparison, Networks, titles

    metric = eval(code_of("A metric of pictures"), {"PixelMetric": metrics.PixelMetric})
    monkeypatch.setitem(metrics.PIXEL_METRICS, "largest", metric)
    source, mask = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32), bool)
    mask[8:24, 8:24] = True
    edited = source.copy()
    edited[10, 10] = 255
    comparison = Comparison(Networks(), "")
    comparison.add(source, edited, mask)
    result = comparison.result()
    assert {region: result[region]["largest"] for region in ("full_frame", "masked_region")} == {
        "full_frame": 1.0,
        "masked_region": 1.0,
    }
    assert titles()["largest"] == ["Largest error", "{:.3f}"]
