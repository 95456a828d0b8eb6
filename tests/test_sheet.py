"""The clip sheet: what is written comes back, and each fault gets its own message."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.data import sheet
from relane.data.sheet import Clip, read_sheet, write_sheet
from relane.errors import InputError

HEADER = "clip_id,camera,uri,pai_root,size,checksum\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "clips.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_sheet_comes_back_as_it_was_written(tmp_path: Path):
    clips = [
        Clip("a.b-c_1", "front", 'odd, "name"\'s.mp4', "", 12, "sha256:00ff"),
        Clip("a.b-c_1", "rear", "gs://bucket/o bject.mp4", "", None, "generation:7"),
        Clip("030c760c", "camera_front_wide_120fov", "", "hf://nvidia/x@abc"),
    ]
    write_sheet(tmp_path / "clips.csv", clips)
    assert read_sheet(tmp_path / "clips.csv") == clips
    assert clips[0].video == "a.b-c_1.front"
    assert [clip.drivable for clip in clips] == [False, False, True]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("clip_id,camera,uri,pai_root,size\na,front,a.mp4,,\n", ["no column checksum"]),
        (HEADER, ["no rows"]),
        (HEADER + "a,front,1.mp4,,,\nb,front,2.mp4,,,\na,front,3.mp4,,,\n", ["rows 2 and 4", "'a.front'"]),
        (HEADER + "../a,front,1.mp4,,,\n", ["row 2", "clip_id '../a'"]),
        (HEADER + ".hidden,front,1.mp4,,,\n", ["row 2", "clip_id '.hidden'"]),
        (HEADER + "-rf,front,1.mp4,,,\n", ["row 2", "clip_id '-rf'"]),
        (HEADER + "a,front.wide,1.mp4,,,\n", ["row 2", "camera 'front.wide'"]),
        (HEADER + "a$(id),front,1.mp4,,,\n", ["row 2", "clip_id"]),
        (HEADER + ",front,1.mp4,,,\n", ["row 2", "clip_id is blank"]),
        (HEADER + "a,,1.mp4,,,\n", ["row 2", "camera is blank"]),
        (HEADER + "a,front,,,,\n", ["row 2", "uri is blank"]),
        (HEADER + "a,front,,/data/pai,,\n", ["row 2", "uri is blank"]),
        (HEADER + "a,front,1.mp4,,large,\n", ["row 2", "size 'large'"]),
        (HEADER + "a,front,1.mp4,,3,abc\n", ["row 2", "checksum 'abc'"]),
        (HEADER + "a,front,1.mp4\n", ["line 2", "fewer cells"]),
        (HEADER + "a,front,1.mp4,,,,more\n", ["line 2", "more cells"]),
    ],
)
def test_each_fault_names_the_file_and_the_place(tmp_path: Path, text: str, words: list[str]):
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_sheet(path)
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_a_missing_sheet_names_the_script_that_makes_one(tmp_path: Path):
    with pytest.raises(InputError, match="resolve_clips"):
        read_sheet(tmp_path / "none.csv")


def test_columns_may_come_in_any_order_and_notes_may_stand_beside_them(tmp_path: Path):
    path = write(tmp_path, "note,uri,checksum,size,camera,clip_id,pai_root\nrainy,1.mp4,,,front,a,\n")
    assert read_sheet(path) == [Clip("a", "front", "1.mp4")]


def test_writing_refuses_what_reading_would_refuse_and_leaves_no_file(tmp_path: Path):
    path = tmp_path / "clips.csv"
    with pytest.raises(InputError, match=r"both become the video 'a\.front'"):
        write_sheet(path, [Clip("a", "front", "1.mp4"), Clip("a", "front", "2.mp4")])
    with pytest.raises(InputError, match="unsafe"):
        write_sheet(path, [Clip("a/b", "front", "1.mp4")])
    assert list(tmp_path.iterdir()) == []


@given(st.text(max_size=130))
def test_an_accepted_id_is_one_plain_visible_file_name(clip_id: str):
    if sheet.fault(Clip(clip_id, "front", "a.mp4")) is None:
        assert Path(clip_id).name == clip_id
        assert clip_id.isascii()
        assert clip_id[0] not in ".-"
        assert not set(clip_id) & set("/\\ \t\n'\"$;&|*?{}")
