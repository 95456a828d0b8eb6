"""Exact mode gives the original's numbers within rounding, and the check that says so notices when anything is off."""

import contextlib
import json
import shutil

import check_videopainter as check
import pytest
import torch
from safetensors.torch import load_file, save_file

from relane.io.files import read_json

CASES = read_json(check.Path(check.__file__).parent / "videopainter" / "report.json")["cases"]
QUIRKS = [
    ("id_lora_three", {"previous_mask": "previous"}),
    ("prev_plain_overlap4", {"prev_clip_weight": 0.0}),
    ("single", {"guidance": "constant"}),
    ("single", {"mask_latents": "any"}),
    ("single", {"rotary_base": "checkpoint"}),
    ("single", {"hole_value": -1.0}),
    ("single", {"mask_add": False}),
    ("single", {"add_first": True}),
    ("ddim", {"sampler": "dpm"}),
]
NAMED = [f"{case}-{next(iter(changes))}" for case, changes in QUIRKS]


def ok(verdicts: dict) -> bool:
    return all(verdict.ok for verdict in verdicts.values())


@pytest.mark.parametrize("case", [name for name, outcome in CASES.items() if outcome["ok"]])
def test_exact_mode_reproduces_the_original(golden, case):
    assert ok(check.compare_case(golden, case))


def test_modules_reproduce_the_original(golden):
    verdicts = dict(check.compare_modules(golden))
    assert len(verdicts) == 19
    assert ok(verdicts)


@pytest.mark.parametrize(("case", "changes"), QUIRKS, ids=NAMED)
def test_each_quirk_matters(golden, case, changes):
    """Far more than rounding does, so that the tolerance has teeth."""
    options = golden.options(case).replace(**changes)
    theirs = load_file(golden.folder / f"case_{case}.safetensors")["final_latents"]
    verdict = check.judge(theirs, golden.run(case, options)["final_latents"])
    assert verdict.difference > 1e-4
    assert verdict.share > 2
    assert not ok(check.compare_case(golden, case, options))


# bfloat16

# Those that stand out of bfloat16's rounding on every CPU tried; how far that hides the others depends on its kernels.
LOUD = [quirk for quirk in QUIRKS if quirk[1].keys() & {"guidance", "mask_latents", "mask_add"}]
HALF_CASES = sorted({case for case, _ in LOUD} | {"static_cfg_noreplace"})


@contextlib.contextmanager
def other_kernels():
    """Linear layers add up one half of the channels, then the other, as kernels that split a long sum do."""
    linear = torch.nn.functional.linear

    def split(x, weight, bias=None):
        half = x.shape[-1] // 2
        first = linear(x[..., :half], weight[:, :half], bias)
        return (first.float() + linear(x[..., half:], weight[:, half:]).float()).to(x.dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "linear", split)
        yield


@pytest.fixture(scope="module")
def half(golden, tmp_path_factory):
    """A folder in bfloat16 as another machine would make it: the same formulas through kernels that round elsewhere."""
    folder = tmp_path_factory.mktemp("half")
    for name in ("configs", "report"):
        found = read_json(golden.folder / f"{name}.json")
        found["cases"] = {case: found["cases"][case] for case in HALF_CASES}
        (folder / f"{name}.json").write_text(json.dumps(found))
    shutil.copytree(golden.folder / "lora", folder / "lora")
    for name in ("transformer", "branch", "vae", "inputs"):
        tensors = load_file(golden.folder / f"{name}.safetensors")
        cast = {key: t.to(torch.bfloat16) if t.is_floating_point() else t for key, t in tensors.items()}
        save_file(cast, folder / f"{name}.safetensors")
    made = check.Golden(folder)
    with other_kernels():
        modules = load_file(golden.folder / "modules.safetensors")
        outputs = check.module_outputs(made, modules, torch.bfloat16) | {"prev_mask": modules["prev_mask"]}
        save_file({name: tensor.contiguous() for name, tensor in outputs.items()}, folder / "modules.safetensors")
        for case in HALF_CASES:
            stored = load_file(golden.folder / f"case_{case}.safetensors")
            traced = made.run(case)
            own = {name: check.as_stored(name, traced[name], stored[name]).contiguous() for name in stored}
            # Every step's prediction: the reduced folder has the first and the last, where the first quirk is small.
            own |= {name: tensor.contiguous() for name, tensor in traced.items() if name.endswith("_model_out")}
            save_file(own, folder / f"case_{case}.safetensors")
    return made


def test_a_folders_dtype_is_read_from_its_tensors(golden, half, tmp_path):
    assert (golden.dtype, half.dtype) == (torch.float32, torch.bfloat16)
    inputs_alone = tmp_path / "inputs"
    shutil.copytree(golden.folder, inputs_alone)
    shutil.copy(half.folder / "inputs.safetensors", inputs_alone)
    assert check.Golden(inputs_alone).dtype == torch.bfloat16


def test_a_bfloat16_folder_of_other_kernels_passes_the_script(half, capsys):
    assert check.main([str(half.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("dtype torch.bfloat16")
    moved = [line for line in lines if line.startswith("case") and "rest 0 (0.00)" not in line]
    assert len(moved) == len(HALF_CASES)  # other kernels did give other bits: equality would have failed


@pytest.mark.parametrize(("case", "changes"), LOUD, ids=[next(iter(changes)) for _, changes in LOUD])
def test_quirks_matter_in_bfloat16_too(half, case, changes):
    assert not ok(check.compare_case(half, case, half.options(case).replace(**changes)))


# The script


def test_the_script_lists_fails_and_impossible_cases(golden, tmp_path, capsys):
    folder = tmp_path / "golden"
    shutil.copytree(golden.folder, folder)
    for path in folder.glob("case_*.safetensors"):
        if path.stem not in ("case_single", "case_no_cfg"):
            path.unlink()
    assert check.main([str(folder)]) == 0
    tensors = load_file(folder / "case_no_cfg.safetensors")
    tensors["final_latents"][0, 0, 0, 0, 0] += 1e-4
    save_file(tensors, folder / "case_no_cfg.safetensors")
    assert check.main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert sum("the original cannot run it" in line for line in lines) == 6  # three cases, two runs
    assert [line.split()[1] for line in lines if line.endswith("fail")] == ["no_cfg"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_fails(value):
    theirs = torch.ones(4)
    assert check.judge(theirs, theirs.clone()).ok
    assert not check.judge(theirs, torch.tensor([1.0, 1.0, 1.0, value])).ok
    assert not check.judge(theirs, torch.ones(5)).ok
    assert not check.judge(theirs, None).ok
