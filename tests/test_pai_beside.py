"""Videos that are no data set of their own, and the data set that their ego motion is taken from."""

import shutil
import zipfile
from pathlib import Path

import fsspec
import prepare_clip
import pytest
import resolve_clips

from relane.data import sheet, sources
from relane.data.beside import split_pai_root
from relane.data.sheet import Clip, not_driven, read_sheet
from relane.errors import InputError
from relane.io.files import read_json
from tests.alpamayo import small_pai
from tests.alpamayo.small_pai import CLIP, FRONT

NAME = f"{CLIP}.{FRONT}.mp4"
ROOT = "hf://nvidia/x@main"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_pai.write(tmp_path_factory.mktemp("pai") / "dataset", video_seconds=2.0)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"video")
    return path


@pytest.fixture
def bucket():
    fs = fsspec.filesystem("memory")
    fs.pipe_file(f"/ego/{NAME}", b"video")
    yield "memory://ego"
    fs.rm("/ego", recursive=True)


def test_sources_of_every_kind_may_name_the_data_set_of_their_ego_motion(root: Path, tmp_path: Path, bucket: str):
    touch(tmp_path / "chunk_0000" / NAME)
    for source in (
        f"chunks://{tmp_path}?start=0&end=0&pai_root={root}",
        f"{tmp_path}?pai_root={root}",
        f"file://{tmp_path / 'chunk_0000' / NAME}?pai_root={root}",
        f"{bucket}?pai_root={root}",
    ):
        (clip,) = sources.resolve(source)
        assert (clip.clip_id, clip.camera, clip.pai_root, clip.drivable) == (CLIP, FRONT, str(root), True), source
        assert clip.uri.endswith(NAME)
        assert clip.checksum or source.startswith("memory"), "a video is hashed as without the option"


def test_the_flag_holds_for_the_sources_that_name_none_of_their_own(root: Path, tmp_path: Path, bucket: str, capsys):
    touch(tmp_path / "own" / "other.mp4")
    line = [f"{bucket}?pai_root={ROOT}", str(root), "--pai-root", str(root), "--output", str(tmp_path / "clips.csv")]
    with pytest.raises(InputError, match=rf"two pai_root: '{ROOT}' and '{root}'|both become the video"):
        resolve_clips.main(line)
    resolve_clips.main([bucket, "--pai-root", str(root), "--output", str(tmp_path / "clips.csv")])
    assert [clip.pai_root for clip in read_sheet(tmp_path / "clips.csv")] == [str(root)]
    assert "not driven" not in capsys.readouterr().err


def test_what_cannot_be_driven_stays_without_and_is_told(root: Path, tmp_path: Path, capsys):
    for name in (NAME, "dashcam.mp4", f"nowhere.{FRONT}.mp4"):
        touch(tmp_path / "videos" / name)
    resolve_clips.main([str(tmp_path / "videos"), f"--pai-root={root}", f"--output={tmp_path / 'clips.csv'}"])
    found = {clip.clip_id: clip.pai_root for clip in read_sheet(tmp_path / "clips.csv")}
    assert found == {CLIP: str(root), "dashcam": "", "nowhere": ""}
    assert "not driven: 2 of 3 have no pai_root" in capsys.readouterr().err


def test_a_data_set_that_knows_none_of_the_videos_is_refused(root: Path, tmp_path: Path):
    touch(tmp_path / "dashcam.mp4")
    with pytest.raises(InputError, match=r"none of the 1 videos, such as .*dashcam.mp4, can be driven"):
        sources.resolve(f"{tmp_path}?pai_root={root}")
    with pytest.raises(InputError, match="neither a PhysicalAI-AV folder"):
        sources.resolve(f"{tmp_path}?pai_root={tmp_path}")
    with pytest.raises(InputError, match="given twice"):
        sources.resolve(f"{tmp_path}?pai_root={root}&pai_root={root}")


