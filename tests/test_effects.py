"""Effects: signs and frames of paired differences, intervals and tests over clips, and the files that come out."""

import csv
import json
from pathlib import Path

import effects as script
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relane.effects import paths
from relane.effects.statistics import equivalence_p, holm, interval, share_above, sign_flip_p, summarize
from relane.errors import InputError

T = 0.1 * np.arange(1, 65)
LEFT = np.array([0.0, 1.0, 0.0])  # one metre


def arc(speed: float = 10.0, curvature: float = 0.0, k: int = 3) -> np.ndarray:
    """K equal paths (K, 64, 3) along an arc."""
    angle = curvature * speed * T
    x, y = (T * speed, 0 * T) if curvature == 0 else (np.sin(angle) / curvature, (1 - np.cos(angle)) / curvature)
    return np.repeat(np.stack([x, y, 0 * T], -1)[None], k, 0)


# One clip


@settings(max_examples=30, deadline=None)
@given(
    speed=st.floats(3, 25),
    curvature=st.floats(-0.01, 0.01).filter(lambda value: abs(value) > 1e-5),
    left=st.floats(-4, 4),
)
def test_a_pure_shift_to_the_side_is_lateral_left_positive_and_not_longitudinal(speed, curvature, left):
    base = arc(speed, curvature)
    angle = curvature * speed * T
    edited = base + left * np.stack([-np.sin(angle), np.cos(angle), 0 * T], -1)
    effect = paths.compare(edited, base)
    assert effect["lateral_m"] == pytest.approx(left, abs=0.02)
    assert effect["longitudinal_m"] == pytest.approx(0, abs=0.06)
    assert effect["displacement_m"] == pytest.approx(abs(left), abs=0.02)


def test_driving_faster_is_longitudinal_positive_and_shows_in_speed():
    effect = paths.compare(arc(12.0), arc(10.0))
    assert effect["longitudinal_end_m"] == pytest.approx(2.0 * 6.4)
    assert effect["lateral_m"] == pytest.approx(0)
    assert effect["speed_change_mps"] == pytest.approx(2.0)


def test_turning_left_is_positive_curvature():
    assert paths.compare(arc(10, 0.004), arc(10))["curvature_change_per_m"] == pytest.approx(0.004, rel=0.05)
    assert paths.compare(arc(10, -0.004), arc(10))["curvature_change_per_m"] == pytest.approx(-0.004, rel=0.05)


@settings(max_examples=20, deadline=None)
@given(turn=st.floats(-3, 3), seed=st.integers(0, 100))
def test_effects_do_not_depend_on_where_the_rig_frame_points(turn, seed):
    rng = np.random.default_rng(seed)
    base = arc(8, 0.003)
    edited = base + rng.normal(0, 0.5, (3, 1, 3))
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    a, b = paths.compare(edited, base), paths.compare(edited @ rotation, base @ rotation)
    assert all(a[name] == pytest.approx(b[name], abs=1e-9) for name in a if a[name] is not None)


def test_a_standing_car_keeps_a_direction_instead_of_noise():
    stopped = arc(10.0)
    stopped[:, 30:] = stopped[:, 29:30] + 1e-4 * np.random.default_rng(0).standard_normal((3, 34, 3))
    assert np.abs(paths.headings(stopped)).max() < 0.01
    never = np.zeros((1, 64, 3))
    assert paths.headings(never).tolist() == [[0.0] * 64]
    assert paths.compare(never + LEFT, never)["lateral_m"] == pytest.approx(1.0)


def test_the_first_time_beyond_half_a_metre_is_on_the_models_clock():
    base = arc(10.0)
    drift = base + np.stack([0 * T, 0.25 * T, 0 * T], -1)  # 0.5 m at 2.0 s, more from 2.1 s on
    assert paths.compare(drift, base)["first_beyond_s"] == pytest.approx(2.1)
    assert paths.compare(base, base)["first_beyond_s"] is None


def test_accuracy_changes_compare_each_arm_with_the_recorded_future():
    base, edited = arc(10.0), arc(10.0) + LEFT
    change = paths.accuracy_change(edited, base, base[0])
    assert change == {"ade_change_m": 1.0, "min_ade_change_m": 1.0, "fde_change_m": 1.0}


def test_energy_distance_is_zero_for_equal_clouds_and_small_p_for_apart_ones():
    rng = np.random.default_rng(0)
    cloud = arc(10, k=6) + rng.normal(0, 0.2, (6, 1, 3))
    assert paths.energy_distance(cloud, cloud, 199, rng)[0] == pytest.approx(0, abs=1e-12)
    distance, p = paths.energy_distance(cloud + 3 * LEFT, cloud, 199, rng)
    assert distance > 3
    assert p < 0.05
    assert paths.energy_distance(arc(10, k=6) + rng.normal(0, 0.2, (6, 1, 3)), cloud, 199, rng)[1] > 0.05


# Over clips


