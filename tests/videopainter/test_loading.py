"""Checkpoints load by their own names; one that does not fit is named by its first wrong tensor."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from relane.editors.videopainter.loading import WEIGHTS, load_id_lora, load_videopainter
from relane.editors.videopainter.networks import VideoPainterAttention
from relane.errors import InputError

LORA = "pytorch_lora_weights.safetensors"
CPU = torch.device("cpu")


@pytest.fixture
def checkpoints(tiny, tmp_path):
    """Copies of the tiny checkpoints that a test may damage: (cogvideox, videopainter)."""
    for name in ("cogvideox", "videopainter"):
        shutil.copytree(tiny(name), tmp_path / name)
    return tmp_path / "cogvideox", tmp_path / "videopainter"


def load(folders, **extra):
    return load_videopainter(*folders, device=CPU, dtype=torch.float32, **extra)


def change(folder, edit, name: str = WEIGHTS) -> None:
    tensors = load_file(folder / name)
    edit(tensors)
    save_file(tensors, folder / name, {"format": "pt"})


def id_lora(width: int, layers: int) -> dict[str, torch.Tensor]:
    names = [f"transformer.transformer_blocks.{i}.attn1.{n}" for i in range(layers) for n in ("to_q", "to_k", "to_v")]
    names += [f"transformer.transformer_blocks.{i}.attn1.to_out.0" for i in range(layers)]
    down = {f"{name}.lora_A.weight": torch.full((4, width), 0.01) for name in names}
    return down | {f"{name}.lora_B.weight": torch.full((width, 4), 0.01) for name in names}


def test_every_tensor_arrives_under_its_own_name(checkpoints):
    models = load(checkpoints)
    for network, folder in ((models.transformer, checkpoints[0] / "transformer"), (models.branch, checkpoints[1])):
        stored, loaded = load_file(folder / WEIGHTS), network.state_dict()
        assert stored.keys() == loaded.keys()
        assert all(torch.equal(stored[name], loaded[name]) for name in stored)
    assert models.size == (128, 192)
    assert models.window == 17


def test_the_tiny_checkpoint_is_a_stock_pipeline_and_small(tiny):
    from diffusers import CogVideoXImageToVideoPipeline

    pipeline = CogVideoXImageToVideoPipeline.from_pretrained(tiny("cogvideox"), local_files_only=True)
    ids = pipeline.tokenizer("road with double yellow solid lane markings").input_ids
    assert len(set(ids)) == 8
    for name in ("cogvideox", "videopainter"):
        assert sum(path.stat().st_size for path in tiny(name).rglob("*") if path.is_file()) < 3e6


def test_the_same_seed_builds_the_same_bytes(tiny, tmp_path):
    from simworld.tiny import build

    for name, part in (("cogvideox", "transformer"), ("cogvideox", "vae"), ("videopainter", "")):
        again = build(name, tmp_path / name)
        assert (again / part / WEIGHTS).read_bytes() == (tiny(name) / part / WEIGHTS).read_bytes()


def test_keys_of_the_released_branch_config_without_meaning_are_passed_over(checkpoints):
    path = checkpoints[1] / "config.json"
    config = json.loads(path.read_text()) | {"wo_text": False, "id_pool_resample_learnable": True}
    path.write_text(json.dumps(config))
    load(checkpoints)


def test_a_branch_of_another_width_is_named_by_its_first_tensor_and_both_shapes(checkpoints):
    from relane.editors.videopainter.networks import CogvideoXBranchModel
    from simworld.tiny.cogvideox import NETWORK

    other = CogvideoXBranchModel(**{**NETWORK, "num_attention_heads": 2}, num_layers=2)
    other.save_pretrained(checkpoints[1])
    with pytest.raises(
        InputError, match=re.escape("patch_embed.pos_embedding has shape [1, 512, 32], and [1, 512, 64]")
    ):
        load(checkpoints)


def test_a_text_to_video_transformer_is_refused(checkpoints):
    folder = checkpoints[0] / "transformer"
    config = json.loads((folder / "config.json").read_text()) | {"in_channels": 16}
    (folder / "config.json").write_text(json.dumps(config))
    name = "patch_embed.proj.weight"
    change(folder, lambda tensors: tensors.update({name: tensors[name][:, :16].contiguous()}))
    with pytest.raises(InputError, match=re.escape(f"{name} has shape [64, 16, 2, 2], and [64, 32, 2, 2]")):
        load(checkpoints)


def test_missing_and_unknown_tensors_are_named(checkpoints):
    change(checkpoints[1], lambda tensors: tensors.pop("branch_blocks.1.weight"))
    with pytest.raises(InputError, match=re.escape("tensor branch_blocks.1.weight is missing")):
        load(checkpoints)
    change(
        checkpoints[1],
        lambda tensors: tensors.update({"branch_blocks.1.weight": torch.zeros(64, 64), "surplus": torch.zeros(1)}),
    )
    with pytest.raises(InputError, match="tensor surplus is not known"):
        load(checkpoints)


def test_a_vae_of_another_architecture_is_named_by_its_first_wrong_tensor(checkpoints):
    name = "decoder.conv_in.conv.weight"
    change(checkpoints[0] / "vae", lambda tensors: tensors.update({name: tensors[name][:, :8].contiguous()}))
    with pytest.raises(InputError, match=re.escape(f"vae: not a CogVideoX VAE: tensor {name} has shape")):
        load(checkpoints)


def test_a_damaged_or_absent_file_is_named(checkpoints):
    path = checkpoints[1] / WEIGHTS
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=f"{WEIGHTS}.*fetch it again"):
        load(checkpoints)
    path.unlink()
    with pytest.raises(InputError, match=f"{WEIGHTS}.*no such file"):
        load(checkpoints)
    shutil.rmtree(checkpoints[0])
    with pytest.raises(InputError, match="no such folder"):
        load(checkpoints)


def test_an_id_lora_switches_to_resampling_attention_at_its_scale(checkpoints, tmp_path):
    save_file(id_lora(64, 4), tmp_path / LORA)
    models = load(checkpoints, videopainter_id=tmp_path, id_lora_scale=0.5)
    processors = models.transformer.attn_processors.values()
    assert all(isinstance(processor, VideoPainterAttention) and processor.resample for processor in processors)
    linear = models.transformer.transformer_blocks[0].attn1.to_q
    x = torch.ones(1, 64)
    expected = linear.base_layer(x) + 0.5 * (x @ torch.full((64, 4), 0.01) @ torch.full((4, 64), 0.01))
    torch.testing.assert_close(linear(x), expected)


@pytest.mark.parametrize(
    ("config", "scales"),
    [
        ({"lora_alpha": 2}, (0.5, 0.5)),
        ({"lora_alpha": 8, "use_rslora": True}, (4, 4)),
        ({"lora_alpha": 4, "alpha_pattern": {"transformer_blocks.0.attn1.to_q": 16}}, (4, 1)),
    ],
)
@pytest.mark.parametrize("place", ["metadata", "beside", "peft"])
def test_an_id_lora_has_the_scale_that_its_maker_meant(checkpoints, tmp_path, place, config, scales):
    folder = tmp_path / "id"
    folder.mkdir()
    tensors, header = id_lora(64, 4), {"format": "pt"}
    if place == "metadata":
        header["lora_adapter_metadata"] = json.dumps({f"transformer.{key}": value for key, value in config.items()})
    else:
        (folder / "adapter_config.json").write_text(json.dumps(config))
    if place == "peft":
        tensors = {name.replace("transformer.", "base_model.model.", 1): one for name, one in tensors.items()}
    save_file(tensors, folder / (LORA if place != "peft" else "adapter_model.safetensors"), header)
    transformer = load(checkpoints, videopainter_id=folder).transformer
    plain = torch.full((64, 4), 0.01) @ torch.full((4, 64), 0.01)
    attention = transformer.transformer_blocks[0].attn1
    for linear, scale in zip((attention.to_q, attention.to_k), scales, strict=True):
        torch.testing.assert_close(linear.get_delta_weight("videopainter_id"), scale * plain)


def test_an_id_lora_of_another_model_is_refused(checkpoints, tmp_path):
    save_file(id_lora(32, 4), tmp_path / LORA)
    transformer = load(checkpoints).transformer
    with pytest.raises(InputError, match=re.escape("lora_A.weight has shape [4, 32], and [4, 64] is needed")):
        load_id_lora(transformer, tmp_path)
    assert not any(processor.resample for processor in transformer.attn_processors.values())