def test_the_options_of_a_web_address_stay_where_they_are():
    address = "https://host/v.mp4?token=a%20b&x=1"
    assert split_pai_root(address) == (address, "")
    assert split_pai_root("https://host/v.mp4?token=a%20b&pai_root=/my%20data&x=1") == (address, "/my data")
    assert split_pai_root("gs://bucket/day?pai_root=hf://o/n@main") == ("gs://bucket/day", "hf://o/n@main")


def test_rows_of_one_clip_with_and_without_a_data_set_are_refused_by_name(tmp_path: Path):
    tele = "camera_front_tele_30fov"
    rows = [f"b,{FRONT},1.mp4,{ROOT},,", f"a,{FRONT},2.mp4,{ROOT},,", f"a,{tele},3.mp4,,,"]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join([",".join(sheet.COLUMNS), *rows]) + "\n")
    with pytest.raises(InputError) as caught:
        read_sheet(path)
    for word in (str(path), "rows 3 and 4", "'a'", repr(ROOT), "none", "--pai-root"):
        assert word in str(caught.value)
    with pytest.raises(InputError, match=rf"a.{FRONT} and a.{tele} are of one clip"):
        sheet.check_clips([Clip("a", FRONT, "2.mp4", "/data/one"), Clip("a", tele, "3.mp4", "/data/two")])


def test_why_clips_are_not_driven_is_counted_by_clip():
    rear = "camera_rear_tele_30fov"
    clips = [
        Clip("a", FRONT, "", ROOT),
        Clip("a", rear, "", ROOT),  # the clip is driven by its other camera
        Clip("b", rear, "", ROOT),
        Clip("c", "front", "c.mp4"),
        Clip("d", "front", "d.mp4"),
        Clip("e", "front", "e.mp4", ROOT),
    ]
    phrases = not_driven(clips, [FRONT])
    assert [phrase.split(" ", 4)[:4] for phrase in phrases] == [
        ["2", "of", "5", "have"],
        ["1", "of", "5", "are"],
        ["1", "of", "5", "are"],
    ]
    assert "have no pai_root" in phrases[0]
    assert rear in phrases[1]
    assert "'front'" in phrases[2]
    assert not_driven(clips[:2], [FRONT]) == []


def prepared(root: Path, video: Path, tmp_path: Path) -> dict:
    prepare_clip.main(
        [
            f"--uri={video}",
            f"--pai-root={root}",
            f"--clip-id={CLIP}",
            f"--camera={FRONT}",
            "--min-frames=1",
            f"--output={tmp_path / 'out.mp4'}",
            f"--sidecar={tmp_path / 'out.json'}",
        ]
    )
    return read_json(tmp_path / "out.json")


def test_an_mp4_cut_out_of_the_data_set_is_on_its_clock(root: Path, tmp_path: Path):
    archive = root / f"camera/{FRONT}/{FRONT}.chunk_0000.zip"
    with zipfile.ZipFile(archive) as chunk:
        chunk.extract(NAME, tmp_path)
    from_zip, from_mp4 = (prepared(root, source, tmp_path) for source in (archive, tmp_path / NAME))
    assert from_mp4["t_us"] == from_zip["t_us"]
    assert from_mp4["t_us"][1] % 100_000 == 68_167  # its camera fires 1.5 ms late, the frame before is taken
    assert "times_from" not in from_mp4


def test_an_mp4_that_the_data_set_has_no_times_of_says_what_is_assumed(root: Path, tmp_path: Path):
    archive = root / f"camera/{FRONT}/{FRONT}.chunk_0000.zip"
    with zipfile.ZipFile(archive) as chunk:
        chunk.extract(NAME, tmp_path)
    (tmp_path / "short.mp4").write_bytes(small_pai.mp4(30, 40))
    record = prepared(root, tmp_path / "short.mp4", tmp_path)
    assert record["times_from"] == "assumed: its first frame at the data set's first"
    assert record["t_us"][1] % 100_000 == 68_167
    copy = shutil.copytree(root, tmp_path / "pai")
    shutil.rmtree(copy / f"camera/{FRONT}")
    record = prepared(copy, tmp_path / NAME, tmp_path)
    assert record["times_from"] == "assumed: its first frame at 0"
    assert record["t_us"][1] == 100_000
