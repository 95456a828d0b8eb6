"""A checkpoint folder into memory: config, base tokenizer and processor, and every tensor by its own name."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer

from relane.drivers.alpamayo.config import PolicyConfig, read_config
from relane.drivers.alpamayo.networks import AlpamayoNetwork
from relane.drivers.alpamayo.tokens import extend_tokenizer
from relane.errors import InputError
from relane.io.files import read_json, safe_join
from relane.models.finite import check_tensors

_HEAD, _EMBEDDING = "vlm.lm_head.weight", "vlm.model.language_model.embed_tokens.weight"
# Kept in float32 at any dtype: frequencies up to 2 pi 100 and the units of the actions. Their values are those of the
# dtype, as the release has them: in bfloat16 a frequency of 59.95 is 60, and the model runs with that.
_FLOAT32 = ("freqs", "accel_mean", "accel_std", "curvature_mean", "curvature_std")


@dataclass(frozen=True)
class Loaded:
    """What `load_checkpoint` returns; `token_start` is the id of `<i0>`."""

    config: PolicyConfig
    network: AlpamayoNetwork
    tokenizer: Any
    image_processor: Any
    token_start: int
    folder: Path | str = "the model's checkpoint"  # for messages


def load_checkpoint(folder: str | Path, device: torch.device, dtype: torch.dtype) -> Loaded:
    """Read a local checkpoint folder; nothing is fetched.

    The base model's config, tokenizer and processor are looked for in `folder`/<vlm_name_or_path>, then in
    `folder`/vlm, then in the local hub cache. Raises InputError when something is missing or does not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such checkpoint folder; fetch it, or set the driver's checkpoint path")
    config = read_config(folder)
    base = _base_folder(folder, config)
    try:
        vlm_config = AutoConfig.from_pretrained(base, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
        size = {"shortest_edge": config.min_pixels, "longest_edge": config.max_pixels}
        image_processor = AutoImageProcessor.from_pretrained(
            base, local_files_only=True, backend="torchvision", size=size
        )
    except (OSError, ValueError) as error:
        raise InputError(
            f"{folder}: its base model {config.vlm_name!r} is not on this machine ({type(error).__name__}); put that "
            f"model's config, tokenizer and processor files into {folder / 'vlm'}"
        ) from None
    if vlm_config.model_type != "qwen3_vl":
        raise InputError(f"{base}: model_type is {vlm_config.model_type!r}, expected 'qwen3_vl'")
    token_start = extend_tokenizer(tokenizer, config)
    with init_empty_weights(include_buffers=False):
        network = AlpamayoNetwork(config, vlm_config)
    network.load_state_dict(_read_tensors(folder, network, device, dtype), assign=True)
    network = network.to(device).eval().requires_grad_(False)
    return Loaded(config, network, tokenizer, image_processor, token_start, folder)


def _base_folder(folder: Path, config: PolicyConfig) -> str:
    name = config.vlm_name
    for candidate in (name, "vlm"):
        if not Path(candidate).is_absolute() and (safe_join(folder, candidate) / "config.json").is_file():
            return str(folder / candidate)
    return name  # a hub id, found in the local cache or not at all


def _shards(folder: Path) -> dict[str, Path]:
    """Tensor name -> file, from the index or from the one file there is."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        return {name: safe_join(folder, file) for name, file in read_json(index)["weight_map"].items()}
    single = folder / "model.safetensors"
    if not single.is_file():
        raise InputError(f"{folder}: neither model.safetensors.index.json nor model.safetensors is there")
    with safe_open(single, "pt") as file:
        return dict.fromkeys(file.keys(), single)


def _read_tensors(folder: Path, network: AlpamayoNetwork, device: torch.device, dtype: torch.dtype) -> dict:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    shards = _shards(folder)
    tied = _HEAD not in shards and network.vlm.config.tie_word_embeddings
    missing = sorted(wanted.keys() - shards.keys() - ({_HEAD} if tied else set()))
    unexpected = sorted(shards.keys() - wanted.keys())
    if missing or unexpected:
        raise InputError(
            f"{folder}: the tensors do not fit the config: {len(missing)} missing (first: {missing[:3]}), "
            f"{len(unexpected)} unexpected (first: {unexpected[:3]})"
        )
    tensors = {}
    for path in sorted(set(shards.values())):
        try:
            with safe_open(path, "pt", device=str(device)) as file:
                for name in file.keys():  # noqa: SIM118 - a safetensors file is no dict
                    tensor = file.get_tensor(name)
                    if tuple(tensor.shape) != wanted[name]:
                        raise InputError(f"{path}: {name} has shape {tuple(tensor.shape)}, expected {wanted[name]}")
                    keep = name.rpartition(".")[2] in _FLOAT32
                    check_tensors({name: tensor}, path)
                    tensors[name] = tensor.to(dtype).float() if keep else tensor.to(dtype)
        except (FileNotFoundError, SafetensorError) as error:
            raise InputError(f"{path}: not a readable safetensors file ({error}); fetch it again") from None
    if tied:
        tensors[_HEAD] = tensors[_EMBEDDING]
    logging.getLogger(__name__).info("%s: %d tensors loaded", folder, len(tensors))
    return tensors
