"""Scenes as a dataset in PhysicalAI-AV's on-disk layout (26.03 and later), which physical-ai-av reads offline.

features.csv, clip_index.parquet, metadata/, calibration/, labels/egomotion/, camera/<name>/: as the real one;
truth/<clip_id>.json beside them is ours. The same arguments give the same bytes: dates in archives are fixed.
"""

import io
import json
import sys
import uuid
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pandas as pd
import scipy.spatial.transform as spt

from relane import noise
from relane.errors import InputError
from relane.io.colour import Colour, apply_tags, from_rgb
from relane.io.files import atomic_folder, write_json
from relane.prompts.lanes import ALLOWED, Attributes
from simworld.world.driver import Drive
from simworld.world.look import rng_of
from simworld.world.rig import CAMERAS, dimensions_table, extrinsics_table, intrinsics_table
from simworld.world.scene import Scene

CLIPS_PER_CHUNK = 100
# The cameras fire a little apart, as real ones do, and a little before the instants that are asked of them: the data
# set's loader takes the frame before an instant, which at 10 frames a second would else be a whole period old.
CAMERA_LEAD_US = 1_500
_CALIBRATION = ("camera_intrinsics", "sensor_extrinsics", "vehicle_dimensions")


@dataclass(frozen=True)
class ClipPlan:
    """One clip to write."""

    clip_id: str
    seed: int
    attributes: Attributes
    slower_car: bool


def parse_slug(text: str) -> Attributes:
    """Attributes of `single-white-solid`. Raises InputError when it is not three words the world can paint."""
    words = text.strip().split("-")
    if len(words) != 3:
        raise InputError(f"markings {text!r}: expected <count>-<color>-<pattern>, such as single-white-solid")
    return Attributes(*words)


def plan_clips(count: int, seed: int, slower_car: int, attributes: Sequence[Attributes] = ()) -> list[ClipPlan]:
    """Clips 0..count-1 of a world, the first `slower_car` of them with a slower car ahead.

    `attributes` are used in turn. Without them, clips with a slower car have a single white solid line (so that an
    edit to dashed has an effect), the others any. Raises InputError on counts that do not fit.
    """
    if count < 1 or not 0 <= slower_car <= count:
        raise InputError(
            f"{count} clips, {slower_car} of them with a slower car: need at least 1, and not more than all"
        )
    plans = []
    for k in range(count):
        own = noise.seed_of("world clip", seed, k)
        clip_id = str(uuid.UUID(int=own << 64 | noise.seed_of("world clip id", seed, k), version=4))
        if attributes:
            wanted = attributes[k % len(attributes)]
        elif k < slower_car:
            wanted = Attributes("single", "white", "solid")
        else:
            rng = rng_of(own, "attributes")
            wanted = Attributes(*(str(rng.choice(ALLOWED[name][:2])) for name in ("count", "color", "pattern")))
        plans.append(ClipPlan(clip_id, own, wanted, k < slower_car))
    return plans


def egomotion_table(drive: Drive) -> pd.DataFrame:
    """PhysicalAI-AV's ego motion: about 100 Hz, anchored in the rig at t = 0 (yaw 0 there), microseconds, metres."""
    _, x0, y0, heading0 = drive.at(0.0)
    c, s = np.cos(heading0), np.sin(heading0)
    turn = np.array([[c, -s], [s, c]])  # row vectors times this: world to anchor
    place = (np.stack([drive.x, drive.y], 1) - (x0, y0)) @ turn
    ahead = np.stack([np.cos(drive.heading), np.sin(drive.heading)], 1) @ turn
    velocity = ahead * drive.speed[:, None]
    left = np.stack([-ahead[:, 1], ahead[:, 0]], 1)
    acceleration = ahead * drive.acceleration[:, None] + left * (drive.speed**2 * drive.curvature)[:, None]
    quaternion = spt.Rotation.from_euler("z", (drive.heading - heading0)[:, None]).as_quat()
    zero = np.zeros_like(drive.t)
    columns = {"timestamp": np.rint(drive.t * 1e6).astype(np.int64)}
    columns |= dict(zip(("qx", "qy", "qz", "qw"), quaternion.T, strict=True))
    columns |= {"x": place[:, 0], "y": place[:, 1], "z": zero}
    columns |= {"vx": velocity[:, 0], "vy": velocity[:, 1], "vz": zero}
    columns |= {"ax": acceleration[:, 0], "ay": acceleration[:, 1], "az": zero, "curvature": drive.curvature}
    return pd.DataFrame(columns)


def frame_times_us(camera: str, seconds: float, fps: float) -> np.ndarray:
    """Microseconds of each frame of a camera, (frames,) int64."""
    count = round(seconds * fps)
    return np.rint(np.arange(count) * 1e6 / fps).astype(np.int64) - CAMERA_LEAD_US * list(CAMERAS).index(camera)


