"""A run's effects as files: from the rollouts that drive.py leaves to tables, report and plots."""

import csv
import json
from pathlib import Path

import effects as script
import numpy as np
import pytest

from relane.effects.study import Rollout, study
from relane.errors import InputError
from tests.test_effects import LEFT, arc


def write_rollout(folder: Path, name: str, clip: str, pred: np.ndarray, **more: object) -> str:
    """One arm's files as drive.py leaves them; a key that is None is left out of the JSON."""
    place = folder / name / clip
    place.mkdir(parents=True)
    path = place / f"{clip}_inference.json"
    record = {
        "video_id": f"{clip}.camera_front_wide_120fov",
        "clip_id": clip,
        "arm": name,
        "t0_us": 5_100_000,
        "min_ade_meters": 0.5,
        "reasoning_traces": ["Keep lane."] * len(pred),
        "complete_share": 1.0,
        "metrics": {"inference_seconds": 2.0, "gpu_peak_bytes": 2**31, "host_peak_bytes": 2**30},
    } | more
    path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))
    history = np.stack([-1.0 * np.arange(15, -1, -1), np.zeros(16), np.zeros(16)], -1)
    np.savez(place / f"{clip}_vis_data.npz", pred_xyz=pred, gt_future_xyz=arc()[0], ego_history_xyz=history)
    return str(path)


