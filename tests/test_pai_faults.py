"""Data sets as they are found on disks: old releases, tables out of order, cameras and rows that are not there."""

import io
import shutil
import socket
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from relane.drivers import alpamayo
from relane.errors import InputError, UndrivableError
from relane.pai import Clip, open_dataset
from tests.alpamayo import small_pai
from tests.alpamayo.small_pai import CLIP, FRONT

SIGHT = alpamayo.sight({"cameras": 4})
T0 = 5_100_000
EGO = "labels/egomotion/egomotion.chunk_0000.zip"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pai.write(tmp_path_factory.mktemp("pai") / "dataset", video_seconds=5.5)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """A data set of the test's own."""
    return Path(shutil.copytree(root, tmp_path / "pai"))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection fails the test, and nothing forbids the hub to ask for one."""

    def refuse(*args: object) -> None:
        pytest.fail(f"a connection was asked for: {args[1:]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")


def before_26_03(folder: Path) -> Path:
    """Make a data set one of a release that had `sensor_presence` alone, with columns that are no truth values."""
    presence = pd.read_parquet(folder / "metadata/feature_presence.parquet")
    cameras = [name for name in presence.columns if name.startswith("camera_") and name.endswith("fov")]
    presence[cameras].assign(radar_config="none").to_parquet(folder / "metadata/sensor_presence.parquet")
    (folder / "metadata/feature_presence.parquet").unlink()
    return folder


def as_hub_cache(folder: Path, cache: Path, refs: bool = True) -> Path:
    """A hub client's cache that holds a data set."""
    base, commit = cache / "datasets--nvidia--PhysicalAI-Autonomous-Vehicles", "a" * 40
    if refs:
        (base / "refs").mkdir(parents=True)
        (base / "refs/main").write_text(commit)
    shutil.copytree(folder, base / "snapshots" / commit)
    return cache


@pytest.mark.parametrize("layout", ["folder", "hub cache", "hub cache of one revision"])
@pytest.mark.parametrize("old", [False, True])
def test_a_local_data_set_of_any_release_asks_no_network(copy, tmp_path, no_network, layout: str, old: bool) -> None:
    folder = before_26_03(copy) if old else copy
    if layout != "folder":
        folder = as_hub_cache(folder, tmp_path / "cache", refs=layout == "hub cache")
    clip = Clip(open_dataset(folder), CLIP)
    assert clip.history(T0, SIGHT.history)[0][0, 0] == pytest.approx(-15.45, abs=1e-3)
    assert len(clip.frames(FRONT, [T0]).images) == 1
    assert clip.camera(FRONT).calibrated


@pytest.mark.parametrize("old", [False, True])
def test_what_the_default_hub_cache_holds_is_read_offline_by_its_address(
    copy, tmp_path, monkeypatch, old: bool
) -> None:
    cache = as_hub_cache(before_26_03(copy) if old else copy, tmp_path / "cache")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was asked for"))
    clip = Clip(open_dataset("hf://nvidia/PhysicalAI-Autonomous-Vehicles@main"), CLIP)
    assert clip.history(T0, SIGHT.history)[0][0, 0] == pytest.approx(-15.45, abs=1e-3)


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["metadata/feature_presence.parquet"], "feature_presence.parquet or metadata/sensor_presence.parquet"),
        (["metadata/data_collection.parquet"], "no metadata/data_collection.parquet"),
        (["clip_index.parquet"], "no clip_index.parquet"),
    ],
)
def test_an_incomplete_folder_is_refused_by_name_and_asks_no_network(copy, no_network, missing, words: str) -> None:
    for name in missing:
        (copy / name).unlink()
    with pytest.raises(InputError, match=words) as caught:
        open_dataset(copy)
    assert str(copy) in str(caught.value)


def test_a_file_that_was_not_fetched_is_not_asked_of_the_hub(copy, no_network) -> None:
    (copy / f"camera/{FRONT}/{FRONT}.chunk_0000.zip").unlink()
    with pytest.raises(InputError, match=rf"clip {CLIP}: no readable {FRONT} in .*chunk_0000.zip.*fetch"):
        Clip(open_dataset(copy), CLIP).frames(FRONT, [T0])


def with_ego(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """Write the clip's ego motion again, changed."""
    with zipfile.ZipFile(folder / EGO) as archive:
        (name,) = archive.namelist()
        table = pd.read_parquet(io.BytesIO(archive.read(name)))
    buffer = io.BytesIO()
    change(table).to_parquet(buffer)
    with zipfile.ZipFile(folder / EGO, "w") as archive:
        archive.writestr(name, buffer.getvalue())
    return folder


def without(first_us: int, last_us: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda table: table[(table.timestamp <= first_us) | (table.timestamp >= last_us)]


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table.sample(frac=1, random_state=3),
        lambda table: table[::-1],
        lambda table: pd.concat([table, table.iloc[600:640]]),
        lambda table: table.set_index("timestamp", drop=False).rename_axis("t"),
        without(5_000_000, 5_050_000),
    ],
    ids=["shuffled", "backwards", "some rows twice", "indexed", "four rows dropped"],
)
def test_rows_in_another_order_or_twice_make_the_same_poses(root, copy, change) -> None:
    want = Clip(open_dataset(root), CLIP)
    got = Clip(open_dataset(with_ego(copy, change)), CLIP)
    for name in ("history", "future"):
        for expected, found in zip(
            *(getattr(clip, name)(T0, getattr(SIGHT, name)) for clip in (want, got)), strict=True
        ):
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_gap_in_what_the_model_reads_is_refused_with_its_interval(copy) -> None:
    clip = Clip(open_dataset(with_ego(copy, without(4_900_000, 5_400_000))), CLIP)
    for part, times in ((clip.history, SIGHT.history), (clip.future, SIGHT.future)):
        with pytest.raises(UndrivableError) as caught:
            part(T0, times)
        for word in (CLIP, EGO, "from 4900000 to 5400000 us", "0.50 s", f"t0_us {T0}"):
            assert word in str(caught.value)
    clip.history(4_000_000, SIGHT.history)  # the gap is of no matter where no pose is made of it


