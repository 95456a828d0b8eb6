"""The LoRA adapter of a FLUX transformer: its layers, its files, and the checks before one is loaded."""

from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from relane import noise
from relane.errors import InputError, first_line
from relane.io.files import atomic_file, read_json, write_json

# Attention projections of the double-stream blocks (all four) and of the single-stream ones (no to_out there).
TARGETS = ("to_k", "to_q", "to_v", "to_out.0")
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PIPELINE_WEIGHTS = "pytorch_lora_weights.safetensors"
PEFT_PREFIX = "base_model.model."


def add(transformer: FluxTransformer2DModel, rank: int, alpha: float, seed: int) -> list[torch.nn.Parameter]:
    """Freeze the transformer, add a LoRA to it and return the LoRA's parameters, float32.

    A is drawn from N(0, 1 / rank) (PEFT's "gaussian"), keyed by the seed; B is 0, so the model starts unchanged.
    """
    transformer.requires_grad_(False)
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(TARGETS), init_lora_weights="gaussian")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(noise.seed_of(seed, "lora", "init"))
        transformer.add_adapter(config)
    cast_training_params(transformer, dtype=torch.float32)
    return [parameter for parameter in transformer.parameters() if parameter.requires_grad]


def state(transformer: FluxTransformer2DModel) -> dict[str, torch.Tensor]:
    """The LoRA's tensors by name, such as `transformer_blocks.0.attn.to_q.lora_A.weight` (rank, width)."""
    return {name: tensor.detach() for name, tensor in get_peft_model_state_dict(transformer).items()}


def size(transformer: FluxTransformer2DModel) -> tuple[int, int]:
    """How many tensors and how many parameters the LoRA has."""
    tensors = state(transformer).values()
    return len(tensors), sum(tensor.numel() for tensor in tensors)


def save(transformer: FluxTransformer2DModel, folder: Path) -> None:
    """Write the adapter as PEFT does: `adapter_config.json`, `adapter_model.safetensors` (float32)."""
    tensors = {PEFT_PREFIX + name: tensor.cpu().contiguous() for name, tensor in state(transformer).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    transformer.peft_config["default"].save_pretrained(folder)
    # PEFT keeps sets, whose order changes from process to process.
    config = read_json(folder / CONFIG)
    write_json(folder / CONFIG, config | {"target_modules": sorted(config["target_modules"])})


def load(transformer: FluxTransformer2DModel, folder: Path) -> None:
    """Put the tensors that `save` wrote into the LoRA that `add` made.

    Raises InputError when a file is missing or unreadable, and when the adapter has another rank, other layers or
    another width (naming both).
    """
    rank = transformer.peft_config["default"].r
    found = read_json(folder / CONFIG).get("r")
    if found != rank:
        raise InputError(f"{folder}: a checkpoint of rank {found}, but lora.rank is {rank}; use the same rank")
    try:
        tensors = {name.removeprefix(PEFT_PREFIX): tensor for name, tensor in load_file(folder / WEIGHTS).items()}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / WEIGHTS}: cannot be read ({first_line(error)})") from None
    wanted = {name: tuple(tensor.shape) for name, tensor in state(transformer).items()}
    other = sorted(set(wanted) ^ set(tensors))
    if other:
        where = "lacks" if other[0] in wanted else "has, but the model does not,"
        raise InputError(f"{folder / WEIGHTS}: {where} {other[0]} ({len(other)} tensors differ); is it of this model?")
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            axis = 1 if "lora_A" in name else 0
            raise InputError(
                f"{folder / WEIGHTS}: an adapter of width {tensors[name].shape[axis]}, but this transformer has width "
                f"{shape[axis]} ({name}); use a checkpoint of this model"
            )
    set_peft_model_state_dict(transformer, tensors)


def save_for_pipeline(transformer: FluxTransformer2DModel, path: Path, dtype: torch.dtype) -> None:
    """Write the file that `FluxFillPipeline.load_lora_weights` takes.

    The scale alpha / rank is multiplied into B, because not every loader reads an alpha: at scale 1 this file does
    what the training did, wherever it is loaded.
    """
    config = transformer.peft_config["default"]
    tensors = {}
    for name, tensor in state(transformer).items():
        scale = config.lora_alpha / config.r if "lora_B" in name else 1.0
        tensors[f"transformer.{name}"] = (tensor.cpu() * scale).to(dtype).contiguous()
    with atomic_file(path) as partial:
        save_file(tensors, partial, metadata={"format": "pt"})
