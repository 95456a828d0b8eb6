"""The networks have the released checkpoint's tensors, and work with diffusers' caches, dispatcher and compiler."""

import pytest
import torch
from diffusers import FirstBlockCacheConfig
from diffusers.models.attention_dispatch import attention_backend

from relane.editors.videopainter.loading import network_shapes
from relane.editors.videopainter.networks import (
    CogvideoXBranchModel,
    VideoPainterTransformer,
    joint_mask,
    sample_of_block,
    token_mask,
)

RELEASED = {
    "num_attention_heads": 48,
    "in_channels": 32,
    "use_rotary_positional_embeddings": True,
    "use_learned_positional_embeddings": True,
}
WIDTH = 3072


def released_branch_table() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released branch, as its specification lists them."""
    table = {
        "patch_embed.pos_embedding": (1, 17776, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 33, 2, 2),
        "patch_embed.text_proj.weight": (WIDTH, 4096),
        "time_embedding.linear_1.weight": (512, WIDTH),
        "time_embedding.linear_2.weight": (512, 512),
        "branch_x_embedder.weight": (WIDTH, 32),
        "norm_final.weight": (WIDTH,),
        "norm_out.linear.weight": (2 * WIDTH, 512),
        "norm_out.norm.weight": (WIDTH,),
        "proj_out.weight": (64, WIDTH),
    }
    for index in range(2):
        block = f"transformer_blocks.{index}"
        table[f"branch_blocks.{index}.weight"] = (WIDTH, WIDTH)
        for norm in ("norm1", "norm2"):
            table |= {f"{block}.{norm}.linear.weight": (6 * WIDTH, 512), f"{block}.{norm}.norm.weight": (WIDTH,)}
        for linear in ("to_q", "to_k", "to_v", "to_out.0"):
            table[f"{block}.attn1.{linear}.weight"] = (WIDTH, WIDTH)
        table |= {f"{block}.attn1.norm_{name}.weight": (64,) for name in "qk"}
        table |= {f"{block}.ff.net.0.proj.weight": (4 * WIDTH, WIDTH), f"{block}.ff.net.2.weight": (WIDTH, 4 * WIDTH)}
    biases = {name.replace(".weight", ".bias"): shape[:1] for name, shape in table.items() if name.endswith(".weight")}
    return table | biases


def test_a_5b_branch_has_the_released_tensors():
    shapes = network_shapes(CogvideoXBranchModel, {**RELEASED, "num_layers": 2})
    assert shapes == released_branch_table()
    assert len(shapes) == 71
    counts = [torch.Size(shape).numel() for name, shape in shapes.items() if name != "patch_embed.pos_embedding"]
    assert sum(counts) == 301_568_576


def test_a_5b_transformer_has_the_stock_tensors():
    from diffusers import CogVideoXTransformer3DModel

    config = {**RELEASED, "num_layers": 42}
    shapes = network_shapes(VideoPainterTransformer, config)
    assert shapes == network_shapes(CogVideoXTransformer3DModel, config)
    assert sum(torch.Size(s).numel() for n, s in shapes.items() if "pos_embedding" not in n) == 5_570_479_680


def test_samples_are_spread_evenly_over_the_blocks():
    samples = [torch.tensor(0), torch.tensor(1)]
    assert [int(sample_of_block(samples, index, 42)) for index in range(42)] == [0] * 21 + [1] * 21
    first = [sample_of_block(samples, index, 42, add_first=True) for index in range(42)]
    assert first[:2] == samples
    assert first[2:] == [None] * 40


def test_a_token_is_masked_if_any_of_its_cells_is():
    mask = torch.zeros(1, 2, 1, 4, 4)
    mask[0, 1, 0, 1, 2] = 1  # frame 1, second row of the first patch row, second patch column
    tokens = token_mask(mask)
    assert tokens.nonzero().tolist() == [[0, 4 + 1]]
    assert joint_mask(tokens, 3).nonzero().tolist() == [[0, 3 + 5]]


@pytest.fixture
def step(golden):
    """A function that runs one transformer step of the tiny model, branch samples and mask included."""
    models, given = golden.models(), golden.inputs
    rotary = models._rotary(golden.options("single"), 9)
    x = torch.cat([given["m_latents"], given["m_image"]], dim=2)
    condition = torch.cat([given["m_masked"], given["m_mask"]], dim=2)

    @torch.no_grad()
    def run(**extra) -> torch.Tensor:
        samples = models.branch(given["m_latents"], given["m_text"], condition, given["m_timestep"], rotary)
        with models.transformer.cache_context("cond_uncond"):
            return models.transformer(
                x, given["m_text"], given["m_timestep"], rotary,
                branch_samples=samples, token_mask=token_mask(given["m_mask"]), **extra,
            )[0]  # fmt: skip

    run.models = models
    return run


def test_samples_reach_only_tokens_outside_the_mask(step):
    """The first block's video tokens inside the mask are those of a run without samples."""
    transformer, given = step.models.transformer, torch.Generator().manual_seed(0)
    block = transformer.transformer_blocks[0]
    video, text, temb = (torch.randn(*shape, generator=given) for shape in ((1, 6, 32), (1, 8, 32), (1, 8)))
    residual = torch.randn(1, 6, 32, generator=given)
    keep = torch.tensor([True, False, True, False, False, False])[None, :, None]
    with torch.no_grad():
        plain, plain_text = block(video, text, temb)
        added, added_text = block(video, text, temb, residual=residual, keep=keep)
    torch.testing.assert_close(added, plain + torch.where(keep, 0.0, residual), rtol=0, atol=0)
    torch.testing.assert_close(added_text, plain_text, rtol=0, atol=0)


def test_first_block_cache_skips_blocks_with_their_samples(step):
    plain = step()
    transformer = step.models.transformer
    transformer.enable_cache(FirstBlockCacheConfig(threshold=1e9))
    calls = []
    handle = transformer.transformer_blocks[2].attn1.register_forward_hook(lambda *_: calls.append(1))
    first, second = step(), step()
    handle.remove()
    # The second step is answered from the cache; a sample added outside the block would be added twice.
    assert len(calls) == 1
    torch.testing.assert_close(first, plain, rtol=0, atol=0)
    torch.testing.assert_close(second, plain, rtol=1e-4, atol=1e-5)


def test_attention_goes_through_the_dispatcher(step):
    plain = step()
    for network in (step.models.transformer, step.models.branch):
        network.set_attention_backend("_native_math")
        assert all(p._attention_backend == "_native_math" for p in network.attn_processors.values())
    torch.testing.assert_close(step(), plain, rtol=1e-4, atol=1e-5)


def test_another_models_backend_does_not_change_ours(step):
    plain = step()
    with attention_backend("_native_math"):
        torch.testing.assert_close(step(), plain, rtol=0, atol=0)


def test_blocks_compile_once_and_not_once_a_layer(step):
    plain = step()
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    step.models.transformer.compile_repeated_blocks(fullgraph=True, backend=count)
    torch.testing.assert_close(step(), plain, rtol=1e-5, atol=1e-6)
    assert len(graphs) == 1
    torch._dynamo.reset()
