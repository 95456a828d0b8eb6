"""Options say what is wrong with a value, and the original's guidance is the recorded one."""

from types import SimpleNamespace

import pytest
import torch

from relane.editors.videopainter.denoise import apply_cfg
from relane.editors.videopainter.options import Options
from relane.errors import InputError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"strength": 0.0}, "strength"),
        ({"strength": 1.5}, "strength"),
        ({"num_inference_steps": 0}, "num_inference_steps"),
        ({"num_inference_steps": 4, "strength": 0.1}, "at least one step"),
        ({"prev_clip_weight": 2.0}, "prev_clip_weight"),
        ({"hole_value": 3.0}, "hole_value"),
        ({"sampler": "euler"}, "sampler.*should be 'dpm' or 'ddim'"),
        ({"first_block_cache": 0.1, "prev_clip_weight": 0.5}, "cannot be used together"),
        ({"tail": "drop"}, "latent_average"),
    ],
)
def test_a_wrong_value_is_named(given, named):
    with pytest.raises(InputError, match=named):
        Options(**given)


def test_guidance_is_what_was_asked_for_and_the_originals_is_as_recorded(golden):
    steps = golden.report["timesteps_50_trailing"]
    scales = {}
    for options in (Options(num_inference_steps=50), Options.exact()):
        state = SimpleNamespace(options=options, guidance_per_step=[])
        for timestep in steps:
            apply_cfg(state, torch.zeros(2, 1), torch.tensor(timestep))
        scales[options.guidance] = state.guidance_per_step
    assert set(scales["constant"]) == {6.0}
    assert scales["original_dynamic"] == golden.report["dynamic_cfg_50"]


def test_guidance_moves_from_negative_to_prompt():
    state = SimpleNamespace(options=Options(guidance_scale=3.0), guidance_per_step=[])
    prediction = torch.tensor([[1.0], [2.0]], dtype=torch.bfloat16)
    result = apply_cfg(state, prediction, torch.tensor(999))
    assert result.tolist() == [[4.0]]
    assert result.dtype == torch.float32
