"""Speed options: the same results by a faster way, and a clear word where there is none."""

import sys
import types
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from relane import noise
from relane.errors import InputError
from relane.models import acceleration, flash4
from relane.models.acceleration import Speed
from relane.models.flux_fill import FluxFill
from simworld.tiny import flux_fill

CPU = torch.device("cpu")


def flux(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return flux_fill.transformer()


@torch.no_grad()
def predict(network: nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return network(
        hidden_states=torch.randn(1, 6, 384, generator=generator),
        timestep=torch.tensor([0.5]),
        guidance=torch.tensor([30.0]),
        pooled_projections=torch.randn(1, 64, generator=generator),
        encoder_hidden_states=torch.randn(1, 5, 64, generator=generator),
        txt_ids=torch.zeros(5, 3),
        img_ids=torch.randn(6, 3, generator=generator),
        return_dict=False,
    )[0]


def test_fused_projections_give_the_same_prediction_by_fewer_products() -> None:
    plain, fused = flux(), flux()
    before = predict(plain)
    products = [name for name, module in plain.named_modules() if isinstance(module, nn.Linear)]
    acceleration.speed_up(fused, Speed(fuse_projections=True), CPU)
    torch.testing.assert_close(predict(fused), before, rtol=1e-5, atol=1e-5)
    left = [name for name, module in fused.named_modules() if isinstance(module, nn.Linear)]
    # Three become one: once a single-stream block (2), for pictures and for text a double-stream block (1).
    assert len(products) - len(left) == 2 * (2 + 2 * 1)
    assert sum(p.numel() for p in fused.parameters()) == sum(p.numel() for p in plain.parameters())


def test_projections_under_an_adapter_are_not_fused() -> None:
    from relane.training.lora import adapter

    network = flux()
    adapter.add(network, rank=2, alpha=2, seed=0)
    with pytest.raises(InputError, match="a LoRA sits on the projections"):
        acceleration.fuse(network)


def test_channels_last_moves_the_weights_of_convolutions_and_no_result() -> None:
    torch.manual_seed(0)
    plain = flux_fill.autoencoder()
    picture = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        before = plain.encode(picture).latent_dist.mean
        acceleration.channels_last(plain)
        after = plain.encode(picture).latent_dist.mean
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    kernels = [module.weight for module in plain.modules() if isinstance(module, nn.Conv2d)]
    assert all(kernel.is_contiguous(memory_format=torch.channels_last) for kernel in kernels)
    both = nn.ModuleList([nn.Conv2d(2, 4, 3), nn.Conv3d(2, 4, 3)])
    acceleration.channels_last(both)
    assert both[1].weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert both[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_one_graph_serves_all_blocks_of_a_class() -> None:
    torch.manual_seed(0)
    network, graphs = flux_fill.transformer(layers=4, single_layers=6).eval(), []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch._dynamo.reset()
    before = predict(network)
    acceleration.compile_blocks(network, backend)
    torch.testing.assert_close(predict(network), before, rtol=1e-5, atol=1e-6)
    torch._dynamo.reset()
    # For each of the two classes one graph, and one more for its first block, whose inputs have other strides.
    assert len(graphs) <= 4


def test_only_products_over_tokens_are_done_in_8_bits() -> None:
    network = flux()
    chosen = {name for name, module in network.named_modules() if acceleration.takes_fp8(module, name)}
    assert "transformer_blocks.0.attn.to_q" in chosen
    assert "single_transformer_blocks.1.proj_mlp" in chosen
    assert not [name for name in chosen if "norm" in name or "block" not in name]


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (Speed(fp8=True), "fp8: cpu has no 8-bit products"),
        (Speed(attention_backend="magic"), "attention_backend: 'magic' cannot be used here"),
    ],
)
def test_what_cannot_be_done_here_is_said(how: Speed, words: str) -> None:
    with pytest.raises(InputError, match=words):
        acceleration.speed_up(flux(), how, CPU)


def test_a_painter_of_fused_projections_carries_its_lora_in_the_weights(tiny, tmp_path) -> None:
    from relane.training.lora import adapter

    network = FluxFill(tiny("flux_fill")).pipe.transformer
    for parameter in adapter.add(network, rank=2, alpha=2, seed=0):
        nn.init.normal_(parameter, std=0.5)
    adapter.save_for_pipeline(network, tmp_path / "lora.safetensors", torch.float32)
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    mask = np.ones((32, 48), bool)

    def paint(scale: float, how: Speed) -> np.ndarray:
        painter = FluxFill(tiny("flux_fill"), tmp_path / "lora.safetensors", scale, speed=how)
        return painter.paint(
            frame, mask, "road", partial(noise.generator, "a"), num_inference_steps=2, max_sequence_length=16
        ).astype(int)

    plain, fused = paint(0.7, Speed()), paint(0.7, Speed(fuse_projections=True, channels_last=True))
    assert np.abs(plain - fused).max() <= 1  # grey levels
    assert np.abs(plain - paint(0.0, Speed())).max() > 5


def test_flash_4_gets_the_networks_own_tokens_and_gives_its_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library itself needs a card: here a stand-in attends, and counts."""
    calls = []

    def flash_attn_func(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, softmax_scale: float) -> tuple:
        calls.append(tuple(q.shape))
        heads_first = (part.transpose(1, 2) for part in (q, k, v))
        return nn.functional.scaled_dot_product_attention(*heads_first, scale=softmax_scale).transpose(1, 2), None

    monkeypatch.setitem(sys.modules, "flash_attn", types.ModuleType("flash_attn"))
    monkeypatch.setitem(sys.modules, "flash_attn.cute", types.SimpleNamespace(flash_attn_func=flash_attn_func))
    plain, network = flux(), flux()
    flash4.put_in_place(network)
    torch.testing.assert_close(predict(network), predict(plain))
    assert len(calls) == len(network.transformer_blocks) + len(network.single_transformer_blocks)
    assert calls[0][1] == 6 + 5  # tokens of the picture and of the text, and behind them the heads
    acceleration.compile_blocks(network, "eager")
    torch.testing.assert_close(predict(network), predict(plain))


def test_flash_4_says_where_it_cannot_run() -> None:
    with pytest.raises(InputError, match=r"flash_4 is for Hopper and Blackwell cards, not cpu"):
        acceleration.speed_up(flux(), Speed(attention_backend="flash_4"), CPU)
