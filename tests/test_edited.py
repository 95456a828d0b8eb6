"""Videos edited elsewhere: what is found, which arm it makes, and what is said when nothing fits."""

import find_videos
import fsspec
import numpy as np
import pytest

from relane.data.external import EditedFile, check_sizes, discover, four_panels, load, of_clips, read_sheet, write_sheet
from relane.errors import InputError
from relane.io.video import write_video

FRONT = "camera_front_wide_120fov"
TELE = "camera_front_tele_30fov"


def put(folder, *names):
    """Empty files below a folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return str(folder)


def test_a_flat_folder_is_one_arm_named_like_it(tmp_path):
    source = put(tmp_path / "Yellow solid", f"a.{FRONT}_vp_edit_sample0.mp4", f"b.{FRONT}_vp_edit_sample0.mp4")
    assert [(file.arm, file.video) for file in discover(source)] == [
        ("yellow-solid", f"a.{FRONT}"),
        ("yellow-solid", f"b.{FRONT}"),
    ]


def test_generated_and_other_side_files_are_left_out(tmp_path):
    source = put(
        tmp_path,
        f"a.{FRONT}_vp_edit_sample0.mp4",
        f"a.{FRONT}_vp_edit_sample0_generated.mp4",
        f"a.{FRONT}_generated.mp4",
        f"a.{FRONT}_panels.mp4",
        "notes.json",
    )
    assert [file.stem for file in discover(source)] == [f"a.{FRONT}_vp_edit_sample0"]


def test_a_folder_an_instruction_is_an_arm_each_and_unedited_arms_are_left_out(tmp_path):
    names = [f"{arm}/a.{FRONT}/a.{FRONT}_vp_edit_sample0.mp4" for arm in ("original", "floor", "sham", "white-dashed")]
    assert [file.arm for file in discover(put(tmp_path, *names))] == ["sham", "white-dashed"]


def test_folders_that_only_sort_the_videos_name_no_arm(tmp_path):
    names = [f"{FRONT}/chunk_000{n}/yellow/{c}/{c}.{FRONT}_vp_edit_sample0.mp4" for n, c in enumerate("ab")]
    assert [(file.arm, file.clip_id) for file in discover(put(tmp_path, *names))] == [("yellow", "a"), ("yellow", "b")]


def test_the_json_beside_a_video_is_found(tmp_path):
    source = put(tmp_path / "x", f"a.{FRONT}_vp_edit_sample0.mp4", f"a.{FRONT}_vp_edit_sample0.json")
    assert discover(source)[0].sidecar.endswith(f"x/a.{FRONT}_vp_edit_sample0.json")


def test_a_bucket_prefix_is_listed_alike():
    store = fsspec.filesystem("memory")
    store.pipe(f"/bucket/vp/yellow/a.{FRONT}_vp_edit_sample0.mp4", b"x")
    store.pipe(f"/bucket/vp/yellow/a.{FRONT}_generated.mp4", b"x")
    (found,) = discover("memory://bucket/vp")
    assert (found.arm, found.video) == ("yellow", f"a.{FRONT}")
    assert found.uri.startswith("memory://")
    assert found.uri.endswith(f"/vp/yellow/a.{FRONT}_vp_edit_sample0.mp4")


@pytest.mark.parametrize("name", [f"a.{FRONT}_vp_edit_sample0", f"a.{FRONT}", f"a.{FRONT}_vp_edit_sample0.mp4"])
def test_one_video_is_chosen_by_its_stem_in_every_arm_that_has_it(tmp_path, name):
    files = [f"{arm}/{clip}.{FRONT}_vp_edit_sample0.mp4" for arm in ("x", "y") for clip in ("a", "b")]
    assert [(file.arm, file.clip_id) for file in load(put(tmp_path, *files), name)] == [("x", "a"), ("y", "a")]


def test_auto_is_all(tmp_path):
    source = put(tmp_path, *(f"{clip}.{FRONT}_vp_edit_sample0.mp4" for clip in "abc"))
    assert len(load(source, "auto")) == 3


def test_a_name_that_no_video_has_is_told_with_near_ones(tmp_path):
    source = put(tmp_path, f"clip7.{FRONT}_vp_edit_sample0.mp4")
    with pytest.raises(InputError, match=f"there are clip7.{FRONT}"):
        load(source, f"clip8.{FRONT}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no edited videos"),
        (["original/a.camera_front_wide_120fov_vp_edit_sample0.mp4"], "no edited videos"),
        (["dashcam_vp_edit_sample0.mp4"], "cannot tell clip and camera"),
        (
            [f"x/a.{FRONT}/a.{FRONT}_vp_edit_sample0.mp4", f"x/a.{FRONT}_vp_edit_sample0.mp4"],
            f"both the video a.{FRONT} of arm x",
        ),
    ],
)
def test_a_folder_that_does_not_serve_is_bad_input(tmp_path, names, message):
    tmp_path.joinpath("in").mkdir()
    with pytest.raises(InputError, match=message):
        load(put(tmp_path / "in", *names))


def test_no_such_folder_is_bad_input(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load(str(tmp_path / "nowhere"))


def test_a_sheet_gives_back_what_was_found(tmp_path):
    files = [EditedFile("yellow", "a", FRONT, "gs://bucket/a.mp4", "gs://bucket/a.json", "md5:00")]
    write_sheet(tmp_path / "edited.csv", files)
    assert load(str(tmp_path / "edited.csv")) == files


@pytest.mark.parametrize("arm", ["original", "floor", "Not a slug", "../up", ""])
def test_a_sheets_arm_must_be_a_safe_name_of_an_edit(tmp_path, arm):
    write_sheet(tmp_path / "edited.csv", [EditedFile(arm, "a", FRONT, "a.mp4")])
    with pytest.raises(InputError, match=r"row 2: arm"):
        read_sheet(tmp_path / "edited.csv")


def test_only_videos_of_the_clip_sheet_are_taken():
    files = [EditedFile("x", clip, camera, f"{clip}.mp4") for clip in "ab" for camera in (FRONT, TELE)]
    assert of_clips(files, [f"a.{FRONT}", f"c.{FRONT}"], ["sham"]) == files[:1]
    with pytest.raises(InputError, match="none of the 4 edited videos"):
        of_clips(files, [f"c.{FRONT}"], [])
    with pytest.raises(InputError, match="arm 'x' is edited by this run too"):
        of_clips(files, [f"a.{FRONT}"], ["sham", "x"])


def film(path, width, height):
    """A video of three black frames."""
    write_video(path, [np.zeros((height, width, 3), np.uint8)] * 3, 8)
    return path


def test_four_panels_are_found_before_anything_runs_and_the_edit_can_be_taken(tmp_path):
    panels = film(tmp_path / f"x/a.{FRONT}_vp_edit_sample0.mp4", 384, 64)
    edit = film(tmp_path / f"x/a.{FRONT}_generated.mp4", 96, 64)
    with pytest.raises(InputError, match=f"{edit}, which stands beside it"):
        check_sizes(discover(str(tmp_path)))
    find_videos.main([str(tmp_path), "--take", "generated", "--output", str(tmp_path / "edited.csv")])
    (found,) = load(str(tmp_path / "edited.csv"))
    assert (found.arm, found.video, found.uri) == ("x", f"a.{FRONT}", str(edit))
    check_sizes([found])
    panels.write_bytes(b"no video: its import will say so")
    check_sizes(discover(str(tmp_path)))


def test_four_panels_in_a_bucket_are_found_where_it_is_listed_one_video_an_arm(tmp_path):
    store = fsspec.filesystem("memory")
    panels = film(tmp_path / "panels.mp4", 384, 64).read_bytes()
    plain = film(tmp_path / "plain.mp4", 96, 64).read_bytes()
    for arm, clip, video in (("x", "a", plain), ("x", "b", b"cut"), ("y", "a", panels)):
        store.pipe(f"/bucket/panels/{arm}/{clip}.{FRONT}_vp_edit_sample0.mp4", video)
    found = discover("memory://bucket/panels")
    with pytest.raises(
        InputError, match=f"y/a.{FRONT}_vp_edit_sample0.mp4: 384x64 is four pictures .*--take generated"
    ):
        check_sizes(found, remote=True)
    check_sizes(found[:2], remote=True)
    check_sizes(found)  # a sheet's videos: planning asks no network for them


@pytest.mark.parametrize(("size", "panels"), [((2880, 480), True), ((7680, 1080), True), ((1920, 1080), False)])
def test_no_camera_is_as_wide_as_four_panels(size, panels):
    assert four_panels(*size) is panels
