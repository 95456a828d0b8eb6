"""LoRA files of others: whatever they are called and however their scale is written, they do what diffusers does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import FluxFillPipeline
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from relane.errors import InputError
from relane.models.lora_files import find, load_lora

LAYERS = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.0.attn.to_out.0",
    "single_transformer_blocks.0.attn.to_k",
)
CLIP_LAYER = "encoder.layers.0.self_attn.q_proj"


@pytest.fixture
def pipe(tiny: Callable[[str], Path]) -> FluxFillPipeline:
    return FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)


def deltas(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """What the loaded adapters add to each weight of a network that is not zero."""
    found = {}
    for name, module in network.named_modules():
        for adapter in getattr(module, "lora_A", ()):
            if hasattr(module, "get_delta_weight"):
                delta = module.get_delta_weight(adapter).detach()
                found[name] = delta
    return {name: delta for name, delta in found.items() if delta.any()}


def check_same(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert ours
    for name, delta in theirs.items():
        torch.testing.assert_close(ours[name], delta, rtol=1e-5, atol=1e-6 * float(delta.abs().max()))


def pairs(pipe: FluxFillPipeline, ranks: dict[str, int], seed: int = 0) -> dict[str, torch.Tensor]:
    """Random A and B for layers of the transformer, under diffusers' names."""
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for layer, rank in ranks.items():
        module = pipe.transformer.get_submodule(layer)
        tensors[f"transformer.{layer}.lora_A.weight"] = torch.randn(rank, module.in_features, generator=generator)
        tensors[f"transformer.{layer}.lora_B.weight"] = torch.randn(module.out_features, rank, generator=generator)
    return tensors


def stock(tiny: Callable[[str], Path], file: Path) -> FluxFillPipeline:
    """diffusers' own pipeline with the LoRA loaded by diffusers alone."""
    plain = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    plain.load_lora_weights(str(file.parent), weight_name=file.name, local_files_only=True)
    return plain


def by_hand(tensors: dict[str, torch.Tensor], scales: dict[str, float]) -> dict[str, torch.Tensor]:
    """s B A of every layer."""
    return {
        layer: scale * tensors[f"transformer.{layer}.lora_B.weight"] @ tensors[f"transformer.{layer}.lora_A.weight"]
        for layer, scale in scales.items()
    }


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "my road lines v2.safetensors"])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"lora_alpha": 2},
        {"lora_alpha": 8, "use_rslora": True},
        {"lora_alpha": 4, "alpha_pattern": {"transformer_blocks.0.attn.to_q": 16}},
        {"lora_alpha": 4, "rank_pattern": {"single_transformer_blocks.0.attn.to_k": 2}, "use_rslora": True},
    ],
)
def test_a_file_of_diffusers_with_its_metadata_is_what_diffusers_makes_of_it(
    pipe, tiny, tmp_path, name, config
) -> None:
    ranks = dict.fromkeys(LAYERS, 4) | config.get("rank_pattern", {})
    whole = {"r": 4, "target_modules": list(LAYERS), **config}
    header = {"format": "pt"}
    if config:
        header["lora_adapter_metadata"] = json.dumps({f"transformer.{key}": value for key, value in whole.items()})
    save_file(pairs(pipe, ranks), tmp_path / name, header)
    load_lora(pipe, tmp_path / name, 1.0)
    check_same(deltas(pipe.transformer), deltas(stock(tiny, tmp_path / name).transformer))


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"lora_alpha": 4}, (1, 1, 1)),
        ({"lora_alpha": 2}, (0.5, 0.5, 0.5)),
        ({"lora_alpha": 8, "use_rslora": True}, (4, 4, 4)),
        ({"lora_alpha": 4, "alpha_pattern": {"to_q": 16}}, (4, 1, 1)),
        ({"lora_alpha": 4, "alpha_pattern": {"transformer_blocks.0.attn.to_out.0": 2}, "use_rslora": True}, (2, 1, 2)),
        ({"lora_alpha": 4, "rank_pattern": {"to_q": 2}}, (2, 1, 1)),
    ],
)
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "renamed.safetensors"])
def test_a_folder_of_peft_is_what_peft_makes_of_it(pipe, tiny, tmp_path, name, config, scales) -> None:
    model = get_peft_model(
        pipe.transformer, LoraConfig(r=4, target_modules=list(LAYERS), init_lora_weights=False, **config)
    )
    model.save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / name)
    fresh = FluxFillPipeline.from_pretrained(tiny("flux_fill"), local_files_only=True)
    load_lora(fresh, tmp_path if name == "renamed.safetensors" else tmp_path / name, 1.0)
    check_same(deltas(fresh.transformer), deltas(model.base_model.model))
    tensors = {name.replace("base_model.model.", "transformer."): t for name, t in load_file(tmp_path / name).items()}
    check_same(deltas(fresh.transformer), by_hand(tensors, dict(zip(LAYERS, scales, strict=True))))


