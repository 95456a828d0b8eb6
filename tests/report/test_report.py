"""The report: it names what it shows, shows only what is there, and runs nothing that a text of the run smuggles in."""

import html
import html.parser
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote

import pytest
import report as script

from relane.errors import InputError
from relane.io.files import read_json, write_json
from tests.report import run_folder
from tests.report.run_folder import CLIP, DRIVER, EDIT, NO_LPIPS, T0_US, VIDEO

ARMS = ("original", "floor", "sham", EDIT)


class Page(html.parser.HTMLParser):
    """The page as a browser reads it: tags with attributes, and the text outside style and script."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.html = "", text
        self.tables: list[tuple[str, dict[str, list[str]]]] = []
        self._raw = 0
        self.feed(text)
        for table in re.findall(r"<table>(.*?)</table>", text, re.DOTALL):
            rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', table, re.DOTALL)
            cells = {html.unescape(head): re.findall(r"<td[^>]*>(.*?)</td>", row) for head, row in rows}
            self.tables.append((re.search(r"<caption>(.*?)</caption>", table)[1], cells))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._raw += tag in ("style", "script")

    def handle_endtag(self, tag):
        self._raw -= tag in ("style", "script")

    def handle_data(self, data):
        self.text += "" if self._raw else data

    def references(self) -> list[str]:
        return [attrs[key] for _, attrs in self.tags for key in ("src", "href") if attrs.get(key)]


def make(folder: Path, driven: bool = True, *words: str, more: Sequence[str] = ()) -> Page:
    clips = ["--clips", CLIP, "--driver", DRIVER, "--t0-us", str(T0_US)]
    if not driven:
        clips = ["--clips", "--no-driving-reason", "no ego motion with these clips"]
    where = ["--run-folder", str(folder), "--run", "t", "--output", str(folder / "report")]
    script.main([*where, "--videos", VIDEO, "--arms", *ARMS, *clips, *words, *more])
    return Page((folder / "report/index.html").read_text(encoding="utf-8"))


@pytest.fixture
def folder(tmp_path):
    return run_folder.build(tmp_path / "t")


def test_every_reference_exists_beside_the_page_also_after_a_move(folder, tmp_path):
    page = make(folder)
    moved = Path(shutil.move(folder / "report", tmp_path / "elsewhere"))
    shutil.rmtree(folder)
    references = [ref for ref in page.references() if not ref.startswith("#")]
    assert len([ref for ref in references if ref.endswith(".mp4")]) == 4 * 2 + 2
    for reference in references:
        assert (moved / unquote(reference)).stat().st_size > 0
    anchors = {attrs.get("id") for _, attrs in page.tags}
    assert all(ref[1:] in anchors for ref in page.references() if ref.startswith("#"))


def test_the_page_asks_no_network_and_brings_no_library(folder):
    page = make(folder)
    assert not [ref for ref in page.references() if "//" in ref]
    assert "link" not in {tag for tag, _ in page.tags}
    assert all("src" not in attrs for tag, attrs in page.tags if tag == "script")


def test_videos_of_an_arm_stand_side_by_side_and_play_by_themselves(folder):
    page = make(folder)
    videos = [attrs for tag, attrs in page.tags if tag == "video"]
    assert [attrs["src"].rpartition("/")[2] for attrs in videos[-3:]] == ["source.mp4", "edited.mp4", "overlay.mp4"]
    for attrs in videos:
        assert {"controls", "loop", "muted", "autoplay", "playsinline"} <= set(attrs)


def test_a_hostile_instruction_is_shown_as_text(folder):
    page = make(folder)
    assert run_folder.HOSTILE in page.text
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert "b" not in {tag for tag, _ in page.tags}


def test_an_absent_metric_is_absent_with_its_reason_and_no_number(folder):
    page = make(folder)
    assert f"absent: {NO_LPIPS}" in page.text
    assert "31.25" in page.text
    assert "None" not in page.text


def test_the_skipped_clip_is_named_with_its_reason(folder):
    assert "clip-dark.front: road covers 0.4 % <of> the picture" in make(folder).text


def test_a_page_of_some_videos_says_of_how_many(folder):
    assert "1 video; arms" in " ".join(make(folder).text.split())
    assert "1 of 2000 videos are shown, the effects count all" in make(folder, True, "--total", "2000").text


def test_the_history_of_the_first_frame_is_shown(folder):
    page = make(folder)
    assert "Passed the critic at try 2 of at most 10." in page.text
    assert "FAIL score 3, sees single white solid" in page.text
    assert "Try 2 used PASS score 8.5" in page.text
    assert "Try 1 used" not in page.text
    panels = [attrs["src"] for tag, attrs in page.tags if tag == "img" and "panels" in attrs["src"]]
    assert len(panels) == 2 * 2


def test_without_driving_the_page_says_why_and_shows_the_edits(tmp_path):
    folder = run_folder.build(tmp_path / "t", driven=False)
    page = make(folder, driven=False)
    assert "Effects on the planned path no ego motion with these clips" in " ".join(page.text.split())
    videos = [attrs["src"] for tag, attrs in page.tags if tag == "video"]
    assert len(videos) == 2 * 2
    assert not any("overlay" in src for src in videos)


def test_an_arm_edited_elsewhere_is_shown_for_the_videos_that_it_has(folder, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ARMS", (*ARMS, "dusk", "snow"))
    edited = folder / "vp/dusk" / VIDEO / f"{VIDEO}_vp_edit_sample0.mp4"
    edited.parent.mkdir(parents=True)
    shutil.copy(folder / "vp/sham" / VIDEO / edited.name, edited)
    shutil.copytree(folder / f"drive/{DRIVER}/sham", folder / f"drive/{DRIVER}/dusk")
    page = make(folder, more=["--external-arms", "dusk", "snow"])
    assert "edited elsewhere" in page.text
    assert any("/dusk/edited.mp4" in name for name in page.references())
    assert any("/dusk/overlay.mp4" in name for name in page.references())
    assert not any("/snow/" in name for name in page.references())


def test_a_clip_that_was_not_driven_in_an_arm_says_why(folder):
    inference = folder / "drive" / DRIVER / "sham" / CLIP / f"{CLIP}_t0_{T0_US}_inference.json"
    write_json(inference, read_json(inference) | {"success": False, "error": "no ego motion around t0_us 9"})
    assert "no ego motion around t0_us 9" in make(folder).text


def test_a_run_without_a_critic_has_one_unjudged_try(folder):
    base = folder / "vp" / EDIT / VIDEO
    refine = base / f"{VIDEO}_caption_refine"
    tries = [{"try": 1, "caption": "c", "verdict": None, "seconds": {}}]
    record = {"critic": "off", "passed": None, "chosen_try": 1, "tries": tries}
    write_json(refine / "qwen_eval.json", record)
    write_json(base / f"{VIDEO}_first_frame.json", record | {"instruction": "i", "iterations_asked": 0})
    for path in refine.glob("*_panels.png"):
        path.rename(path.with_name(path.name.replace("panels", "output")))
    page = make(folder)
    assert "Painted once, without a critic." in page.text
    assert "not judged" in page.text


@pytest.mark.parametrize(
    "missing",
    [
        "provenance.json",
        "sam2/metadata.csv",
        f"clips/{VIDEO}.mp4",
        f"vp/{EDIT}/{VIDEO}/{VIDEO}_vp_edit_sample0.mp4",
        f"vp/{EDIT}/{VIDEO}/eval_{VIDEO}.json",
        f"drive/{DRIVER}/floor/{CLIP}/{CLIP}_t0_{T0_US}_overlay.mp4",
        "effects.json",
    ],
)
def test_a_missing_required_file_is_named_and_no_report_is_left(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(InputError, match=missing.rpartition("/")[2]):
        make(folder)
    assert not (folder / "report").exists()
    assert not list(folder.glob(".partial*"))


def test_an_older_report_is_replaced_whole(folder):
    make(folder)
    (folder / "report/media/stale.mp4").write_bytes(b"x")
    make(folder)
    assert not (folder / "report/media/stale.mp4").exists()


def table_rows(page: Page, title: str) -> dict[str, list[str]]:
    """Rows of the table whose caption starts so, by their head."""
    return next(rows for caption, rows in page.tables if caption.startswith(title))


def test_effects_show_interval_p_sham_and_floor(folder):
    page = make(folder)
    rows = table_rows(page, "displacement (m): distance between paired paths")
    size = "none: a size, tested as minus sham"
    floor = "0.111; 75% of clips above"
    assert rows[EDIT] == ["8", "0.900", "0.800 to 1.000", size, "0.700", "0.600 to 0.800", "0.008 (Holm)", floor]
    assert rows["sham"] == ["8", "0.200", "0.100 to 0.300 *", "none: a size", "absent: this is the sham", floor]
    assert table_rows(page, "lateral (m)")[EDIT][1:4] == ["-0.900", "-1.000 to -0.800", "0.03"]
    assert f"{EDIT}: the recorded future is no longer the truth." in page.text
    assert "displacement0.912 m" in page.text


def test_the_share_of_clips_that_moved_stands_before_all_means(folder):
    page = make(folder)
    titles = [caption for caption, _ in page.tables]
    assert titles[0] == "Clips that moved"
    rows = table_rows(page, "Clips that moved")
    assert rows[EDIT] == ["8", "7", "87.5%", "10.0% to 90.0%", "80.0%", "not claimed: fewer than 40 clips with a sham"]
    assert "averaged over the time, samples and instants of a clip, is beyond 0.1 m" in page.text
    write_json(folder / "effects.json", run_folder.effects(n=40))
    rows = table_rows(make(folder), "Clips that moved")
    assert rows["floor"][-1] == "at most 0.36 m; within 0.1 m: not shown"


def test_the_floor_is_not_held_against_the_sham(folder):
    rows = table_rows(make(folder), "lateral (m)")
    assert rows["floor"][4:] == ["absent: the floor is held against zero", "–"]


def test_an_interval_that_cannot_know_of_rare_answers_is_marked(folder):
    page = make(folder)
    rows = table_rows(page, "lateral (m)")
    assert [rows[arm][2].endswith(" *") for arm in ("floor", "sham", EDIT)] == [True, True, False]
    assert "knows nothing of clips that answer otherwise" in page.text


def test_the_share_beyond_half_a_metre_says_of_what_it_is_one(folder):
    assert "beyond 0.5 m, of a clip's instants" in make(folder).text


def test_an_effects_file_of_an_older_version_is_named(folder):
    record = run_folder.effects()
    del record["drivers"][DRIVER]["arms"][EDIT]["moved"]
    write_json(folder / "effects.json", record)
    with pytest.raises(InputError, match=r"effects\.json: arm double-yellow-solid .* make it again"):
        make(folder)


def test_few_clips_have_numbers_but_no_interval_and_no_p(folder):
    write_json(folder / "effects.json", run_folder.effects(n=2))
    few = "none: fewer than 5 clips"
    row = table_rows(make(folder), "displacement")[EDIT]
    assert row[:7] == ["2", "0.900", few, few, "0.700", few, few]


def test_a_clips_own_plot_stands_with_the_clip(folder):
    html = make(folder).html
    effects, _, clip = html.partition(f'id="{VIDEO}"')
    assert f"paths_{CLIP}.png" in clip
    assert f"paths_{CLIP}.png" not in effects
    # That of a clip which the page does not show would be one of thousands in a large run.
    assert f"paths_{CLIP}-2.png" not in html


def test_the_label_is_called_closeness_to_the_source_and_says_that_doing_nothing_scores_best(folder):
    page = make(folder)
    assert "closeness to the source: GOOD" in page.text
    assert "a video in which nothing was changed scores best" in page.text


def test_cost_of_an_edit_is_shown(folder):
    page = make(folder)
    assert "first frame4.2 s, 1.0 GiB host memory at peak" in page.text
    assert "video12.5 s, 3.0 GiB GPU memory at peak" in page.text


def test_the_page_says_which_files_were_made_at_another_commit(folder, monkeypatch):
    record = read_json(folder / "provenance.json")
    record["made_by"] = [
        {
            "script": "edit_video.py",
            "code": "0123",
            "commit": "a" * 40,
            "clean": True,
            "weights": {"sam2": "f00"},
            "files": 7,
        },
        {"script": "drive.py", "code": "4567", "commit": "b" * 40, "clean": False, "weights": {}, "files": 2},
        {"script": "unknown", "commit": "unknown", "clean": "unknown", "files": 1},
    ]
    write_json(folder / "provenance.json", record)
    monkeypatch.setattr("relane.report.page.git_state", lambda _: {"commit": "b" * 40, "clean": True})
    text = make(folder).text
    assert f"this page was made at commit{'b' * 40} (clean)" in text
    assert "files made at another commit7 of 10, 1 unknown" in text
    assert text.count("another commit than this page's") == 1
    assert f"{'b' * 40} (changed since that commit)" in text


def test_provenance_and_configuration_are_on_the_page(folder):
    page = make(folder)
    record = read_json(folder / "provenance.json")
    assert f"{record['code']['commit']} (changed since that commit)" in page.text
    assert "2.12.1" in page.text
    assert '"run": "t"' in page.text


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"fallback": None}, "corridor"),
        ({"fallback": "centre"}, "corridor; instead: the road's middle (no lane line was found)"),
        ({"fallback": "wider", "reason": "31% lay outside"}, "corridor; instead: a wider corridor (31% lay outside)"),
    ],
)
def test_what_was_repainted_instead_of_the_corridor_is_said_of_its_clip(folder, found, said):
    write_json(folder / "sam2" / VIDEO / "region.json", {"region": "corridor", **found})
    text = make(folder).text
    assert said in text
    assert ("instead" in text) == (found["fallback"] is not None)
