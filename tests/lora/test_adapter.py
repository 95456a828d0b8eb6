"""The adapter's names, numbers and files: what other tools must be able to load."""

import json

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline, FluxTransformer2DModel
from peft import PeftModel
from safetensors.torch import load_file

from relane.errors import InputError
from relane.models.lora_files import load_lora
from relane.training.lora import adapter
from simworld.tiny import flux_fill, text

# The transformer/config.json of FLUX.1-Fill-dev.
FLUX_FILL_DEV = {
    "in_channels": 384,
    "out_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
}


def full_size():
    with torch.device("meta"):
        return FluxTransformer2DModel(**FLUX_FILL_DEV)


def small(heads=2):
    with text.seeded(0):
        return flux_fill.transformer(heads=heads)


def trained(rank=4, alpha=4.0, heads=2):
    """A small transformer with an adapter that does something: B is no longer zero."""
    model = small(heads)
    adapter.add(model, rank, alpha, seed=1)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def outputs(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        return model(
            hidden_states=torch.randn(1, 6, 384, generator=generator),
            timestep=torch.tensor([0.5]),
            guidance=torch.tensor([30.0]),
            pooled_projections=torch.randn(1, 64, generator=generator),
            encoder_hidden_states=torch.randn(1, 4, 64, generator=generator),
            txt_ids=torch.zeros(4, 3),
            img_ids=FluxFillPipeline._prepare_latent_image_ids(1, 2, 3, "cpu", torch.float32),
            return_dict=False,
        )[0]


def test_the_full_size_adapter_has_380_tensors_and_149_million_parameters():
    model = full_size()
    adapter.add(model, 128, 128, seed=0)
    # 19 double blocks x 4 projections + 38 single blocks x 3, each A (128, 3072) and B (3072, 128).
    assert adapter.size(model) == (380, 190 * 2 * 128 * 3072) == (380, 149_422_080)
    names = adapter.state(model)
    assert tuple(names["transformer_blocks.18.attn.to_out.0.lora_B.weight"].shape) == (3072, 128)
    assert tuple(names["single_transformer_blocks.37.attn.to_v.lora_A.weight"].shape) == (128, 3072)
    assert not any("to_out" in name for name in names if name.startswith("single"))


def test_the_full_size_adapter_loads_into_the_pipeline_with_no_key_left_over():
    source, target = full_size(), full_size()
    adapter.add(source, 128, 128, seed=0)
    parts = dict.fromkeys(("vae", "scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipe = FluxFillPipeline(transformer=target, **parts)
    pipe.load_lora_weights({f"transformer.{name}": tensor for name, tensor in adapter.state(source).items()})
    loaded = {name for name, _ in target.named_parameters() if "lora_" in name}
    assert loaded == {name.replace(".weight", ".default_0.weight") for name in adapter.state(source)}


def test_a_new_adapter_changes_nothing_and_is_the_same_for_the_same_seed():
    plain, one, two, other = small(), small(), small(), small()
    for model, seed in ((one, 1), (two, 1), (other, 2)):
        adapter.add(model, 4, 4, seed)
    assert torch.equal(outputs(plain), outputs(one))
    assert all(torch.equal(a, b) for a, b in zip(adapter.state(one).values(), adapter.state(two).values(), strict=True))
    name = "transformer_blocks.0.attn.to_q.lora_A.weight"
    assert not torch.equal(adapter.state(one)[name], adapter.state(other)[name])
    assert {p.dtype for p in one.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("alpha", [4.0, 10.0])
def test_the_pipeline_file_does_at_scale_one_what_the_training_did(tmp_path, tiny, alpha):
    model = trained(4, alpha)
    path = tmp_path / adapter.PIPELINE_WEIGHTS
    adapter.save_for_pipeline(model, path, torch.float32)
    pipe = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    pipe.transformer = small()
    before = outputs(pipe.transformer)
    load_lora(pipe, path, 1.0)
    np.testing.assert_allclose(outputs(pipe.transformer), outputs(model), atol=1e-5)
    assert not np.allclose(outputs(pipe.transformer), before, atol=1e-3)


def test_the_checkpoint_is_a_peft_adapter(tmp_path):
    model = trained(4, 8.0)
    adapter.save(model, tmp_path)
    assert json.loads((tmp_path / adapter.CONFIG).read_text())["target_modules"] == sorted(adapter.TARGETS)
    loaded = PeftModel.from_pretrained(small(), tmp_path)
    np.testing.assert_allclose(outputs(loaded), outputs(model), atol=1e-6)


def test_a_checkpoint_comes_back_to_the_last_bit(tmp_path):
    model = trained()
    adapter.save(model, tmp_path)
    again = small()
    adapter.add(again, 4, 4, seed=99)
    adapter.load(again, tmp_path)
    for name, tensor in adapter.state(model).items():
        assert torch.equal(adapter.state(again)[name], tensor), name
    assert set(load_file(tmp_path / adapter.WEIGHTS)) == {adapter.PEFT_PREFIX + name for name in adapter.state(model)}


def test_a_checkpoint_of_another_rank_width_or_depth_is_refused_with_both(tmp_path):
    adapter.save(trained(rank=8), tmp_path)
    four, wide, deep = small(), small(heads=4), flux_fill.transformer(layers=2)
    adapter.add(four, 4, 4, 0)
    with pytest.raises(InputError, match=r"a checkpoint of rank 8, but lora\.rank is 4"):
        adapter.load(four, tmp_path)
    adapter.add(wide, 8, 8, 0)
    with pytest.raises(InputError, match="of width 64, but this transformer has width 128"):
        adapter.load(wide, tmp_path)
    adapter.add(deep, 8, 8, 0)
    with pytest.raises(InputError, match=r"lacks transformer_blocks\.1"):
        adapter.load(deep, tmp_path)
    (tmp_path / adapter.WEIGHTS).write_bytes(b"cut short")
    eight = small()
    adapter.add(eight, 8, 8, 0)
    with pytest.raises(InputError, match="cannot be read"):
        adapter.load(eight, tmp_path)


def test_a_lora_of_the_wrong_width_does_not_load_for_painting(tmp_path, tiny):
    adapter.save_for_pipeline(trained(heads=4), tmp_path / adapter.PIPELINE_WEIGHTS, torch.float32)
    pipe = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    with pytest.raises(InputError, match="width 128, this one has width 64"):
        load_lora(pipe, tmp_path, 1.0)
