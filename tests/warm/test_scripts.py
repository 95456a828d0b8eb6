"""The model scripts keep what a worker relies on, and the rules hand every model job to one."""

import os
import re
import subprocess
import sys

import pytest

from relane.workers import stage

from .conftest import ROOT

SCRIPTS = ROOT / "scripts"
# A model script: the flags without which it does not parse, apart from checkpoints; and its checkpoints.
STAGES = {
    "segment_road": ("--clip=c --output=o", {"checkpoint": "sam2"}),
    "dataset_frames": ("--frames=f --numbers 1 --output=o", {"checkpoint": "sam2"}),
    "caption_frames": ("--items i --output=o", {"qwen": "qwen"}),
    "first_frame": (
        "--clip=c --inpaint-masks=m --instruction=sham --video=v --output=o --sidecar=s --refine-folder=r",
        {"flux-fill": "flux_fill", "qwen": "qwen"},
    ),
    "edit_video": (
        "--clip=c --clip-json=j --inpaint-masks=m --first-frame=f --first-frame-json=k --output=o --generated=g"
        " --sidecar=s",
        {"cogvideox": "cogvideox", "videopainter": "videopainter"},
    ),
    "evaluate_edit": (
        "--clip=c --edited=e --inpaint-masks=m --text=t --json=j",
        {"clip-score-model": "clip", "clip-temporal-model": "clip"},
    ),
    "drive": (
        "--pai-root=p --clip-id=c --videos v --arm=original --output=o --vis-data=d",
        {"checkpoint": "alpamayo"},
    ),
}


def arguments(name: str, tiny) -> list[str]:
    flags, checkpoints = STAGES[name]
    return [*flags.split(), *(f"--{flag}={tiny(model)}" for flag, model in checkpoints.items()), "--device=cpu"]


@pytest.mark.parametrize("name", STAGES)
def test_load_reads_only_the_arguments_that_it_names(name, tiny):
    """A worker keeps models for all items that agree in LOADS: what `load` read besides would be another item's."""
    module = stage.load_script(SCRIPTS / f"{name}.py")
    args = module.parser().parse_args(arguments(name, tiny))
    models = module.load(stage.load_arguments(module, args))
    if name == "first_frame":  # its models are loaded at their first use
        models.painter()
        models.critic()


@pytest.mark.parametrize("name", [*STAGES, "train_lora"])
def test_a_failure_of_memory_has_a_key_to_turn(name):
    from relane.config.schema import every_key

    module = stage.load_script(SCRIPTS / f"{name}.py")
    keys = {key for key, _ in every_key()}
    named = re.findall(r"[a-z0-9_]+\.[a-z_]+", module.LESS_MEMORY)
    assert named
    assert set(named) <= keys


@pytest.mark.parametrize("name", STAGES)
def test_a_jobs_own_process_imports_no_model_library(name):
    """What on_gpu.py does before it hands over costs every job; torch and friends would cost it seconds."""
    code = (
        "import sys; from pathlib import Path; from relane.workers import client, stage\n"
        f"script = Path({str(SCRIPTS / name)!r} + '.py'); module = stage.load_script(script)\n"
        f"args = module.parser().parse_args({STAGES[name][0].split()} + {[f'--{f}=x' for f in STAGES[name][1]]})\n"
        "stage.model_key(script, module, args)\n"
        "print(*({'torch', 'numpy', 'cv2', 'diffusers', 'transformers', 'sam2', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SCRIPTS,
        env=os.environ | {"PYTHONPATH": str(SCRIPTS)},
        capture_output=True,
        text=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("", "")


def rules() -> dict[str, str]:
    """Every rule's text by its name."""
    found = {}
    for file in (ROOT / "rules").glob("*.smk"):
        for name, body in re.findall(r"^(?:rule|checkpoint) (\w+):\n((?:    .*\n|\n)+)", file.read_text(), flags=re.M):
            found[name] = body
    return found


def test_every_rule_that_needs_a_gpu_leases_one_and_none_names_the_worker_in_its_params():
    on_gpu = {name for name, body in rules().items() if "gpu=1" in body}
    assert on_gpu >= {"segment_road", "first_frame", "edit_video", "evaluate_edit", "drive_arm", "train_lora"}
    for name, body in rules().items():
        assert ("{ON_GPU}" in body) == (name in on_gpu), name
        params = body.partition("params:")[2].partition("shell:")[0]
        assert not re.search(r"ON_GPU|OWNER|\[.workers", params), name