def encode(scene: Scene, camera: str, times_us: np.ndarray, fps: float) -> bytes:
    """One camera's MP4 (H.264): one frame a time, without B-frames, by one thread, so the bytes are always the same."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"crf": "18", "preset": "ultrafast", "g": "30", "bf": "0"}
        apply_tags(stream.codec_context, Colour())
        for t in times_us / 1e6:
            container.mux(stream.encode(from_rgb(scene.image(camera, float(t)), Colour())))
        container.mux(stream.encode())
    return buffer.getvalue()


def features_table(cameras: Sequence[str]) -> pd.DataFrame:
    """PhysicalAI-AV's features.csv for these cameras, ego motion and calibration."""
    rows = []
    for camera in cameras:
        members = {"video": f"{{clip_id}}.{camera}.mp4", "frame_timestamps": f"{{clip_id}}.{camera}.timestamps.parquet"}
        rows.append(("camera", camera, f"camera/{camera}/{camera}.chunk_{{chunk_id:04d}}.zip", json.dumps(members)))
    members = {"egomotion": "{clip_id}.egomotion.parquet"}
    path = "labels/egomotion/egomotion.chunk_{chunk_id:04d}.zip"
    rows.append(("labels", "egomotion", path, json.dumps(members)))
    for name in _CALIBRATION:
        rows.append(("calibration", name, f"calibration/{name}/{name}.chunk_{{chunk_id:04d}}.parquet", None))
    return pd.DataFrame(rows, columns=["directory", "feature", "chunk_path", "clip_files_in_zip"])


def write_dataset(
    folder: str | Path,
    plans: Sequence[ClipPlan],
    cameras: Sequence[str],
    *,
    width: int = 320,
    height: int = 180,
    fps: float = 30.0,
    seconds: float = 14.0,
    bonnet: bool = False,
) -> None:
    """Write the dataset; the folder appears whole or not at all.

    Raises InputError when the folder exists and is not a world written before (which is replaced), and on sizes that
    cannot be encoded.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "truth").is_dir():
        raise InputError(f"{folder}: this folder holds something that is not a synthetic world; name another one")
    if not 1 <= fps <= 120 or round(seconds * fps) < 2:
        raise InputError(f"{seconds:g} s at {fps:g} frames a second: needs 1 to 120 a second and at least two frames")
    size = {"width": width, "height": height, "seconds": seconds, "bonnet": bonnet}
    scenes = [Scene(p.seed, p.attributes, slower_car=p.slower_car, **size) for p in plans]
    with atomic_folder(folder) as root:
        _write_tables(root, plans, cameras, width, height)
        for plan, scene in zip(plans, scenes, strict=True):
            write_json(root / "truth" / f"{plan.clip_id}.json", {"clip_id": plan.clip_id} | scene.truth())
        for chunk, start in enumerate(range(0, len(plans), CLIPS_PER_CHUNK)):
            part = slice(start, start + CLIPS_PER_CHUNK)
            _write_chunk(root, chunk, plans[part], scenes[part], cameras, fps)


def _write_tables(root: Path, plans: Sequence[ClipPlan], cameras: Sequence[str], width: int, height: int) -> None:
    features = features_table(cameras)
    features.to_csv(root / "features.csv", index=False)
    ids = [plan.clip_id for plan in plans]
    index = pd.Index(ids, name="clip_id")
    chunks = np.arange(len(ids)) // CLIPS_PER_CHUNK
    table = pd.DataFrame({"clip_is_valid": True, "chunk": chunks, "split": "train"}, index=index)
    table.to_parquet(root / "clip_index.parquet")
    (root / "metadata").mkdir()
    present = pd.DataFrame(dict.fromkeys(features.feature, True), index=index)
    present.to_parquet(root / "metadata/feature_presence.parquet")
    about = {"country": "Nowhere", "month": 1, "hour_of_day": 12, "platform_class": "synthetic", "radar_config": "none"}
    pd.DataFrame(about, index=index).to_parquet(root / "metadata/data_collection.parquet")
    for chunk in range(int(chunks[-1]) + 1):
        of_chunk = ids[chunk * CLIPS_PER_CHUNK : (chunk + 1) * CLIPS_PER_CHUNK]
        tables = (intrinsics_table(of_chunk, width, height), extrinsics_table(of_chunk), dimensions_table(of_chunk))
        for name, table in zip(_CALIBRATION, tables, strict=True):
            path = root / "calibration" / name / f"{name}.chunk_{chunk:04d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table.to_parquet(path)


def _write_chunk(
    root: Path, chunk: int, plans: Sequence[ClipPlan], scenes: Sequence[Scene], cameras: Sequence[str], fps: float
) -> None:
    path = root / "labels/egomotion" / f"egomotion.chunk_{chunk:04d}.zip"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for plan, scene in zip(plans, scenes, strict=True):
            _add(archive, f"{plan.clip_id}.egomotion.parquet", _parquet(egomotion_table(scene.drive)))
    for camera in cameras:
        path = root / "camera" / camera / f"{camera}.chunk_{chunk:04d}.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for plan, scene in zip(plans, scenes, strict=True):
                times = frame_times_us(camera, scene.seconds, fps)
                _add(archive, f"{plan.clip_id}.{camera}.mp4", encode(scene, camera, times, fps))
                stamps = pd.DataFrame({"timestamp": times})
                _add(archive, f"{plan.clip_id}.{camera}.timestamps.parquet", _parquet(stamps))
                print(f"{plan.clip_id}.{camera}: {len(times)} frames", file=sys.stderr)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content)
