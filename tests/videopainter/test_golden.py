"""Exact mode gives the original's bits, and the check that says so notices when anything is off."""

import shutil

import check_videopainter as check
import pytest
from safetensors.torch import load_file, save_file

from relane.files import read_json

CASES = read_json(check.Path(check.__file__).parent / "videopainter" / "report.json")["cases"]


@pytest.mark.parametrize("case", [name for name, outcome in CASES.items() if outcome["ok"]])
def test_exact_mode_reproduces_the_original(golden, case):
    assert set(check.compare_case(golden, case).values()) == {0.0}


def test_modules_reproduce_the_original(golden):
    differences = dict(check.compare_modules(golden))
    assert len(differences) == 19
    assert set(differences.values()) == {0.0}


@pytest.mark.parametrize(
    ("case", "changes"),
    [
        ("id_lora_three", {"previous_mask": "previous"}),
        ("prev_plain_overlap4", {"prev_clip_weight": 0.0}),
        ("single", {"guidance": "constant"}),
        ("single", {"mask_latents": "any"}),
        ("single", {"rotary_base": "checkpoint"}),
        ("single", {"hole_value": -1.0}),
        ("single", {"mask_add": False}),
        ("single", {"add_first": True}),
        ("ddim", {"sampler": "dpm"}),
    ],
)
def test_each_quirk_matters(golden, case, changes):
    from dataclasses import replace

    ours = golden.run(case, replace(golden.options(case), **changes))
    theirs = load_file(golden.folder / f"case_{case}.safetensors")["final_latents"]
    assert check.difference(ours["final_latents"], theirs) > 1e-4


def test_the_script_lists_fails_and_impossible_cases(golden, tmp_path, capsys):
    folder = tmp_path / "golden"
    shutil.copytree(golden.folder, folder)
    for path in folder.glob("case_*.safetensors"):
        if path.stem not in ("case_single", "case_no_cfg"):
            path.unlink()
    assert check.main([str(folder)]) == 0
    tensors = load_file(folder / "case_no_cfg.safetensors")
    tensors["final_latents"][0, 0, 0, 0, 0] += 1e-6
    save_file(tensors, folder / "case_no_cfg.safetensors")
    assert check.main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum("the original cannot run it" in line for line in lines) == 6  # three cases, two runs
    assert [line.split()[1] for line in lines if line.endswith("fail")] == ["no_cfg"]