def test_a_table_of_ten_rows_a_second_has_no_gaps(copy) -> None:
    clip = Clip(open_dataset(with_ego(copy, lambda table: table[table.timestamp % 100_000 == 0])), CLIP)
    assert clip.history(T0, SIGHT.history)[0][0, 0] == pytest.approx(-15.45, abs=1e-3)


def differing(table: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([table, table.iloc[[610]].assign(x=99.0)])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (differing, "share a time and differ, the first at 5100000 us"),
        (
            lambda table: table.assign(qz=table.qz.where(table.timestamp != 5_100_000)),
            "NaN in 1 rows, in the column qz",
        ),
        (lambda table: table.drop(columns=["qx"]), "lacks the column qx"),
        (lambda table: table.iloc[:1], "1 rows, no motion"),
        (lambda table: table.iloc[:0], "0 rows, no motion"),
        (lambda table: table.assign(qx=0.0, qy=0.0, qz=0.0, qw=0.0), "no poses can be made of it"),
    ],
)
def test_a_table_of_no_use_names_its_file_and_clip(copy, change, words: str) -> None:
    with pytest.raises(UndrivableError, match=words) as caught:
        Clip(open_dataset(with_ego(copy, change)), CLIP).history(T0, SIGHT.history)
    assert CLIP in str(caught.value)
    assert EGO in str(caught.value)


def without_member(folder: Path, archive: str) -> None:
    """Leave the clip's own files out of a chunk that holds another clip's."""
    with zipfile.ZipFile(folder / archive, "w") as chunk:
        chunk.writestr("another.mp4", b"")


def test_a_clip_that_its_chunk_lacks_is_its_own_fault_and_named(copy) -> None:
    without_member(copy, f"camera/{FRONT}/{FRONT}.chunk_0000.zip")
    without_member(copy, EGO)
    clip = Clip(open_dataset(copy), CLIP)
    with pytest.raises(UndrivableError, match=rf"{FRONT}.chunk_0000.zip has no {CLIP}.{FRONT}.timestamps.parquet"):
        clip.frames(FRONT, [T0])
    with pytest.raises(UndrivableError, match=rf"egomotion.chunk_0000.zip has no {CLIP}.egomotion.parquet"):
        clip.history(T0, SIGHT.history)


@pytest.mark.parametrize("change", [lambda times: times[::-1], lambda times: np.r_[times[:9], times[8], times[10:]]])
def test_time_stamps_of_frames_that_do_not_increase_are_refused(copy, change) -> None:
    path = copy / f"camera/{FRONT}/{FRONT}.chunk_0000.zip"
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    stamps = f"{CLIP}.{FRONT}.timestamps.parquet"
    times = pd.read_parquet(io.BytesIO(files[stamps])).timestamp.to_numpy()
    buffer = io.BytesIO()
    pd.DataFrame({"timestamp": change(times)}).to_parquet(buffer)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {stamps: buffer.getvalue()}).items():
            archive.writestr(name, content)
    with pytest.raises(UndrivableError, match=rf"clip {CLIP}, {FRONT} .*do not increase"):
        Clip(open_dataset(copy), CLIP).frames(FRONT, [T0])


@pytest.mark.parametrize(
    "tables", [["clip_index.parquet"], ["clip_index.parquet", "metadata/feature_presence.parquet"]]
)
@pytest.mark.parametrize("old", [False, True])
def test_a_doubled_row_of_the_clip_index_is_named(copy, tables: list[str], old: bool) -> None:
    for name in tables:
        table = pd.read_parquet(copy / name)
        pd.concat([table, table]).to_parquet(copy / name)
    if old:
        before_26_03(copy)
    with pytest.raises(InputError, match=rf"clip_index.parquet: more than one row of clip {CLIP}"):
        open_dataset(copy)


@pytest.mark.parametrize("name", ["camera_intrinsics", "sensor_extrinsics", "vehicle_dimensions"])
def test_a_doubled_row_of_a_calibration_is_named_and_not_drawn_as_a_pinhole(copy, name: str) -> None:
    path = copy / f"calibration/{name}/{name}.chunk_0000.parquet"
    table = pd.read_parquet(path)
    pd.concat([table, table]).to_parquet(path)
    clip = Clip(open_dataset(copy), CLIP)
    with pytest.raises(UndrivableError, match=rf"clip {CLIP}: its rows in .*{name}.* are doubled"):
        clip.vehicle() if name == "vehicle_dimensions" else clip.camera(FRONT)


def test_a_clip_without_rows_in_the_calibration_has_none(copy) -> None:
    for name in ("camera_intrinsics", "sensor_extrinsics", "vehicle_dimensions"):
        path = copy / f"calibration/{name}/{name}.chunk_0000.parquet"
        table = pd.read_parquet(path)
        table.rename(index={CLIP: "another"}).to_parquet(path)
    clip = Clip(open_dataset(copy), CLIP)
    assert clip.camera(FRONT) is None
    assert clip.vehicle() is None
