"""A stage that needs a GPU depends on what it runs alone: a change elsewhere is no reason to run it again."""

from pathlib import Path

import pytest

from relane.workflow.code_digest import code_files

SCRIPTS = Path(__file__).parents[1] / "scripts"
# Rooms, and single modules of rooms that hold more than one stage's.
CHARTS = {"training/dataset_pictures", "training/dataset_writer", "training/lora/curve", "effects", "report"}
SEGMENTING = {"road/sam2_video", "road/segmentation", "road/points"}
PAINTING = {"editors", "painters", "training/lora"}
LANGUAGE = {"models/qwen", "prompts/captions", "prompts/critic"}
DRIVING = {"drivers", "data"}
MEASURING = {"evaluation", "workflow/optional"}
OPTIONS = {"config/sections"}
PLANNING = {f"config/{name}" for name in ("files", "reading", "schema")} | {"workflow/checks", "workflow/provenance"}
ALL = CHARTS | SEGMENTING | PAINTING | LANGUAGE | DRIVING | MEASURING | OPTIONS | PLANNING


def options(*sections: str) -> set[str]:
    """The modules in which these sections are declared."""
    return {f"config/sections/{name}" for name in sections}


# What each stage runs of these; it must not depend on any other.
STAGES = {
    "segment_road": SEGMENTING | options("sam2"),
    "dataset_frames": SEGMENTING | options("sam2"),
    "caption_frames": LANGUAGE - {"prompts/critic"} | options("captioning"),
    "train_lora": {"training/lora"} | options("lora", "region", "speed"),
    "first_frame": {"painters"} | LANGUAGE | options("first_frame", "region", "speed"),
    "edit_video": {"editors"} | options("video", "encoding", "speed"),
    "evaluate_edit": MEASURING | options("quality"),
    "drive": DRIVING | {"evaluation/path_metrics"} | options("driving", "clip"),
}
# Modules that a script imports by a name which only a run knows.
BY_NAME = {
    "drive": ["relane.drivers.alpamayo", "relane.data.physical_ai_av", "relane.data.mp4_folder"],
    "edit_video": ["relane.editors.videopainter"],
    "first_frame": ["relane.painters.flux_fill"],
}


def of(module: str, names: set[str]) -> bool:
    """Whether a module, as its path in the library, is one of `names` or stands in such a package."""
    return any(module == name or module.startswith(f"{name}/") for name in names)


def modules_of(script: str) -> list[str]:
    """The library's modules in a script's code digest, such as `lora/cache`; packages' own files left out."""
    library = SCRIPTS / "relane"
    files = [
        path.relative_to(library)
        for path in code_files(SCRIPTS / f"{script}.py", *BY_NAME.get(script, ()))
        if library in path.parents
    ]
    return [path.with_suffix("").as_posix() for path in files if path.name != "__init__.py"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_gpu_stage_depends_on_no_other_stages_code(stage):
    found = [module for module in modules_of(stage) if of(module, ALL)]
    assert [module for module in found if of(module, CHARTS) or not of(module, STAGES[stage])] == []
    assert found


def test_what_only_reads_masks_does_not_depend_on_the_network_that_made_them():
    for script in ("select_region", "package_videopainter", "evaluate_edit", "train_lora"):
        assert "road/sam2_video" not in modules_of(script), script


@pytest.mark.parametrize(
    ("stage", "room", "backend"),
    [
        ("drive", "drivers", "alpamayo"),
        ("edit_video", "editors", "videopainter"),
        ("first_frame", "painters", "flux_fill.py"),
    ],
)
def test_what_a_backend_is_made_of_is_no_reason_to_run_another_one_again(stage, room, backend):
    folder = SCRIPTS / "relane" / room
    common = set(code_files(SCRIPTS / f"{stage}.py"))
    own = set(code_files(SCRIPTS / f"{stage}.py", *BY_NAME[stage])) - common
    assert folder / "__init__.py" in common
    assert {path.relative_to(folder).parts[0] for path in own if path.is_relative_to(folder)} == {backend}
