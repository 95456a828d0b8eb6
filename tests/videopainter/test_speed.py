"""What the editor may leave out or do at once: the same result where that is promised, fewer calls where not."""

import argparse

import edit_video
import numpy as np
import pytest
import torch

from relane.editors.videopainter.denoise import skipped_steps
from relane.editors.videopainter.offload import Parked
from relane.editors.videopainter.options import Options
from relane.errors import InputError
from relane.models import acceleration
from tests.videopainter.test_pipeline import OURS, Clip


def rows_per_call(models) -> list[int]:
    """The batch of every call of the transformer, as they come."""
    rows, forward = [], models.transformer.forward
    models.transformer.forward = lambda hidden, *args, **kwargs: (
        rows.append(len(hidden)) or forward(hidden, *args, **kwargs)
    )
    return rows


def test_skipping_guidance_halves_the_batch_in_that_share_of_the_steps(golden):
    models = golden.models()
    rows = rows_per_call(models)
    options = OURS.replace(num_inference_steps=6)
    full = Clip(9).edit(models, golden, options)
    assert rows == [2] * 6
    rows.clear()
    skipped = Clip(9).edit(models, golden, options.replace(guidance_skip=0.5))
    assert rows == [2, 1, 2, 1, 2, 1]
    assert np.isfinite(skipped).all()
    assert np.abs(full - skipped).max() > 0
    rows.clear()
    unguided = Clip(9).edit(models, golden, options.replace(guidance_skip=0.5, guidance_scale=1.0))
    assert rows == [1] * 6
    assert np.isfinite(unguided).all()


def test_a_skipped_step_keeps_the_difference_that_the_prompt_made_before(golden):
    """Where both prompts are the same text there is nothing to keep, and skipping changes nothing."""
    models, same = golden.models(), golden.inputs["negative_prompt_embeds"]
    options = OURS.replace(num_inference_steps=4)
    full = Clip(9).edit(models, golden, options, prompt=same)
    skipped = Clip(9).edit(models, golden, options.replace(guidance_skip=0.5), prompt=same)
    np.testing.assert_allclose(skipped, full, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 2, 7, 50])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_skipped_steps_are_as_many_as_asked_for_and_never_the_first(steps, share):
    skipped = skipped_steps(steps, share)
    assert len(skipped) == min(int(steps * share), steps - 1)
    assert skipped <= set(range(1, steps))
    gaps = np.diff(sorted(skipped))
    assert not gaps.size or gaps.max() - gaps.min() <= 1


def test_skipped_steps_and_the_first_block_cache_do_not_mix_their_batches(golden):
    models = golden.models()
    calls = []
    models.transformer.transformer_blocks[2].attn1.register_forward_hook(lambda *given: calls.append(len(given[2][0])))
    options = OURS.replace(num_inference_steps=6, first_block_cache=1e9, guidance_skip=0.5)
    assert np.isfinite(Clip(9).edit(models, golden, options)).all()
    assert calls == [2, 1]  # each kind of step once in full, the others from its own cache


@pytest.mark.parametrize("changes", [{"guidance_skip": 0.3}, {"first_block_cache": 0.1}])
def test_exact_mode_leaves_nothing_out(changes):
    with pytest.raises(InputError, match="mode exact does every step in full"):
        Options.exact(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"guidance_skip": 1.0}, r"guidance_skip: 1\.0 should be less than 1"),
        ({"guidance_skip": 0.5, "prev_clip_weight": 0.5}, "together"),
    ],
)
def test_a_share_that_does_not_serve_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        Options(**changes)


@pytest.mark.parametrize("options", [OURS, Options.exact(num_inference_steps=2, stride=5, prev_clip_weight=0.5)])
@pytest.mark.parametrize("id_mode", [False, True])
def test_fused_projections_paint_the_same(golden, options, id_mode):
    plain = Clip(14).edit(golden.models(id_mode=id_mode), golden, options)
    models = golden.models(id_mode=id_mode)
    for network in (models.transformer, models.branch):
        acceleration.fuse(network)
        assert not hasattr(network.transformer_blocks[0].attn1, "to_q")
    np.testing.assert_allclose(Clip(14).edit(models, golden, options), plain, atol=1e-4)


def test_a_vae_of_channels_last_paints_the_same(golden):
    plain, models = Clip(9).edit(golden.models(), golden), golden.models()
    acceleration.channels_last(models.vae)
    np.testing.assert_allclose(Clip(9).edit(models, golden), plain, atol=1e-4)


def test_a_parked_network_works_on_the_device_and_waits_where_it_was():
    network = torch.nn.BatchNorm1d(3)

    def places() -> list[int]:
        return [tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())]

    before, parked = places(), Parked(network)
    with parked.on(torch.device("cpu")):
        assert not set(places()) & set(before)
        assert torch.equal(network.running_var, torch.ones(3))
    assert places() == before
    with pytest.raises(RuntimeError), parked.on(torch.device("cpu")):
        raise RuntimeError
    assert places() == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fp8": True, "mode": "exact"}, "fp8: not in mode exact"),
        ({"fp8": True, "offload": "model"}, r"not with video\.offload"),
        ({"fuse_projections": True, "videopainter_id": "folder"}, r"the LoRA of checkpoints\.videopainter_id sits"),
        ({"guidance_skip": 0.5, "mode": "exact"}, "guidance_skip: mode exact"),
    ],
)
def test_flags_that_contradict_each_other_are_refused_before_anything_is_loaded(changes, words):
    needed = "clip clip-json inpaint-masks first-frame first-frame-json cogvideox videopainter output generated sidecar"
    args = edit_video.parser().parse_args([word for name in needed.split() for word in (f"--{name}", "x")])
    with pytest.raises(InputError, match=words):
        edit_video.check(argparse.Namespace(**{**vars(args), **changes}))
