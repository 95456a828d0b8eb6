"""The driving stage's plan: instants, words, cameras, and videos edited elsewhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import own_drive

from .conftest import PLAN, plan, write_sheet

FRONT = "camera_front_wide_120fov"
TELE = "camera_front_tele_30fov"


def settings(workspace, clips: int = 2, **sections) -> dict:
    """A run of one instruction over some clips."""
    sheet = write_sheet(workspace / "clips.csv", clips=clips)
    return {"clips": sheet, "instructions": "lane double yellow solid"} | sections


def files(jobs) -> list[str]:
    """The names of the inference JSONs, without their folder."""
    return sorted(
        name.partition("alpamayo_r1/")[2]
        for job in jobs.of("drive_arm")
        for name in job["output"]
        if "inference" in name
    )


def test_every_instant_is_named(workspace):
    jobs = plan(workspace, "drive", **settings(workspace, 1, clip={"t0_us": [5_100_000, 7_100_000]}))
    base = "original/clip00000/clip00000"
    assert [name for name in files(jobs) if name.startswith("original/")] == [
        f"{base}_t0_5100000_inference.json",
        f"{base}_t0_7100000_inference.json",
    ]
    assert len(files(jobs)) == 2 * 4
    assert len(jobs.of("draw_overlay")) == 2 * 4


def test_any_instant_can_be_asked_for_by_name(workspace):
    target = "results/002/drive/alpamayo_r1/original/clip00001/clip00001_t0_6000000_inference.json"
    jobs = plan(workspace, target, **settings(workspace))
    assert sorted(jobs.rules()) == ["drive_arm", "prepare_clip", "reencode_original"]


def test_instants_further_apart_than_a_window_is_long_are_refused(workspace):
    clip = {"t0_us": [5_000_000, 9_800_000], "anchor": "t0", "max_frames": 49}
    with pytest.raises(pytest.fail.Exception, match=r"raise clip\.max_frames"):
        plan(workspace, "drive", **settings(workspace, clip=clip))
    plan(workspace, "drive", **settings(workspace, clip=clip | {"max_frames": 60}))


def test_a_clip_slower_than_the_models_clock_is_refused_before_anything_runs(workspace):
    slow = settings(workspace, clip={"fps": 8})
    with pytest.raises(pytest.fail.Exception, match=r"clip\.fps: at 8 frames a second.*drive\.allow_repeated_frames"):
        plan(workspace, **slow)
    plan(workspace, **slow, drive={"allow_repeated_frames": True})
    plan(workspace, **slow, drive={"enabled": False})
    thesis = str(Path(__file__).parents[2] / "config/thesis.yaml")
    assert plan(workspace, "drive", configfiles=(thesis,), **settings(workspace)).of("drive_arm")


def test_a_plain_video_with_a_data_set_beside_it_is_driven(workspace):
    (workspace / "a.mp4").touch()
    sheet = workspace / "mp4.csv"
    sheet.write_text(f"clip_id,camera,uri,pai_root,size,checksum\na,{FRONT},a.mp4,hf://x/y@main,,\n")
    jobs = plan(workspace, "drive", clips=str(sheet), instructions="lane double yellow solid")
    assert {job["wildcards"]["clip"] for job in jobs.of("drive_arm")} == {"a"}


def test_a_folder_of_mp4s_with_ego_motion_is_driven_and_what_it_lacks_is_named(workspace):
    drives, config = own_drive.write(workspace / "drives", seconds=0.2), {"instructions": "lane double yellow solid"}
    jobs = plan(workspace, "drive", clips=str(drives), **config)
    assert {job["wildcards"]["clip"] for job in jobs.of("drive_arm")} == {own_drive.CLIP}
    assert [job["wildcards"]["video"] for job in jobs.of("prepare_clip")] == [f"{own_drive.CLIP}.{FRONT}"]
    (drives / f"{own_drive.CLIP}.{TELE}.mp4").unlink()
    with pytest.raises(pytest.fail.Exception, match=rf"reads 4 cameras, and 1 of them are not there: drive1\.{TELE}"):
        plan(workspace, "drive", clips=str(drives), **config)
    plan(workspace, clips=str(drives), drive={"enabled": False}, **config)


def test_one_clip_that_cannot_be_driven_stops_the_plan_only_where_that_is_asked_for(workspace):
    drives, config = own_drive.write(workspace / "drives", seconds=0.2), {"instructions": "lane double yellow solid"}
    own_drive.write(drives, clip="drive2", seconds=0.2, cameras=[FRONT])
    assert plan(workspace, "drive", clips=str(drives), drive={"record_failures": True}, **config).of("drive_arm")
    with pytest.raises(pytest.fail.Exception, match=r"reads 4 cameras, and 3 of them are not there: drive2"):
        plan(workspace, "drive", clips=str(drives), drive={"record_failures": False}, **config)


def test_planning_says_once_which_clips_are_not_driven_and_why(workspace):
    sheet = Path(settings(workspace, clips=2)["clips"])
    sheet.write_text(
        sheet.read_text()
        + "dashcam,front,v.mp4,,,\n"
        + "clip00000,camera_rear_tele_30fov,,hf://x/y@main,,\n"
        + "behind,camera_rear_tele_30fov,,hf://x/y@main,,\n"
    )
    (workspace / "v.mp4").touch()
    request = {"workdir": str(workspace), "config": {"clips": str(sheet), "instructions": "lane double yellow solid"}}
    done = subprocess.run([sys.executable, str(PLAN), json.dumps(request)], capture_output=True, text=True, check=True)
    said = [line for line in done.stderr.splitlines() if "not driven" in line]
    assert said == [
        "not driven: 1 of 4 have no pai_root, where their ego motion lies (resolve_clips.py --pai-root, or &pai_root= "
        "in a source)",
        "not driven: 1 of 4 are of camera_rear_tele_30fov, which the model does not read with this drive.cameras",
    ]
    jobs = json.loads(done.stdout.splitlines()[-1])
    assert {job["wildcards"]["clip"] for job in jobs if job["rule"] == "drive_arm"} == {"clip00000", "clip00001"}


@pytest.mark.parametrize(("reasoning", "rollouts", "first"), [("free", 4, 1), ("shared", 4, 4), ("both", 7, 4)])
def test_shared_words_come_from_the_original_arm(workspace, reasoning, rollouts, first):
    config = settings(workspace, 1, drive={"reasoning": reasoning})
    jobs = plan(workspace, "drive", **config)
    assert len(jobs.of("drive_arm")) == rollouts
    assert len(jobs.of("draw_overlay")) == 4
    name = "clip00000_t0_5100000" + ("_shared" if reasoning == "both" else "")
    target = f"results/002/drive/alpamayo_r1/floor/clip00000/{name}_inference.json"
    arms = {job["wildcards"]["arm"] for job in plan(workspace, target, **config).of("drive_arm")}
    assert arms == ({"floor"} if first == 1 else {"original", "floor"})


def test_several_cameras_of_a_clip_go_into_one_rollout(workspace):
    config = settings(workspace, 1)
    sheet = Path(config["clips"])
    sheet.write_text(sheet.read_text() + f"clip00000,{TELE},,hf://x/y@main,,\n")
    jobs = plan(
        workspace, "results/002/drive/alpamayo_r1/original/clip00000/clip00000_t0_5100000_inference.json", **config
    )
    assert len(jobs.of("drive_arm")) == 1
    assert {job["wildcards"]["video"] for job in jobs.of("reencode_original")} == {
        f"clip00000.{FRONT}",
        f"clip00000.{TELE}",
    }


def foreign(folder: Path, *names: str) -> str:
    """Empty edited videos below a folder."""
    for name in names:
        path = folder / f"{name}_vp_edit_sample0.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.with_name(path.name.replace("_vp_edit_sample0", "_generated")).touch()
    return str(folder)


def test_videos_edited_elsewhere_become_arms_beside_ours(workspace):
    folder = foreign(
        workspace / "edits", f"dusk/clip00000.{FRONT}", f"dusk/clip00001.{FRONT}", f"snow/clip00001.{FRONT}"
    )
    jobs = plan(workspace, **settings(workspace, drive={"videos": folder}))
    driven = {(job["wildcards"]["arm"], job["wildcards"]["clip"]) for job in jobs.of("drive_arm")}
    assert {pair for pair in driven if pair[0] in ("dusk", "snow")} == {
        ("dusk", "clip00000"),
        ("dusk", "clip00001"),
        ("snow", "clip00001"),
    }
    assert len(driven) == 2 * 4 + 3
    assert len(jobs.of("import_video")) == 3
    assert {job["wildcards"]["instruction"] for job in jobs.of("edit_video")} == {"double-yellow-solid", "sham"}


def test_one_of_them_is_chosen_by_its_stem(workspace):
    folder = foreign(workspace / "dusk", f"clip00000.{FRONT}", f"clip00001.{FRONT}")
    drive = {"videos": folder, "video_name": f"clip00001.{FRONT}_vp_edit_sample0"}
    jobs = plan(workspace, "drive", **settings(workspace, drive=drive))
    assert [job["wildcards"]["video"] for job in jobs.of("import_video")] == [f"clip00001.{FRONT}"]


def test_with_nothing_to_edit_here_no_editor_is_planned(workspace):
    folder = foreign(workspace / "dusk", f"clip00001.{FRONT}")
    config = settings(workspace, drive={"videos": folder}, arms={"sham": False, "floor": True}) | {"instructions": ""}
    jobs = plan(workspace, "drive", **config)
    assert jobs.rules() == {
        "import_video", "prepare_clip", "reencode_original", "drive_arm", "draw_overlay", "effects",
        "drive",
    }  # fmt: skip
    assert {job["wildcards"]["clip"] for job in jobs.of("drive_arm")} == {"clip00001"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no edited videos"),
        ([f"dusk/nowhere.{FRONT}"], "none of the 1 edited videos"),
        ([f"double-yellow-solid/clip00000.{FRONT}"], "is edited by this run too"),
    ],
)
def test_videos_that_do_not_fit_the_run_stop_the_plan(workspace, names, message):
    (workspace / "edits").mkdir()
    folder = foreign(workspace / "edits", *names)
    with pytest.raises(pytest.fail.Exception, match=message):
        plan(workspace, "drive", **settings(workspace, drive={"videos": folder}))


def test_arms_driven_together_are_one_job_a_clip_and_instant(workspace):
    clip = {"t0_us": [5_100_000, 7_100_000]}
    config = settings(workspace, 2, clip=clip, drive={"together": True})
    jobs = plan(workspace, "drive", **config)
    assert "drive_arm" not in jobs.rules()
    assert len(jobs.of("drive_arms")) == 2 * 2
    assert len(jobs.of("draw_overlay")) == 2 * 2 * 4
    made = jobs.of("drive_arms")[0]["output"]
    arms = ["original", "floor", "sham", "double-yellow-solid"]
    assert [Path(name).parts[4] for name in made] == arms * 2  # JSONs, then NPZs


def test_arms_that_need_the_originals_words_are_driven_after_it(workspace):
    jobs = plan(workspace, "drive", **settings(workspace, 1, drive={"together": True, "reasoning": "both"}))
    assert len(jobs.of("drive_arms")) == 1
    assert {job["wildcards"]["rollout"] for job in jobs.of("drive_arm")} == {"t0_5100000_shared"}
    assert len(jobs.of("drive_arm")) == 3
    with pytest.raises(pytest.fail.Exception, match=r"drive\.together"):
        plan(workspace, "drive", **settings(workspace, 1, drive={"together": True, "reasoning": "shared"}))