def write_study(folder: Path, clips: int) -> list[str]:
    """Clips with four arms: an edit that moves every path 1 m to the left, a sham that moves it a little either way."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(clips):
        base = arc(8 + k % 3, 0.001 * (k % 4)) + rng.normal(0, 0.05, (3, 1, 3))
        shifts = {"original": 0.0, "floor": 0.1 * rng.normal(), "sham": 0.02 * rng.normal(), "single-white-dashed": 1.0}
        for arm, left in shifts.items():
            words = {"reasoning_traces": ["Change lane."] * 3} if "dashed" in arm else {}
            found.append(write_rollout(folder, arm, f"clip{k}", base + left * LEFT, **words))
    return found


def call(out: Path, *arguments: str) -> dict:
    """Run scripts/effects.py and return effects.json."""
    names = {"csv": "effects.csv", "json": "effects.json", "report": "r.txt", "summary": "all.json", "plots": "plots"}
    flags = [part for flag, name in names.items() for part in (f"--{flag}", str(out / name))]
    script.main([*arguments, "--run", "test", "--bootstrap", "400", *flags])
    return of_driver(json.loads((out / "effects.json").read_text()))


def of_driver(summary: dict, driver: str = "unknown") -> dict:
    """The summary of one driver, with the notes on the run after its own."""
    own = summary["drivers"].get(driver, {"arms": {}, "notes": []})
    return summary | own | {"notes": own["notes"] + summary["notes"]}


def test_with_few_clips_the_notes_say_how_small_p_can_be(tmp_path):
    def notes(clips):
        folder = tmp_path / str(clips)
        folder.mkdir()
        found = call(folder, "--inferences", *write_study(folder / "in", clips))["notes"]
        return [note for note in found if "p cannot be below" in note]

    assert "below 0.0625" in notes(5)[0]
    assert not notes(6)


def test_a_planted_shift_comes_out_with_its_sign_and_its_tests(tmp_path):
    result = call(tmp_path, "--inferences", *write_study(tmp_path / "in", 8))
    edit, sham = result["arms"]["single-white-dashed"], result["arms"]["sham"]
    lateral = edit["quantities"]["lateral_m"]
    assert lateral["mean"] == pytest.approx(1.0, abs=0.02)
    assert lateral["minus_sham"]["mean_low"] > 0.9
    assert lateral["minus_sham"]["p_holm"] <= 0.01
    assert edit["quantities"]["displacement_m"]["share_above_floor"] == 1.0
    assert edit["quantities"]["displacement_m"]["p"] is None
    assert edit["reasoning_changed_share"] == 1.0
    assert sham["quantities"]["lateral_m"]["p"] > 0.05
    assert (sham["moved"]["moved"], edit["moved"]["moved"]) == (0, 8)  # by centimetres; by a metre
    assert "sham: 0 of 8 clips moved beyond 0.1 m on average: at most 31.2% of clips do" in result["notes"][1]
    assert edit["recorded_future_valid"] is False
    assert sham["recorded_future_valid"] is True
    assert any("no longer the truth" in note for note in result["notes"])
    rows = list(csv.DictReader((tmp_path / "effects.csv").open()))
    assert len(rows) == 8 * 3
    assert {row["kind"] for row in rows} == {"floor", "sham", "edit"}


def test_the_report_the_summary_and_the_plots_of_a_run(tmp_path):
    inferences = write_study(tmp_path / "in", 2)
    bad = write_rollout(tmp_path / "in", "sham", "clip9", arc(), success=False, error="no frames at t0")
    (tmp_path / "failed.txt").write_text("clip8: truncated video\n")
    result = call(tmp_path, "--inferences", *inferences, bad, "--failures", str(tmp_path / "failed.txt"))
    report = (tmp_path / "r.txt").read_text()
    for line in ("Average time:         2.00 s", "Total time:           16.00 s", "Maximum GPU memory:   2.00 GiB"):
        assert line in report
    assert "clip8: truncated video" in report
    assert "no frames at t0" in report
    assert len(json.loads((tmp_path / "all.json").read_text())) == 9
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {
        "effect_per_clip.png",
        "paths_clip0.png",
        "paths_clip1.png",
    }
    assert result["arms"]["sham"]["quantities"]["lateral_m"]["p"] is None
    assert any("at least 5" in note for note in result["notes"])


def test_the_same_rollouts_give_the_same_bytes(tmp_path):
    inferences = write_study(tmp_path / "in", 5)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        call(tmp_path / name, "--inferences", *(inferences if name == "a" else inferences[::-1]))
    for path in (p for p in (tmp_path / "a").rglob("*") if p.is_file()):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name


def test_a_run_in_which_nothing_could_be_driven_names_every_failure(tmp_path):
    found = [write_rollout(tmp_path, arm, "c", arc(), success=False, error="no t0") for arm in ("original", "edit")]
    result = call(tmp_path, "--inferences", *found, '--action-unchanged=["edit"]')
    assert "None of 2 rollouts succeeded" in result["no_driving_reason"]
    assert (tmp_path / "r.txt").read_text().count("no t0") == 2


def test_without_rollouts_the_files_say_why(tmp_path):
    result = call(tmp_path, "--inferences", "--no-driving-reason=no ego motion comes with these clips")
    assert result["no_driving_reason"] == "no ego motion comes with these clips"
    assert result["arms"] == {}
    assert "no ego motion" in (tmp_path / "r.txt").read_text()
    assert json.loads((tmp_path / "all.json").read_text()) == []
    assert (tmp_path / "effects.csv").read_text().startswith("driver,clip_id,arm,editor,kind")
    assert (tmp_path / "plots").is_dir()


def test_several_t0_of_one_clip_count_as_one_clip(tmp_path):
    found = []
    for k in range(3):
        for arm, left in (("original", 0.0), ("sham", float(k))):
            pred = arc() + left * LEFT
            found.append(write_rollout(tmp_path / f"t{k}", arm, "clip0", pred, t0_us=5_000_000 + k))
    result = call(tmp_path, "--inferences", *found)
    assert result["arms"]["sham"]["quantities"]["lateral_m"]["n"] == 1
    assert result["arms"]["sham"]["quantities"]["lateral_m"]["mean"] == pytest.approx(1.0)


def summary_of(shifts: dict[tuple[str, int], dict[str, float]]) -> dict:
    """The summary of straight paths moved to the left, by clip and instant, then by arm: no files, no plots."""
    found = [
        Rollout(Path("-"), {}, "unknown", clip, arm, t0_us, arc() + left * LEFT, arc()[0], np.zeros((1, 3)))
        for (clip, t0_us), arms in shifts.items()
        for arm, left in arms.items()
    ]
    return of_driver(study(found, "test", 200, 0, [])["summary"])


def test_an_edit_equal_to_the_sham_wherever_both_exist_has_no_effect_beyond_it():
    """Each clip's sham also has an instant, far off, that the edit lacks."""
    shifts = {}
    for k in range(8):
        left = 0.1 * k
        shifts[f"clip{k}", 5_000_000] = {"original": 0.0, "sham": left, "edit": left}
        shifts[f"clip{k}", 7_000_000] = {"original": 0.0, "sham": left + 3.0}
    result = summary_of(shifts)
    beyond = result["arms"]["edit"]["quantities"]["lateral_m"]["minus_sham"]
    assert beyond["n"] == 8
    assert beyond["mean"] == pytest.approx(0.0, abs=1e-9)
    assert beyond["p"] == 1.0


