"""The per-instruction report: what is unknown stays empty, and only judged videos count in the pass rate."""

import csv
from pathlib import Path

import instruction_report
import pytest

from relane.errors import InputError
from relane.io.files import write_json


def first_frame(passed: bool | None, used: int, **more: object) -> dict:
    return {
        "passed": passed,
        "critic": "off" if passed is None else "on",
        "iterations_asked": 10,
        "iterations_used": used,
        "verdict": None if passed is None else {"score": 6.5},
        "caption": "road with lines",
        "seconds": {"paint": 1.25, "judge": 0.5},
        **more,
    }


@pytest.fixture
def report(tmp_path: Path):
    def make(stages: dict[str, dict[str, object]]) -> tuple[list[dict], str]:
        flags = {"first_frame": "--first-frames", "edit": "--sidecars", "quality": "--quality"}
        argv = ["--instruction", "double-yellow-solid", "--output", f"{tmp_path}/report.csv"]
        argv += ["--text", f"{tmp_path}/report.txt"]
        for stage, videos in stages.items():
            before, after = instruction_report.STAGES[stage]
            argv.append(flags[stage])
            for video, content in videos.items():
                path = tmp_path / f"{before}{video}{after}"
                write_json(path, content)
                argv.append(str(path))
        instruction_report.main(argv)
        with open(tmp_path / "report.csv", newline="") as file:
            return list(csv.DictReader(file)), (tmp_path / "report.txt").read_text()

    return make


def test_a_row_a_video_and_totals_over_what_is_known(report) -> None:
    rows, text = report(
        {
            "first_frame": {
                "b.cam": first_frame(True, 2, gpu_peak_bytes=3 * 2**30),
                "a.cam": first_frame(False, 10),
                "c.cam": first_frame(None, 0),
            },
            "edit": {"a.cam": {"seconds": {"denoise": 60, "decode": 5, "notes": "x"}, "gpu_peak_bytes": 2**30}},
            "quality": {"a.cam": {"label": "GOOD"}, "d.cam": {"label": "GOOD"}, "b.cam": {}},
        }
    )
    assert [row["video"] for row in rows] == ["a.cam", "b.cam", "c.cam", "d.cam"]
    a, b, c, d = rows
    assert [row["verdict"] for row in rows] == ["FAIL", "PASS", "off", ""]
    assert (a["edit_denoise_s"], a["edit_total_s"], a["first_frame_total_s"]) == ("60", "65", "1.75")
    assert (a["gpu_peak_bytes"], a["critic_score"], a["closeness_to_source"]) == (str(2**30), "6.5", "GOOD")
    assert (b["edit_total_s"], b["host_peak_bytes"], b["closeness_to_source"]) == ("", "", "")
    assert (d["critic_iterations_used"], d["first_frame_total_s"]) == ("", "")
    assert c["critic_iterations_used"] == "0"
    assert "double-yellow-solid" in text
    assert "1 of 2 judged (50 %)" in text
    assert "mean tries used        6.00" in text, "the video that was not judged does not count as 0 tries"
    assert "closeness to source    2 GOOD" in text
    assert "doing nothing\nscores best" in text
    assert "peak GPU memory, GiB   3.00" in text
    assert "edit_denoise" in text


def test_a_report_of_nothing_claims_nothing(report) -> None:
    rows, text = report({})
    assert rows == []
    assert "no video was judged" in text
    assert text.count("unknown") == 4


def test_files_of_another_kind_are_refused(report, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a JSON object"):
        report({"edit": {"a.cam": [1]}})
    write_json(tmp_path / "other.json", {})
    with pytest.raises(
        InputError, match=r"other\.json: the name of a file of the stage edit is \{video\}_vp_edit_sample0\.json"
    ):
        instruction_report.main(["--sidecars", str(tmp_path / "other.json"), "--output", "x", "--text", "y"])


def test_thousands_of_files_are_named_in_a_list_and_the_others_found_beside_them(tmp_path: Path) -> None:
    names = [f"clip {number}.cam" for number in range(3)]
    for name in names:
        write_json(tmp_path / f"eval_{name}.json", {"label": "GOOD"})
        write_json(tmp_path / f"{name}_first_frame.json", first_frame(True, 2))
        write_json(tmp_path / f"{name}_vp_edit_sample0.json", {"seconds": {"denoise": 60}})
    listed = tmp_path / "quality.txt"
    listed.write_text("".join(f"{tmp_path}/eval_{name}.json\n" for name in names) + "\n")
    outputs = ["--output", f"{tmp_path}/report.csv", "--text", f"{tmp_path}/report.txt"]
    instruction_report.main(["--beside", "--quality", f"@{listed}", *outputs])
    with open(tmp_path / "report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["video"], row["verdict"], row["edit_total_s"]) for row in rows] == [(n, "PASS", "60") for n in names]
    (tmp_path / f"{names[1]}_first_frame.json").unlink()
    with pytest.raises(InputError, match=r"clip 1\.cam_first_frame\.json"):
        instruction_report.main(["--beside", "--quality", f"@{listed}", *outputs])