def test_an_alpha_tensor_a_layer_sets_its_scale(pipe, tiny, tmp_path) -> None:
    tensors = pairs(pipe, dict(zip(LAYERS, (4, 4, 2), strict=True)))
    alphas = {
        f"transformer.{layer}.alpha": torch.tensor(alpha) for layer, alpha in zip(LAYERS, (8.0, 2.0, 8.0), strict=True)
    }
    save_file(tensors | alphas, tmp_path / "x.safetensors", {"format": "pt"})
    load_lora(pipe, tmp_path / "x.safetensors", 1.0)
    check_same(deltas(pipe.transformer), by_hand(tensors, dict(zip(LAYERS, (2, 0.5, 4), strict=True))))
    check_same(deltas(pipe.transformer), deltas(stock(tiny, tmp_path / "x.safetensors").transformer))


def test_kohya_s_names_and_alphas_are_understood(pipe, tiny, tmp_path) -> None:
    width = pipe.transformer.get_submodule(LAYERS[0]).in_features
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight": torch.randn(4, width, generator=generator),
        "lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight": torch.randn(3 * width, 4, generator=generator),
        "lora_unet_double_blocks_0_img_attn_qkv.alpha": torch.tensor(2.0),
    }
    save_file(tensors, tmp_path / "kohya.safetensors")
    load_lora(pipe, tmp_path / "kohya.safetensors", 1.0)
    made = deltas(pipe.transformer)
    check_same(made, deltas(stock(tiny, tmp_path / "kohya.safetensors").transformer))
    down, up, _ = tensors.values()
    torch.testing.assert_close(made[LAYERS[0]], 0.5 * up[:width] @ down)


def clip_pair(pipe: FluxFillPipeline, width: int = 0, part: str = "text_encoder") -> dict[str, torch.Tensor]:
    layer = next(name for name, _ in pipe.text_encoder.named_modules() if name.endswith(CLIP_LAYER))
    module = pipe.text_encoder.get_submodule(layer)
    generator = torch.Generator().manual_seed(1)
    return {
        f"{part}.{layer}.lora_A.weight": torch.randn(4, width or module.in_features, generator=generator),
        f"{part}.{layer}.lora_B.weight": torch.randn(module.out_features, 4, generator=generator),
    }


def test_a_file_for_transformer_and_clip_goes_into_both_as_in_diffusers(pipe, tiny, tmp_path) -> None:
    save_file(pairs(pipe, dict.fromkeys(LAYERS, 4)) | clip_pair(pipe), tmp_path / "both.safetensors", {"format": "pt"})
    assert load_lora(pipe, tmp_path / "both.safetensors", 1.0) == []
    theirs = stock(tiny, tmp_path / "both.safetensors")
    check_same(deltas(pipe.transformer), deltas(theirs.transformer))
    check_same(deltas(pipe.text_encoder), deltas(theirs.text_encoder))


@pytest.mark.parametrize("other", [{"width": 7}, {"part": "text_encoder_2"}, {"part": "unet"}])
def test_what_belongs_to_no_part_of_this_model_is_left_out_and_named(pipe, tmp_path, capsys, other) -> None:
    tensors = pairs(pipe, dict.fromkeys(LAYERS, 4))
    save_file(tensors | clip_pair(pipe, **other), tmp_path / "x.safetensors", {"format": "pt"})
    said = load_lora(pipe, tmp_path / "x.safetensors", 1.0)
    part = other.get("part", "text_encoder")
    assert said == [f"2 tensors of {part} were left out: only LoRAs of the transformer and CLIP are used"]
    assert said[0] in capsys.readouterr().err
    check_same(deltas(pipe.transformer), by_hand(tensors, dict.fromkeys(LAYERS, 1)))
    assert not deltas(pipe.text_encoder)


def test_a_peft_file_without_its_configuration_counts_in_full_and_says_so(pipe, tmp_path) -> None:
    tensors = pairs(pipe, dict.fromkeys(LAYERS, 4))
    bare = {name.replace("transformer.", "base_model.model.", 1): tensor for name, tensor in tensors.items()}
    save_file(bare, tmp_path / "alone.safetensors")
    assert load_lora(pipe, tmp_path / "alone.safetensors", 1.0) == [
        "no adapter_config.json beside it: alpha is taken to be the rank"
    ]
    check_same(deltas(pipe.transformer), by_hand(tensors, dict.fromkeys(LAYERS, 1)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_lora_with_a_number_that_is_none_is_refused(pipe, tmp_path, value) -> None:
    tensors = pairs(pipe, dict.fromkeys(LAYERS, 4))
    next(iter(tensors.values()))[0, 0] = value
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"x\.safetensors: tensor transformer.* the file is damaged"):
        load_lora(pipe, tmp_path / "x.safetensors", 1.0)


def test_a_folder_s_only_file_is_found_and_of_several_one_must_be_named(tmp_path) -> None:
    for name in ("b.safetensors", "a.safetensors"):
        shutil.rmtree(tmp_path / "one", ignore_errors=True)
        (tmp_path / "one").mkdir()
        (tmp_path / "one" / name).touch()
        assert find(tmp_path / "one").name == name
    (tmp_path / "one/b.safetensors").touch()
    with pytest.raises(InputError, match=r"2 safetensors files \(a\.safetensors, b\.safetensors\); name the one"):
        find(tmp_path / "one")
    (tmp_path / "one/adapter_model.safetensors").touch()
    assert find(tmp_path / "one").name == "adapter_model.safetensors"
