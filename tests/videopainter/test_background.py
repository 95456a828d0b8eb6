"""Steps on the hole alone: exact where the background has not changed, and cheaper than full ones."""

import numpy as np
import pytest
import torch

from relane.editors.videopainter.background import Background
from relane.editors.videopainter.networks import token_mask
from relane.editors.videopainter.options import Options
from relane.errors import InputError
from relane.models.acceleration import compile_blocks
from tests.videopainter.test_pipeline import OURS, Clip


class Step:
    """The transformer on one window's inputs, as the denoiser calls it."""

    def __init__(self, models, rows: int = 2):
        config, draw = models.transformer.config, torch.Generator().manual_seed(0)
        shape = (rows, 3, 2 * config.out_channels, config.sample_height, config.sample_width)
        self.models, self.noisy = models, torch.randn(shape, generator=draw)
        self.text = torch.randn(rows, config.max_text_seq_length, config.text_embed_dim, generator=draw)
        mask = torch.zeros(1, 3, 1, *shape[3:])
        mask[:, 1:, :, 2:, : shape[4] // 2] = 1
        self.tokens = token_mask(mask)
        width = config.num_attention_heads * config.attention_head_dim
        self.samples = [torch.randn(rows, self.tokens.shape[1], width, generator=draw) for _ in range(2)]

    def __call__(self, rows: slice = slice(None), **how) -> torch.Tensor:
        text = self.text[rows]
        samples = [sample[rows] for sample in self.samples]
        tokens = self.tokens.expand(len(text), -1)
        rotary = self.models._rotary(OURS, 9)
        time = torch.full((len(text),), 500)
        return self.models.transformer(
            self.noisy[rows], text, time, rotary, branch_samples=samples, token_mask=tokens, **how
        )[0]

    @property
    def hole(self) -> torch.Tensor:
        """Where the hole's tokens lie, as latents (L, 1, h, w) bool."""
        frames, (height, width) = 3, self.noisy.shape[3:]
        cells = self.tokens.view(frames, 1, height // 2, width // 2)
        return cells.repeat_interleave(2, 2).repeat_interleave(2, 3)


@torch.no_grad()
def test_a_step_on_the_hole_alone_is_exact_while_the_background_stays_as_it_was(golden):
    step = Step(golden.models())
    background = Background(step.tokens[0])
    plain = step()
    torch.testing.assert_close(step(background=background, full=True), plain, atol=1e-5, rtol=1e-5)
    partial = step(background=background, full=False)
    hole = step.hole.expand_as(plain[0])
    torch.testing.assert_close(partial[:, hole], plain[:, hole], atol=1e-5, rtol=1e-5)
    assert not partial[:, ~hole].any()


@torch.no_grad()
def test_a_step_without_the_negative_prompt_uses_and_renews_the_prompts_own_memory(golden):
    step = Step(golden.models())
    background = Background(step.tokens[0])
    both = step(background=background, full=True)
    hole = step.hole.expand_as(both[0])
    alone = step(slice(1, 2), background=background, full=False)
    torch.testing.assert_close(alone[0, hole], both[1, hole], atol=1e-5, rtol=1e-5)
    step.noisy += 1
    step(slice(1, 2), background=background, full=True)
    renewed = step(background=background, full=False)
    torch.testing.assert_close(renewed[1, hole], step()[1, hole], atol=1e-5, rtol=1e-5)
    assert (renewed[0, hole] - step()[0, hole]).abs().max() > 1e-4  # the other row remembers what was


def test_looking_at_the_background_in_every_step_changes_nothing(golden):
    models, options = golden.models(), OURS.replace(num_inference_steps=4)
    plain = Clip(17).edit(models, golden, options)
    np.testing.assert_allclose(Clip(17).edit(models, golden, options.replace(background_refresh=1)), plain, atol=1e-4)


def test_between_looks_only_the_holes_tokens_are_computed_and_no_branch(golden):
    models, queries, branches = golden.models(), [], []
    block = models.transformer.transformer_blocks[0]
    block.ff.register_forward_hook(lambda module, given, out: queries.append(given[0].shape[1]))
    models.branch.register_forward_hook(lambda *given: branches.append(1))
    edited = Clip(9).edit(models, golden, OURS.replace(num_inference_steps=6, background_refresh=3))
    assert np.isfinite(edited).all()
    assert len(branches) == 2
    full, partial = queries[0], queries[1]
    assert queries == [full, partial, partial] * 2
    assert partial < full


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"background_refresh": -1}, "-1 should be greater than or equal to 0"),
        ({"background_refresh": 2, "replace_gt": False}, r"needs video\.replace_gt"),
        ({"background_refresh": 2, "mask_add": False}, "mask_add"),
        ({"background_refresh": 2, "first_block_cache": 0.1}, "cannot be used with"),
        ({"background_refresh": 2, "prev_clip_weight": 0.5}, "cannot be used with"),
    ],
)
def test_what_does_not_go_with_it_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Options(**changes)


def test_exact_mode_refuses_it():
    with pytest.raises(InputError, match="background_refresh: mode exact"):
        Options.exact(background_refresh=2)


@torch.no_grad()
def test_holes_of_any_size_share_their_compiled_graphs(golden, monkeypatch):
    """A window's hole has a size of its own; a graph each would be minutes of compilation, or torch's giving up."""
    monkeypatch.setattr(torch._dynamo.config, "fail_on_recompile_limit_hit", True)
    step, graphs = Step(golden.models()), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compile_blocks(step.models.transformer, backend)
    made = []
    everything = step.tokens.shape[1]
    for hole in (5, 9, everything, 7, 12, 6):
        step.tokens = (torch.arange(step.tokens.shape[1]) < hole)[None]
        background = Background(step.tokens[0])
        for rows in (slice(None), slice(1, 2)):
            for full in (True, False):
                step(rows, background=background, full=full)
        made.append(len(graphs))
    assert made[0] > 0
    assert made[2] == made[-1]