def test_what_has_no_partner_is_counted_and_named():
    shifts = {
        ("a", 5_100_000): {"original": 0.0, "sham": 0.1, "edit": 0.2},
        ("a", 7_100_000): {"original": 0.0, "sham": 0.1},
        ("b", 5_100_000): {"original": 0.0, "edit": 0.2},
        ("b", 7_100_000): {"sham": 0.1, "edit": 0.2},  # the original of this instant alone is missing
    }
    result = summary_of(shifts)
    partners = result["arms"]["edit"]["sham_partners"]
    assert partners == {"paired": 1, "without_sham": ["b at 5.1 s"], "sham_alone": ["a at 7.1 s"]}
    notes = "\n".join(result["notes"])
    assert "No original arm at b at 7.1 s" in notes
    assert "Arm sham lacks 1 of 3 rollouts (b at 5.1 s)" in notes
    assert "Arm edit lacks 1 of 3 rollouts (a at 7.1 s)" in notes
    assert (
        "edit minus sham is over the 1 rollouts that both have: 1 of this arm and 1 of the sham have no partner"
        in notes
    )


def test_vision_and_words_that_lack_a_rollout_say_that_they_do_not_add_up(tmp_path):
    found = []
    for k in range(3):
        for arm in ("original", "edit"):
            found.append(write_rollout(tmp_path, arm, f"clip{k}", arc() + (arm == "edit") * LEFT, reasoning="free"))
    found.append(write_rollout(tmp_path / "2", "edit", "clip0", arc(), reasoning="shared"))
    notes = call(tmp_path, "--inferences", *found)["notes"]
    assert any("2 of 3 rollouts have none with the original's words (clip1 at 5.1 s, clip2" in note for note in notes)


def test_the_floor_is_held_against_zero_and_not_against_the_sham():
    """Both half a metre to the left in every clip: their difference is nothing, the floor is not."""
    shifts = {
        (f"clip{k}", 5_000_000): {"original": 0.0, "floor": 0.5 + 0.01 * (k % 3), "sham": 0.5, "edit": 0.5}
        for k in range(40)
    }
    arms = summary_of(shifts)["arms"]
    floor = arms["floor"]
    assert all(quantity["minus_sham"] is None for quantity in floor["quantities"].values())
    assert (floor["moved"]["moved"], floor["equivalence"]["shown"]) == (40, False)
    assert floor["equivalence"]["p"]["lateral_m"] > 0.99
    # The edit equals the sham, but the path is another than the original's, so it is not as good as none either.
    assert arms["edit"]["equivalence"]["p"]["lateral_m"] < 0.05
    assert arms["edit"]["equivalence"]["shown"] is False


def test_the_claim_of_an_arm_is_the_share_of_clips_that_moved_over_all_instants_and_samples():
    shifts = {}
    for k in range(40):
        far = 0.15 if k == 0 else 0.3 if k == 1 else 0.0
        shifts[f"clip{k:02}", 5_000_000] = {"original": 0.0, "sham": 0.0, "edit": far}
        shifts[f"clip{k:02}", 7_000_000] = {"original": 0.0, "sham": 0.0, "edit": 0.0}
    result = summary_of(shifts)
    moved = result["arms"]["edit"]["moved"]
    assert (moved["moved"], moved["clips"], moved["beyond_m"]) == (1, 40, 0.1)  # 0.15 m at one of two instants: 0.075 m
    assert "sham: 0 of 40 clips moved beyond 0.1 m on average: at most 7.2% of clips do" in result["notes"][0]
    assert (
        "edit: 1 of 40 clips moved beyond 0.1 m on average, 2.5% (exact 95 % interval 0.1% to 13.2%)"
        in result["notes"][1]
    )


