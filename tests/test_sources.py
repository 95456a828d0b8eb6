"""Sources of clips become rows of the sheet: names, order, checksums, ranges, and what is refused."""

import hashlib
import subprocess
import sys
import zlib
from pathlib import Path

import fsspec
import pytest
import resolve_clips
from hypothesis import given
from hypothesis import strategies as st

from relane.data import sheet, sources
from relane.errors import InputError
from tests import foreign_videos
from tests.foreign_videos import CAMERA


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


@pytest.fixture
def bucket():
    """A bucket in fsspec's in-memory store: `memory://<name>/...`."""
    fs = fsspec.filesystem("memory")
    # The store is one for the whole process: other tests may have left objects in it.
    for name in fs.ls("/", detail=False):
        fs.rm(name, recursive=True)

    def put(*names: str):
        for name in names:
            fs.pipe_file("/" + name, name.encode())

    yield put
    fs.rm("/", recursive=True)


def test_a_local_video_is_named_after_its_file_and_hashed(tmp_path: Path):
    video = touch(tmp_path, "My drive (2).MP4") / "My drive (2).MP4"
    (clip,) = sources.resolve(str(video))
    assert clip.video == "My_drive_2_.front"
    assert clip.uri == str(video)
    assert clip.size == len("My drive (2).MP4")
    assert clip.checksum == "sha256:" + hashlib.sha256(b"My drive (2).MP4").hexdigest()
    assert not clip.drivable


def test_a_camera_of_the_data_set_in_the_name_is_the_camera():
    assert sources.named(f"3d4f.{CAMERA}.mp4") == ("3d4f", CAMERA)
    assert sources.named("2024.05.01.mp4") == ("2024.05.01", "front")


@given(st.text(alphabet=st.characters(exclude_characters="/\x00", exclude_categories=("Cs",)), max_size=200))
def test_any_file_name_becomes_an_id_that_the_sheet_accepts(name: str):
    clip_id, camera = sources.named(name + ".mp4")
    assert sheet.fault(sheet.Clip(clip_id, camera, "x.mp4")) is None


def test_a_folder_gives_its_videos_below_in_order_and_no_hidden_ones(tmp_path: Path):
    touch(tmp_path, "b.mp4", "a/z.mov", ".partial.1.c.mp4", "a/.trash/d.mp4", "notes.txt")
    assert [clip.clip_id for clip in sources.resolve_local(str(tmp_path))] == ["z", "b"]


def test_two_files_that_become_one_video_are_refused_by_both_names(tmp_path: Path):
    touch(tmp_path, "x/a b.mp4", "y/a_b.mp4")
    with pytest.raises(InputError) as caught:
        sources.resolve(str(tmp_path))
    assert "x/a b.mp4" in str(caught.value)
    assert "y/a_b.mp4" in str(caught.value)


