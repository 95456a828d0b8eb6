"""A small PhysicalAI-AV folder for tests: straight drive at a known speed, frames that show their own number."""

import io
import json
import zipfile
from pathlib import Path

import av
import numpy as np
import pandas as pd
from scipy.spatial.transform import Rotation

from relane.data.camera import CAMERA_INDEX, yaw_mount

CLIP = "00000000-1111-2222-3333-444444444444"
FRONT = "camera_front_wide_120fov"
WIDTH, HEIGHT = 64, 36
FORWARD = (0.0, 30.0, 0.0, -0.9, 0.0)  # pixels per rad^i


def bits(number: int) -> np.ndarray:
    """A picture (36, 64, 3) of eight bars, white for each set bit of the number: survives H.264."""
    values = [(number >> bit) & 1 for bit in range(8)]
    return np.repeat(np.array(values, np.uint8) * 220 + 16, WIDTH // 8)[None, :, None].repeat(HEIGHT, 0).repeat(3, 2)


def number_of(image: np.ndarray) -> int:
    """The number that a picture of `bits` shows."""
    bars = image[..., 0].reshape(HEIGHT, 8, WIDTH // 8).mean(axis=(0, 2))
    return int(sum(int(value > 128) << bit for bit, value in enumerate(bars)))


def mp4(fps: int, count: int) -> bytes:
    """H.264 of `count` numbered frames."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"crf": "20", "preset": "ultrafast", "g": "30"}
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(bits(number), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def ego_motion(speed: float, seconds: float) -> pd.DataFrame:
    """100 Hz straight along x from -1 s."""
    stamps = np.arange(-1_000_000, int(seconds * 1e6), 10_000, dtype=np.int64)
    columns = ("qx", "qy", "qz", "y", "z", "vy", "vz", "ax", "ay", "az", "curvature")
    zeros = dict.fromkeys(columns, 0.0)
    return pd.DataFrame({"timestamp": stamps, **zeros, "qw": 1.0, "x": speed * stamps / 1e6, "vx": speed})


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def _zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def _features() -> pd.DataFrame:
    rows = [
        ("camera", name, f"camera/{name}/{name}.chunk_{{chunk_id:04d}}.zip",
         {"video": f"{{clip_id}}.{name}.mp4", "frame_timestamps": f"{{clip_id}}.{name}.timestamps.parquet"})
        for name in CAMERA_INDEX
    ]  # fmt: skip
    rows.append(("labels", "egomotion", "labels/egomotion/egomotion.chunk_{chunk_id:04d}.zip",
                 {"egomotion": "{clip_id}.egomotion.parquet"}))  # fmt: skip
    rows = [(*row[:3], json.dumps(row[3])) for row in rows]
    for name in ("camera_intrinsics", "sensor_extrinsics", "vehicle_dimensions"):
        rows.append(("calibration", name, f"calibration/{name}/{name}.chunk_{{chunk_id:04d}}.parquet", None))
    return pd.DataFrame(rows, columns=["directory", "feature", "chunk_path", "clip_files_in_zip"])


def _calibration() -> dict[str, pd.DataFrame]:
    lens = {f"fw_poly_{i}": value for i, value in enumerate(FORWARD)}
    lens |= {f"bw_poly_{i}": value for i, value in enumerate((0.0, 1 / 30, 0.0, 0.0, 0.0))}
    size = {"width": WIDTH, "height": HEIGHT, "cx": (WIDTH - 1) / 2, "cy": (HEIGHT - 1) / 2}
    intrinsics = [{"clip_id": CLIP, "camera_name": name, **size, **lens} for name in CAMERA_INDEX]
    turn = dict(zip(("qx", "qy", "qz", "qw"), Rotation.from_matrix(yaw_mount(0)).as_quat(), strict=True))
    place = {"x": 1.7, "y": 0.0, "z": 1.4}
    extrinsics = [{"clip_id": CLIP, "sensor_name": name, **turn, **place} for name in CAMERA_INDEX]
    body = {"length": 4.9, "width": 1.9, "height": 1.6, "rear_axle_to_bbox_center": 1.4}
    dimensions = [{"clip_id": CLIP, **body, "wheelbase": 2.9, "track_width": 1.6}]
    return {
        "camera_intrinsics": pd.DataFrame(intrinsics).set_index(["clip_id", "camera_name"]),
        "sensor_extrinsics": pd.DataFrame(extrinsics).set_index(["clip_id", "sensor_name"]),
        "vehicle_dimensions": pd.DataFrame(dimensions).set_index("clip_id"),
    }


def write(root: Path, *, speed: float = 10.3, fps: int = 30, video_seconds: float = 6.0, ego: pd.DataFrame = None):
    """Write the folder: seven cameras of `video_seconds`, each 1.5 ms after the one before, ego motion to 14 s."""
    features, index = _features(), pd.Index([CLIP], name="clip_id")
    root.mkdir(parents=True)
    features.to_csv(root / "features.csv", index=False)
    (root / "metadata").mkdir()
    clips = pd.DataFrame({"clip_is_valid": [True], "chunk": [0], "split": ["train"]}, index=index)
    clips.to_parquet(root / "clip_index.parquet")
    presence = pd.DataFrame({name: [True] for name in features["feature"]}, index=index)
    presence.to_parquet(root / "metadata/feature_presence.parquet")
    pd.DataFrame({"country": ["Nowhere"]}, index=index).to_parquet(root / "metadata/data_collection.parquet")
    for name, frame in _calibration().items():
        (root / "calibration" / name).mkdir(parents=True)
        frame.to_parquet(root / f"calibration/{name}/{name}.chunk_0000.parquet")
    ego = ego_motion(speed, 14.0) if ego is None else ego
    _zip(root / "labels/egomotion/egomotion.chunk_0000.zip", {f"{CLIP}.egomotion.parquet": _parquet(ego)})
    count = round(video_seconds * fps)
    video = mp4(fps, count)
    for number, name in enumerate(CAMERA_INDEX):
        stamps = np.round(np.arange(count) * 1e6 / fps).astype(np.int64) + 1_500 * number
        _zip(
            root / f"camera/{name}/{name}.chunk_0000.zip",
            {
                f"{CLIP}.{name}.mp4": video,
                f"{CLIP}.{name}.timestamps.parquet": _parquet(pd.DataFrame({"timestamp": stamps})),
            },
        )
    return root