def test_an_unseen_clip_may_move_as_far_as_any_that_was_driven():
    shifts = {(f"clip{k:02}", 5_000_000): {"original": 0.0, "sham": 0.0, "left": 7.0 * (k == 0)} for k in range(40)}
    arms = summary_of(shifts)["arms"]
    assert arms["sham"]["equivalence"]["if_no_clip_beyond_m"] == pytest.approx(7.0)
    assert arms["sham"]["equivalence"]["displacement_at_most_m"] == pytest.approx(7.0 * (1 - 0.025 ** (1 / 40)))


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_the_share_beyond_half_a_metre_does_not_grow_with_the_number_of_instants(count):
    """Every fifth instant of 20 clips is beyond, whichever way they are cut."""
    shifts = {}
    for number in range(20 * count):
        place = (f"clip{number % 20}", 5_000_000 + number // 20)
        shifts[place] = {"original": 0.0, "sham": 1.0 * (number % 5 == 0 or number % 5 == number // 20)}
    beyond = sum(arms["sham"] > 0 for arms in shifts.values()) / len(shifts)
    found = summary_of(shifts)["arms"]["sham"]
    assert found["share_beyond_half_a_metre"] == pytest.approx(beyond)


def test_shares_of_clips_count_clips_and_not_instants(tmp_path):
    found = []
    for k, shifts in enumerate(((1.0, 1.0, 1.0), (0.0, 0.0, 0.0))):  # one clip beyond 0.5 m at all its instants
        for t, left in enumerate(shifts[: 3 - 2 * k]):
            for arm, move in (("original", 0.0), ("sham", left)):
                pred = arc() + move * LEFT
                found.append(write_rollout(tmp_path / f"t{t}", arm, f"clip{k}", pred, t0_us=5_000_000 + t))
    assert call(tmp_path, "--inferences", *found)["arms"]["sham"]["share_beyond_half_a_metre"] == 0.5


def test_an_effect_is_split_into_what_is_seen_and_what_is_said(tmp_path):
    found = []
    for k in range(5):
        base = arc(8 + k, 0.002)
        found.append(write_rollout(tmp_path, "original", f"clip{k}", base, reasoning="free"))
        found.append(write_rollout(tmp_path, "edit", f"clip{k}", base + 1.0 * LEFT, reasoning="free"))
        # With the original's words the path moves by 0.3 m: the other 0.7 m went through words.
        found.append(write_rollout(tmp_path / "2", "edit", f"clip{k}", base + 0.3 * LEFT, reasoning="shared"))
    result = call(tmp_path, "--inferences", *found)
    quantities = result["arms"]["edit"]["quantities"]
    assert quantities["lateral_m"]["n"] == 5
    assert {"vision_lateral_m", "words_lateral_m"} <= result["quantities"].keys()
    total, seen, said = (quantities[name]["mean"] for name in ("lateral_m", "vision_lateral_m", "words_lateral_m"))
    assert seen + said == pytest.approx(total)
    assert seen / total == pytest.approx(0.3)
    assert quantities["words_displacement_m"]["mean"] == pytest.approx(0.7, abs=0.01)
    assert "original's words" in (tmp_path / "r.txt").read_text()
    assert len(json.loads((tmp_path / "all.json").read_text())) == 15


def test_a_run_with_shared_words_alone_has_them_as_its_effects(tmp_path):
    found = [write_rollout(tmp_path, arm, "c", arc(), reasoning="shared") for arm in ("original", "edit")]
    result = call(tmp_path, "--inferences", *found)
    assert result["arms"]["edit"]["quantities"]["lateral_m"]["n"] == 1
    assert not any(name.startswith(("vision", "words")) for name in result["quantities"])


def test_arms_that_leave_the_right_action_unchanged_may_be_held_against_the_recorded_future(tmp_path):
    found = write_study(tmp_path / "in", 2)
    result = call(tmp_path, "--inferences", *found, '--action-unchanged=["single-white-dashed"]')
    assert result["arms"]["single-white-dashed"]["recorded_future_valid"] is True
    assert any("declared to leave the right action unchanged" in note for note in result["notes"])
    with pytest.raises(InputError, match=r"'yellow' is no arm of these rollouts; there are original, floor, sham"):
        call(tmp_path, "--inferences", *found, '--action-unchanged=["yellow"]')


def test_the_arm_is_read_from_the_folder_where_the_json_does_not_say(tmp_path):
    found = [write_rollout(tmp_path, arm, "c", arc(), arm=None) for arm in ("original", "floor")]
    assert list(call(tmp_path, "--inferences", *found)["arms"]) == ["floor"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.with_name("c_vis_data.npz").unlink(), "no such file"),
        (lambda path: path.with_name("c_vis_data.npz").write_bytes(b"PK nothing"), "not a readable .npz"),
        (lambda path: np.savez(path.with_name("c_vis_data.npz"), pred_xyz=arc(k=2), gt_future_xyz=arc()[0]), "2 paths"),
        (
            lambda path: np.savez(path.with_name("c_vis_data.npz"), pred_xyz=arc() * np.nan, gt_future_xyz=arc()[0]),
            "NaN",
        ),
        (lambda path: path.write_text("{"), "not valid JSON"),
        (lambda path: path.write_text(json.dumps({"arm": "original", "clip_id": "c", "t0_us": 5_100_000})), "too"),
    ],
)
def test_a_bad_rollout_is_named_and_nothing_is_written(tmp_path, spoil, words):
    found = [write_rollout(tmp_path / "in", arm, "c", arc()) for arm in ("original", "sham")]
    spoil(Path(found[1]))
    with pytest.raises(InputError, match=words) as error:
        call(tmp_path, "--inferences", *found)
    assert "sham" in str(error.value)
    assert not (tmp_path / "effects.json").exists()
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize("flags", [("--action-unchanged", "sham"), ("--bootstrap", "3"), ("--failures", "nowhere.txt")])
def test_bad_settings_are_named(tmp_path, flags):
    names = [
        part for flag in ("csv", "json", "report", "summary", "plots") for part in (f"--{flag}", str(tmp_path / flag))
    ]
    with pytest.raises(InputError):
        script.main(["--run", "x", *names, *flags])


def test_frames_off_the_models_clock_are_told_in_the_notes_and_the_report(tmp_path):
    told = "camera_front_wide_120fov: it has 8 frames a second and the model reads 10"
    names = [
        write_rollout(tmp_path / "in", arm, "clip0", arc() + np.zeros((3, 1, 3)), frame_notes=[told])
        for arm in ("original", "single-white-dashed")
    ]
    result = call(tmp_path, "--inferences", *names)
    for text in ("\n".join(result["notes"]), (tmp_path / "r.txt").read_text()):
        assert "2 of 2 rollouts were shown frames that do not keep the model's clock" in text
        assert told in text
    plain = tmp_path / "plain"
    result = call(plain, "--inferences", *write_study(plain / "in", 1))
    assert "clock" not in "\n".join(result["notes"]) + (plain / "r.txt").read_text()


def test_each_driver_is_a_study_of_its_own_and_a_folder_of_plots(tmp_path):
    """One driver answers the edit, the other does not; neither's figures know of the other's."""
    found = []
    for driver, left in (("keen", 1.0), ("dull", 0.0)):
        for k in range(5):
            for arm in ("original", "sham", "edit"):
                pred = arc() + (left * LEFT if arm == "edit" else 0.0)
                more = {"driver": driver, "editor": "videopainter" if arm == "edit" else "none"}
                found.append(write_rollout(tmp_path / driver, arm, f"clip{k}", pred, **more))
    call(tmp_path, "--inferences", *found)
    summary = json.loads((tmp_path / "effects.json").read_text())
    moved = {driver: of["arms"]["edit"]["moved"]["moved"] for driver, of in summary["drivers"].items()}
    assert moved == {"keen": 5, "dull": 0}
    rows = list(csv.DictReader((tmp_path / "effects.csv").open()))
    assert {(row["driver"], row["editor"]) for row in rows if row["arm"] == "edit"} == {
        ("keen", "videopainter"),
        ("dull", "videopainter"),
    }
    assert {path.parent.name for path in (tmp_path / "plots").glob("*/effect_per_clip.png")} == {"keen", "dull"}
