"""A folder of MP4s with ego motion: the drive of tests/alpamayo/small_pai.py, as somebody would hand in their own."""

import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from scipy.spatial.transform import Rotation

from relane.data.camera import yaw_mount
from relane.drivers.alpamayo import READ
from relane.names import CAMERAS
from tests.alpamayo import small_pai

CLIP = "drive1"
FRONT = small_pai.FRONT
LENS = {"width": small_pai.WIDTH, "height": small_pai.HEIGHT, "cx": 31.5, "cy": 17.5}
TURN = dict(zip(("qx", "qy", "qz", "qw"), Rotation.from_matrix(yaw_mount(0)).as_quat().tolist(), strict=True))
MOUNT = {"x": 1.7, "y": 0.0, "z": 1.4, **TURN}
PINHOLE = {**LENS, "fx": 18.0, "fy": 18.0, **MOUNT}
FISHEYE = {**LENS, "polynomial": list(small_pai.FORWARD), **MOUNT}
VEHICLE = {"length": 4.9, "width": 1.9, "height": 1.6, "ahead": 1.4}


def ego_table(speed: float = 10.3) -> pd.DataFrame:
    """Straight along x at 100 Hz, from -1 to 14 s."""
    table = small_pai.ego_motion(speed, 14.0).rename(columns={"timestamp": "t_us"})
    return table[["t_us", "x", "y", "z", "qw", "qx", "qy", "qz"]]


def write(
    root: Path,
    *,
    clip: str = CLIP,
    cameras: Iterable[str] = READ[4],
    seconds: float = 6.0,
    fps: int = 30,
    table: pd.DataFrame | None = None,
    calibration: dict | None = None,
) -> Path:
    """Write the folder: cameras of numbered frames, each 1.5 ms after the one before by its table of times."""
    root.mkdir(parents=True, exist_ok=True)
    video, count = small_pai.mp4(fps, round(seconds * fps)), round(seconds * fps)
    for camera in cameras:
        (root / f"{clip}.{camera}.mp4").write_bytes(video)
        late = 1_500 * CAMERAS.index(camera)
        times = pd.DataFrame({"t_us": [round(number * 1e6 / fps) + late for number in range(count)]})
        times.to_csv(root / f"{clip}.{camera}.times.csv", index=False)
    (ego_table() if table is None else table).to_csv(root / f"{clip}.ego.csv", index=False)
    calibration = {"cameras": {FRONT: PINHOLE}, "vehicle": VEHICLE} if calibration is None else calibration
    (root / f"{clip}.cameras.json").write_text(json.dumps(calibration))
    return root