@pytest.mark.parametrize("name", ["notes.txt", "none.mp4", "empty"])
def test_what_is_no_video_is_refused(tmp_path: Path, name: str):
    touch(tmp_path, "notes.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=name):
        sources.resolve(str(tmp_path / name))


def test_planning_never_touches_the_network():
    for source in ("gs://bucket/a.mp4", "hf://nvidia/x", "chunks://bucket/prefix"):
        with pytest.raises(InputError, match=r"resolve_clips\.py"):
            sources.resolve_local(source)


def test_resolving_a_local_video_imports_nothing_but_the_standard_library(tmp_path: Path):
    touch(tmp_path, "a.mp4")
    code = (
        "import sys; from relane.data.sources import resolve_local; resolve_local(sys.argv[1]);"
        "print([m for m in ('numpy', 'pandas', 'pyarrow', 'fsspec', 'av', 'torch') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    scripts = Path(sources.__file__).parents[2]
    assert subprocess.run(command, capture_output=True, text=True, check=True, cwd=scripts).stdout.strip() == "[]"


# Remote


def test_a_remote_object_and_a_remote_prefix(bucket):
    bucket("b/day_1/x.mp4", "b/day_2.mp4", "b/night.mp4", "b/day_1/x.txt")
    assert [clip.uri for clip in sources.resolve("memory://b/night.mp4")] == ["memory:///b/night.mp4"]
    assert [clip.clip_id for clip in sources.resolve("memory://b/day_1")] == ["x"]
    assert [clip.clip_id for clip in sources.resolve("memory://b")] == ["x", "day_2", "night"]
    assert [clip.clip_id for clip in sources.resolve("memory://b/da")] == ["x", "day_2"]
    with pytest.raises(InputError, match="no videos"):
        sources.resolve("memory://b/evening")


def test_an_address_of_no_known_kind_is_refused():
    with pytest.raises(InputError, match="nosuch://x"):
        sources.resolve("nosuch://x/y.mp4")


@pytest.mark.parametrize(
    ("info", "checksum"),
    [
        ({"md5Hash": "1B2M2Y8AsgTpgAmY7PhCfg==", "generation": "7"}, "md5:d41d8cd98f00b204e9800998ecf8427e"),
        ({"generation": "1700000000000000"}, "generation:1700000000000000"),
        ({"ETag": '"abc-2"'}, "etag:abc-2"),
        ({}, ""),
    ],
)
def test_the_checksum_that_can_be_checked_against_the_bytes_comes_first(info: dict, checksum: str):
    assert sources.checksum_of(info) == checksum


# Chunk folders


@pytest.fixture
def chunks(tmp_path: Path) -> Path:
    return touch(tmp_path, *[f"chunk_{n:04d}/{n}_{name}.mp4" for n in (0, 1, 2, 10) for name in "cab"])


def ids(source: str) -> list[str]:
    return [clip.clip_id for clip in sources.resolve(source)]


def test_the_end_of_a_chunk_range_is_included(chunks: Path):
    assert ids(f"chunks://{chunks}?start=1&end=2&per_chunk=2") == ["1_a", "1_b", "2_a", "2_b"]


def test_chunks_go_by_their_number_not_by_their_place(chunks: Path):
    assert ids(f"chunks://{chunks}?start=3&end=10&per_chunk=1") == ["10_a"]
    assert ids(f"chunks://{chunks}?per_chunk=1") == ["0_a", "1_a", "2_a", "10_a"]


def test_zero_to_nineteen_is_twenty_chunks(tmp_path: Path):
    touch(tmp_path, *[f"chunk_{n:04d}/{n}.mp4" for n in range(25)])
    assert len(ids(f"chunks://{tmp_path}?start=0&end=19")) == 20


def test_chunks_of_a_bucket_resolve_as_local_ones_do(bucket):
    bucket(*[f"b/p/chunk_{n:04d}/{n}_{name}.mp4" for n in range(3) for name in "ab"], "b/p/chunk_0003/readme.txt")
    assert ids("chunks://memory://b/p?start=1&end=3&per_chunk=1") == ["1_a", "2_a"]


def test_a_chunk_range_that_matches_nothing_says_what_exists(chunks: Path):
    with pytest.raises(InputError, match="no chunk from 11 to 12; chunks 0 to 10 exist"):
        sources.resolve(f"chunks://{chunks}?start=11&end=12")
    with pytest.raises(InputError, match="no chunk_<number> folders"):
        sources.resolve(f"chunks://{chunks}/chunk_0000")


@pytest.mark.parametrize(
    ("query", "words"),
    [("start=2&end=1", "end=1 is before"), ("per_chunk=0", "per_chunk='0'"), ("stop=3", "unknown option 'stop'")],
)
def test_wrong_options_are_named(chunks: Path, query: str, words: str):
    with pytest.raises(InputError, match=words):
        sources.resolve(f"chunks://{chunks}?{query}")


# PhysicalAI-AV


@pytest.mark.parametrize("scheme", ["", "pai://"])
def test_a_data_set_folder_gives_clips_that_can_be_driven(tmp_path: Path, scheme: str):
    root = foreign_videos.dataset(tmp_path / "pai", ["b", "a", "c"], frames=3)
    clips = sources.resolve_local(f"{scheme}{root}")
    assert [clip.video for clip in clips] == [f"{name}.{CAMERA}" for name in "abc"]
    assert all(clip.drivable and clip.uri.endswith("chunk_0000.zip") for clip in clips)
    import zipfile

    with zipfile.ZipFile(clips[0].uri) as archive:
        video = archive.read(f"a.{CAMERA}.mp4")
    assert clips[0].checksum == f"crc32:{zlib.crc32(video):08x}"
    assert clips[0].size == len(video)


def test_clips_of_a_data_set_are_chosen_by_name_and_by_place(tmp_path: Path):
    root = foreign_videos.dataset(tmp_path / "pai", "abcd", frames=2)
    assert ids(f"pai://{root}?start=1&limit=2") == ["b", "c"]
    assert ids(f"pai://{root}?clips=d,a") == ["a", "d"]
    with pytest.raises(InputError, match="no clip e"):
        sources.resolve(f"pai://{root}?clips=a,e")
    with pytest.raises(InputError, match=f"no camera 'front'; the dataset has {CAMERA}"):
        sources.resolve(f"pai://{root}?cameras=front")


def test_clips_that_the_data_set_calls_invalid_are_left_out(tmp_path: Path):
    root = foreign_videos.dataset(tmp_path / "pai", "ab", frames=2, valid=[False, True])
    assert ids(str(root)) == ["b"]


# The script


def test_the_script_locks_sources_and_replaces_a_lock_only_when_told(tmp_path: Path):
    touch(tmp_path, "v/a.mp4", "w/b.mp4")
    output = tmp_path / "clips.csv"
    command = [str(tmp_path / "v"), str(tmp_path / "w"), "--output", str(output)]
    resolve_clips.main(command)
    assert [clip.clip_id for clip in sheet.read_sheet(output)] == ["a", "b"]
    with pytest.raises(InputError, match="--refresh"):
        resolve_clips.main(command)
    touch(tmp_path, "w/c.mp4")
    resolve_clips.main([*command, "--refresh"])
    assert [clip.clip_id for clip in sheet.read_sheet(output)] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["day[1]", "day*", "da?1", "day[!2]", "{day1,day2}"])
def test_a_folder_with_the_letters_of_a_pattern_is_that_folder_and_no_other(bucket, tmp_path, name):
    for folder in (name, "day1", "day2"):
        bucket(f"b/{folder}/{folder}.mp4")
    touch(tmp_path, f"{name}/{name}.mp4", "day1/1.mp4", "day2/2.mp4")
    prefix = name if name == "day*" else name[:-1]  # `day` would be the beginning of all three
    for source in (f"memory://b/{name}", f"memory://b/{prefix}", f"memory://b/{name}/{name}.mp4"):
        assert [clip.uri for clip in sources.resolve(source)] == [f"memory:///b/{name}/{name}.mp4"]
    assert [clip.uri for clip in sources.resolve(str(tmp_path / name))] == [str(tmp_path / name / f"{name}.mp4")]


def test_a_data_set_whose_chunks_have_the_letters_of_a_pattern_is_read_as_it_says(tmp_path):
    root = foreign_videos.dataset(tmp_path / "pai[1]", ["a"])
    features = root / "features.csv"
    features.write_text(features.read_text().replace(f"camera/{CAMERA}/", f"camera/{CAMERA}[1]/"))
    (root / "camera" / CAMERA).rename(root / "camera" / f"{CAMERA}[1]")
    [clip] = sources.resolve(f"pai://{root}?cameras={CAMERA}")
    assert Path(clip.uri).parent.name == f"{CAMERA}[1]"
