"""What a source holds: told by the sheet, or by a look at what lies on this machine; never by its time or spelling."""

import os
import zipfile
from pathlib import Path

import pytest

from relane.data import origin
from relane.data.physical_ai_av import index
from relane.data.sheet import Clip
from relane.io import content
from relane.names import CAMERAS
from tests import foreign_videos

CAMERA = foreign_videos.CAMERA


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def look(*clips: Clip) -> list[str]:
    """The contents of some clips' sources, looked at anew as another process would."""
    content.zip_entries.cache_clear()
    return list(origin.source_contents(clips).values())


def test_a_local_file_has_one_spelling(tmp_path):
    spellings = ["a/b.mp4", "./a//b.mp4", f"{tmp_path}/a/b.mp4", f"file://{tmp_path}/a/b.mp4", "file://a/b.mp4"]
    assert {origin.local_path(uri) for uri in spellings} == {"a/b.mp4"}
    assert origin.local_path("/elsewhere/b.mp4") == "/elsewhere/b.mp4"
    assert origin.local_path("link/../b.mp4") == "link/../b.mp4"  # behind a link that is another file
    assert [origin.local_path(uri) for uri in ("gs://bucket/b.mp4", "hf://a/b@main", "")] == ["", "", ""]


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_video_is_known_by_its_bytes(tmp_path, scheme):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"one")
    clip = Clip("a", "front", f"{scheme}{path}")
    before = look(clip)
    os.utime(path, (1, 1))
    assert look(clip) == before
    path.write_bytes(b"two")
    assert look(clip) != before
    path.unlink()
    assert look(clip) == ["absent"]


def test_the_sheets_checksum_is_taken_without_a_look(tmp_path):
    assert look(Clip("a", "front", f"{tmp_path}/none.mp4", checksum="md5:12")) == ["md5:12"]
    assert look(Clip("a", "front", "gs://bucket/a.mp4", checksum="generation:7")) == ["generation:7"]
    assert look(Clip("a", "front", "gs://bucket/a.mp4")) == [""]
    assert look(Clip("a", CAMERA, "", "hf://x/y@main")) == [""]


def test_of_a_chunk_only_the_clips_own_files_count(tmp_path):
    root = foreign_videos.dataset(tmp_path / "pai", ["a", "b"], frames=3)
    chunk = next(root.rglob("*.zip"))
    clips = [Clip(name, CAMERA, str(chunk), str(root)) for name in "ab"]
    before = look(*clips)
    os.utime(chunk, (1, 1))
    assert look(*clips) == before
    with zipfile.ZipFile(chunk) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    members[f"b.{CAMERA}.timestamps.parquet"] += b"\0"
    with zipfile.ZipFile(chunk, "w", zipfile.ZIP_DEFLATED) as archive:  # packed otherwise: the same files
        for name, data in reversed(members.items()):
            archive.writestr(name, data)
    after = look(*clips)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_chunk_that_cannot_be_read_stops_no_planning(tmp_path):
    (tmp_path / "c.zip").write_bytes(b"no zip")
    broken = look(Clip("a", CAMERA, "c.zip"))
    assert broken != look(Clip("a", CAMERA, "none.zip"))


def test_a_rollout_depends_on_the_cameras_that_the_driver_reads(tmp_path):
    root = foreign_videos.dataset(tmp_path / "pai", ["a"], frames=3)
    text = (root / "features.csv").read_text()
    rear = text.splitlines()[1].replace(CAMERA, "camera_rear_tele_30fov")
    (root / "features.csv").write_text(f"{text}{rear}\n")
    (root / "camera" / "camera_rear_tele_30fov").mkdir()
    chunk = root / "camera" / "camera_rear_tele_30fov" / "camera_rear_tele_30fov.chunk_0000.zip"

    def driven() -> list[str]:
        for cached in (content.zip_entries, index._features, index._chunks, index._table):
            cached.cache_clear()
        return [index.driven_content(str(root), "a", cameras) for cameras in (CAMERAS[:3], CAMERAS)]

    before = driven()
    with zipfile.ZipFile(chunk, "w") as archive:
        archive.writestr("a.camera_rear_tele_30fov.mp4", b"behind")
    after = driven()
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_a_hub_revision_says_what_it_holds(tmp_path):
    assert index.driven_content("hf://x/y@0123", "a", CAMERAS) == ""
    refs = Path("cache/datasets--x--y/refs")
    refs.mkdir(parents=True)
    (refs / "main").write_text("0123abc")
    assert index.driven_content("cache", "a", CAMERAS) == "0123abc"