def test_below_five_clips_there_are_numbers_but_no_interval_and_no_p():
    few = summarize([0.1, 0.2, 0.3, 0.4], 500, np.random.default_rng(0))
    assert few.mean == pytest.approx(0.25)
    assert (few.p, few.mean_low, few.median_high) == (None, None, None)
    enough = summarize([0.1, 0.2, 0.3, 0.4, 0.5], 500, np.random.default_rng(0))
    assert enough.p == pytest.approx(2 / 32)  # exact: two of the 32 sign patterns are as extreme
    assert enough.mean_low < 0.3 < enough.mean_high


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=9))
def test_holm_keeps_the_order_never_lowers_a_p_and_leaves_gaps_alone(p):
    corrected = holm(p)
    pairs = sorted((a, b) for a, b in zip(p, corrected, strict=True) if a is not None)
    assert all(a <= b <= 1 for a, b in pairs)
    assert [b for _, b in pairs] == sorted(b for _, b in pairs)
    assert [value is None for value in p] == [value is None for value in corrected]


def test_holm_against_a_worked_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_intervals_come_from_the_seed_and_a_constant_has_a_width_of_zero():
    values = np.random.default_rng(1).normal(size=30)
    a, b = (interval(values, "mean", 500, np.random.default_rng(7)) for _ in range(2))
    assert a == b
    assert interval(np.full(9, 0.3), "mean", 500, np.random.default_rng(0)) == (0.3, 0.3)


def test_values_that_are_equal_but_for_rounding_have_an_interval():
    values = 0.3 + 1e-16 * np.arange(12)
    low, high = interval(values, "mean", 500, np.random.default_rng(0))
    assert (low, high) == (pytest.approx(0.3), pytest.approx(0.3))


def test_sign_flips_find_a_shift_and_not_its_absence():
    rng = np.random.default_rng(3)
    assert sign_flip_p(rng.normal(1, 1, 30), 2000, rng) < 0.01
    assert sign_flip_p(np.array([1.0, -1.0] * 10), 2000, rng) == 1.0
    assert sign_flip_p(np.zeros(8), 2000, rng) == 1.0


def test_the_share_above_the_floor_uses_its_95th_percentile():
    assert share_above([0.5, 2.0, 3.0], np.linspace(0, 1, 101)) == (pytest.approx(2 / 3), pytest.approx(0.95))
    assert share_above([1.0], []) is None


def test_simulated_studies_cover_the_planted_effect_and_stay_silent_without_one():
    """A small version of benchmarks/effects_coverage.py: 150 studies of 30 clips."""
    rng = np.random.default_rng(5)
    covered = alarms = found = 0
    for _ in range(150):
        values = rng.normal(0.3, 0.5, 30)
        low, high = interval(values, "mean", 400, rng)
        covered += low <= 0.3 <= high
        found += sign_flip_p(values, 400, rng) <= 0.05
        alarms += sign_flip_p(rng.normal(0, 0.5, 30), 400, rng) <= 0.05
    assert 0.88 <= covered / 150 <= 0.99
    assert alarms / 150 <= 0.10
    assert found / 150 >= 0.75


def test_an_interval_stays_finite_where_most_clips_show_nothing():
    values = [0.0] * 9 + [1.0]
    low, high = interval(values, "mean", 1000, np.random.default_rng(0))
    assert low < 0.1 < high
    assert high - low < 2


def test_the_interval_of_the_mean_is_wider_with_fewer_clips():
    rng = np.random.default_rng(3)
    values = rng.normal(0.3, 0.5, 40)
    widths = [np.ptp(interval(values[:n], "mean", 2000, rng)) / values[:n].std() for n in (5, 10, 40)]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.01, -0.01, 0.0, 0.02, -0.02, 0.01], True),
        ([0.3, 0.31, 0.29, 0.3, 0.32, 0.3], False),  # an effect
        ([1.0, -1.0, 0.9, -0.9, 1.1, -1.1], False),  # too noisy to tell: a large p of the other test would not tell
        ([0.0] * 6, True),
        ([0.2] * 6, False),
    ],
)
def test_equivalence_is_shown_by_small_differences_and_by_nothing_else(values, shown):
    assert (equivalence_p(values, 0.1) <= 0.05) is shown


def test_an_effect_as_large_as_the_margin_is_seldom_called_none():
    rng = np.random.default_rng(8)
    called = [equivalence_p(rng.normal(0.1, 0.05, 20), 0.1) <= 0.05 for _ in range(400)]
    assert np.mean(called) <= 0.08


def test_with_few_clips_the_notes_say_how_small_p_can_be(tmp_path):
    def notes(clips):
        folder = tmp_path / str(clips)
        folder.mkdir()
        found = call(folder, "--inferences", *write_study(folder / "in", clips))["notes"]
        return [note for note in found if "p cannot be below" in note]

    assert "below 0.0625" in notes(5)[0]
    assert not notes(6)


def test_equivalence_needs_five_clips():
    assert equivalence_p([0.0] * 4, 0.1) is None


# Files


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
    return json.loads((out / "effects.json").read_text())


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
    shown = [note for note in result["notes"] if "lateral shift" in note and "within 0.1 m" in note]
    assert [note.split(":")[0] for note in shown] == ["sham"]  # moved by centimetres; the edit by a metre
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
    assert (tmp_path / "effects.csv").read_text().startswith("clip_id,arm,kind")
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
        (lambda path: path.with_name("c_vis_data.npz").write_bytes(b"PK nothing"), "not an NPZ"),
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
