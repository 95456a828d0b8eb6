"""What people write on the command line, through Snakemake itself: names, lists, other folders, runs of their own."""

import re
import shlex
import subprocess
import time
from pathlib import Path

import first_frame
import pytest

from .conftest import ROOT, SNAKEMAKE, asked_of_slurm, plan, write_sheet

INSTRUCTION = "instructions=lane double yellow solid"
CAMERA = "camera_front_wide_120fov"


def dry_run(folder: Path, *words: str, sheet: bool = True) -> subprocess.CompletedProcess:
    """`snakemake -n` in a folder, with one clip; the words follow --config."""
    config = [f"clips={write_sheet(folder / 'clips.csv', clips=1)}"] if sheet else []
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "-d", folder, "-n", "--config", *config, INSTRUCTION, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("word", ['run="003"', "run=003"])
def test_a_run_of_digits_is_named_as_it_is_written(workspace, word):
    done = dry_run(workspace, word)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "results/003/report/index.html" in done.stdout


def test_lists_inside_a_section_are_numbers(workspace):
    words = ["clip={t0_us: [5100000, 7100000]}", "dataset={frames: [1, 30]}", "drive={cameras: 7}"]
    done = dry_run(workspace, *words)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "drive/alpamayo_r1/original/clip00000/clip00000_t0_7100000_inference.json" in done.stdout


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("loras={lanes: {dataset: lanes__single_blue_solid}}", "loras.lanes.dataset"),
        ("video={mode: exact, background_refresh: 3}", "config: video.background_refresh: mode exact"),
        ("sam2={max_frames: 99}", "there is no key sam2.max_frames any more"),
    ],
)
def test_what_cannot_be_stops_the_plan_in_one_message(workspace, word, says):
    done = dry_run(workspace, word)
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert says in said
    assert "Traceback" not in said


def test_a_stamped_run_is_a_new_run_each_time(workspace):
    runs = []
    for _ in range(2):
        said = dry_run(workspace, "run=004", "run_stamp=true").stdout
        runs += set(re.findall(r"results/(004[^/]*)/report/index\.html", said))
        time.sleep(1.1)
    assert len(runs) == 2
    assert all(re.fullmatch(r"004_\d{8}_\d{6}", run) for run in runs)
    assert runs[0] < runs[1]
    done = dry_run(workspace, f"run={runs[0]}")
    assert f"results/{runs[0]}/report/index.html" in done.stdout


def test_a_jobs_own_process_is_told_the_stamped_name(workspace):
    """A false sbatch notes the command of the job, which parses the Snakefile anew, later."""
    sheet = write_sheet(workspace / "clips.csv", clips=1)
    asked = asked_of_slurm(workspace, workspace, "clips", f"clips={sheet}", INSTRUCTION, "run_stamp=true")
    [stamped] = set(re.findall(r"prepare_clip:run=([\w-]+)", asked))
    assert re.fullmatch(r"002_\d{8}_\d{6}", stamped)
    config = asked.partition("--config")[2]
    assert re.search(rf"run=['\"]*{stamped}", config)
    assert re.search(r"run_stamp=['\"]*false", config.rpartition("run_stamp=true")[2])


def test_another_directory_finds_the_sheets_of_the_repository(workspace):
    """Results go elsewhere; what the shipped configuration names by relative paths is where it was."""
    jobs = plan(workspace)
    assert {job["wildcards"].get("video") for job in jobs.of("edit_video")} == {
        f"030c760c-ae38-49aa-9ad8-f5650a545d26.{CAMERA}"
    }
    own = workspace / "config" / "clips.csv"  # what the directory has comes first
    own.parent.mkdir()
    write_sheet(own, clips=2)
    assert len(plan(workspace, "clips").of("prepare_clip")) == 2


def test_braces_in_names_and_texts_are_letters(workspace):
    folder = workspace / "drives {x}"
    folder.mkdir()
    for name in ("a{b}.mp4", "c{wildcards.video}.mp4", "d{.mp4", "e.mp4"):
        (folder / name).write_bytes(b"not looked into while planning")
    config = {
        "clips": str(folder),
        "instructions": "lane double yellow solid || {x} white lines {video}",
        "video": {"negative_prompt": "a {road}"},
        "checkpoints": {"sam2": "nets/{b}"},
    }
    jobs = plan(workspace, "edits", **config)
    assert {job["wildcards"]["video"] for job in jobs.of("prepare_clip")} == {
        "a_b_.front", "c_wildcards.video_.front", "d_.front", "e.front",
    }  # fmt: skip


def test_an_instruction_that_begins_like_an_option_is_a_text(workspace):
    config = ["--config", f"clips={write_sheet(workspace / 'clips.csv', clips=1)}", "instructions=--lines"]
    command = [SNAKEMAKE, "-s", ROOT / "Snakefile", "-d", workspace, "-n", "-p", "edits", *config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = (shlex.split(line) for line in done.stdout.splitlines() if "/first_frame.py" in line and "sham" not in line)
    [words] = lines
    start = next(number for number, word in enumerate(words) if word.endswith("/first_frame.py")) + 1
    end = words.index(">")
    assert first_frame.parser().parse_args(words[start:end]).instruction == "--lines"


def test_a_missing_checkpoint_stops_a_real_run_before_its_first_job(workspace):
    """A dry-run does without; a run that will load it must not find out after hours of other stages."""
    config = ["--config", f"clips={write_sheet(workspace / 'clips.csv', clips=1)}", INSTRUCTION]
    folders = [f"{name}: {workspace / name}" for name in ("sam2", "flux_fill", "qwen", "videopainter", "alpamayo")]
    for name in ("sam2", "flux_fill", "qwen", "videopainter", "alpamayo"):
        (workspace / name).mkdir()
    config.append(f"checkpoints={{{', '.join(folders)}}}")
    command = [
        SNAKEMAKE,
        "-s",
        ROOT / "Snakefile",
        "-d",
        workspace,
        "--cores",
        "1",
        "--resources",
        "gpu=1",
        "network=1",
    ]
    done = subprocess.run([*command, *config], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert "checkpoints.cogvideox" in said
    assert "Traceback" not in said
    assert not (workspace / "logs" / "002" / "clips").exists()  # not one job was started
