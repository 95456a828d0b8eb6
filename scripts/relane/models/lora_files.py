"""LoRA files of any make: found by what they hold and not by their name, at the scale that their makers meant.

diffusers' and PEFT's files are told apart by their tensors' names, other trainers' are converted by diffusers. A LoRA
adds s B A to a weight, with s = alpha / rank, or alpha / sqrt(rank) where it was trained rank-stabilized (Kalajdzievski
2023, arXiv:2312.03732). Where alpha stands differs: in an `.alpha` tensor a layer, in `adapter_config.json`, or in the
file's own metadata, with exceptions by layer. Here s is multiplied into B, so that nobody after this asks for it.
"""

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxFillPipeline
from peft.utils.other import get_pattern_key
from safetensors import SafetensorError, safe_open

from relane.errors import InputError, first_line
from relane.io.files import read_json
from relane.models.finite import check_tensors

ADAPTER = "relane"
NAMES = ("pytorch_lora_weights.safetensors", "adapter_model.safetensors")
CONFIG = "adapter_config.json"
METADATA = "lora_adapter_metadata"  # where diffusers keeps PEFT's configuration in a file
_PEFT = "base_model.model."
_PARTS = ("transformer", "text_encoder")  # of the pipeline, that diffusers puts LoRAs into
# What reading, parsing and diffusers' conversion raise for a file that is no LoRA.
_FAULTS = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, SafetensorError)
_DEFAULT_ALPHA = 8  # PEFT's, where a configuration names none


def load_lora(pipe: FluxFillPipeline, lora: str | Path, scale: float) -> list[str]:
    """Load a LoRA into the pipeline's transformer, and CLIP where it has tensors for it, at `scale`.

    `lora` is a safetensors file of any name, or a folder with one (`NAMES` first). Returns what the file holds beside
    that and was left out, a line each, which is said on stderr too. Raises InputError when there is none, when it is
    for another model (the message names both widths), and when a number in it is NaN or infinite.
    """
    file = find(Path(lora))
    state, said = read(file, pipe.transformer, pipe)
    state, more = _fitting(pipe, state, file)
    said += more
    pipe.load_lora_weights(state, adapter_name=ADAPTER)
    pipe.set_adapters([ADAPTER], [scale])
    for line in said:
        print(f"{file}: {line}", file=sys.stderr)
    return said


def find(lora: Path) -> Path:
    """The LoRA's file. Raises InputError where there is none, or a folder has several of which none is named so."""
    files = [lora]
    if lora.is_dir():
        there = sorted(path for path in lora.iterdir() if path.suffix == ".safetensors")
        files = [lora / name for name in NAMES if lora / name in there] or there
        if len(files) > 1 and files[0].name not in NAMES:
            names = ", ".join(path.name for path in files[:5])
            raise InputError(f"{lora}: {len(files)} safetensors files ({names}); name the one that is the LoRA")
    if not files or files[0].suffix != ".safetensors" or not files[0].is_file():
        raise InputError(f"{lora}: no LoRA here; expected a .safetensors file or a folder with one")
    return files[0]


def read(
    file: Path, transformer: torch.nn.Module, pipe: FluxFillPipeline | None = None
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """A LoRA's tensors under diffusers' names (`transformer.<layer>.lora_A.weight`), scaled; and lines of what to say.

    `transformer` is the network that it is for. With `pipe`, other trainers' files are converted too. Raises InputError
    for a file that cannot be read, and when a number in it is NaN, infinite or absurd.
    """
    try:
        state, said = _state(file, transformer, pipe)
    except _FAULTS as error:
        raise InputError(f"{file}: not a readable LoRA ({type(error).__name__}: {first_line(error)})") from None
    check_tensors(state, file)
    return state, said


def _state(
    file: Path, transformer: torch.nn.Module, pipe: FluxFillPipeline | None
) -> tuple[dict[str, torch.Tensor], list[str]]:
    with safe_open(file, "pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        header = opened.metadata() or {}
    beside = file.with_name(CONFIG)
    if _is_peft(transformer, tensors):
        state = {f"transformer.{_bare(name)}": tensor for name, tensor in tensors.items()}
        config = read_json(beside) if beside.is_file() else None
        said = [] if config else [f"no {CONFIG} beside it: alpha is taken to be the rank"]
        return _scaled(state, {"transformer": config} if config else {}, {}), said
    if METADATA in header:
        config = json.loads(header[METADATA])
        configs = {part: _of_part(config, part) for part in _PARTS}
        return _scaled(tensors, {part: one for part, one in configs.items() if one}, {}), []
    alphas = {name: float(value) for name, value in tensors.items() if name.endswith(".alpha")}
    if pipe is None:
        state = {name: tensor for name, tensor in tensors.items() if name not in alphas}
        return _scaled(state, {"transformer": read_json(beside)} if beside.is_file() else {}, alphas), []
    # Kohya's alphas and diffusers' own are told apart in there; of ours it takes floats alone.
    converted = tensors | {name: torch.tensor(alpha) for name, alpha in alphas.items()}
    state, left, _ = pipe.lora_state_dict(converted, return_alphas=True, return_lora_metadata=True)
    return _scaled(state, {}, {name: float(alpha) for name, alpha in (left or {}).items()}), []


def _is_peft(transformer: torch.nn.Module, tensors: dict[str, torch.Tensor]) -> bool:
    """Whether the tensors have PEFT's names: the transformer's own layers, maybe behind PEFT's prefix."""
    own = {name for name, _ in transformer.named_children()}
    return any(_bare(name).split(".")[0] in own for name in tensors)


def _bare(name: str) -> str:
    if name.startswith(_PEFT):
        name = name.removeprefix(_PEFT).removeprefix("transformer.")
    return name.replace(".default.weight", ".weight")


def _of_part(config: dict[str, Any], part: str) -> dict[str, Any]:
    return {key.removeprefix(f"{part}."): value for key, value in config.items() if key.startswith(f"{part}.")}


def _scaled(
    state: dict[str, torch.Tensor], configs: dict[str, dict[str, Any]], alphas: dict[str, float]
) -> dict[str, torch.Tensor]:
    """The tensors with each layer's scale in its B, by PEFT's configuration of its part or by its own alpha."""
    names = {"lora.down": "lora_A", "lora.up": "lora_B", "lora_down": "lora_A", "lora_up": "lora_B"}
    scaled = {}
    for name, tensor in state.items():
        for old, new in names.items():
            name = name.replace(f".{old}.", f".{new}.")
        scaled[name] = tensor
    for name in [name for name in scaled if ".lora_B." in name]:
        layer = name.split(".lora_B.")[0]
        rank = scaled[f"{layer}.lora_A.weight"].shape[0]
        part, _, inner = layer.partition(".")
        alpha = alphas.get(f"{layer}.alpha", rank)
        factor = _scale(configs[part], inner, rank) if part in configs else alpha / rank
        if factor != 1:
            scaled[name] = scaled[name].float() * factor
    return scaled


def _scale(config: dict[str, Any], layer: str, rank: int) -> float:
    patterns = config.get("alpha_pattern") or {}
    alpha = config.get("lora_alpha", _DEFAULT_ALPHA)
    alpha = patterns.get(get_pattern_key(patterns.keys(), layer), alpha)
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _fitting(
    pipe: FluxFillPipeline, state: dict[str, torch.Tensor], file: Path
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The tensors to load, and lines about those that are left out. Raises InputError where the transformer's misfit.

    Those of another part of a model are left out: of T5, and of a CLIP of another width.
    """
    transformer = {name: tensor for name, tensor in state.items() if name.startswith("transformer.")}
    others = {name: tensor for name, tensor in state.items() if name not in transformer}
    if not any(".lora_" in name for name in state):
        raise InputError(f"{file}: holds no LoRA tensors (names ending in lora_A.weight, lora_B.weight)")
    if not any(".lora_" in name for name in transformer):
        first = next(iter(others))
        raise InputError(f"{file}: tensor {first} belongs to no layer of this FLUX Fill transformer")
    wrong = _misfit(pipe.transformer, transformer)
    if wrong:
        raise InputError(f"{file}: {wrong}; train or choose a LoRA for {pipe.name_or_path}")
    taken, said = {name: one for name, one in transformer.items() if ".lora_" in name}, []
    clip = {name: tensor for name, tensor in others.items() if name.startswith("text_encoder.") and ".lora_" in name}
    if clip and pipe.text_encoder is not None and not _misfit(pipe.text_encoder, clip):
        taken |= clip
    left = [name for name in state if name not in taken]
    for part in sorted({_part_of(name) for name in left}):
        count = sum(_part_of(name) == part for name in left)
        said.append(f"{count} tensors of {part} were left out: only LoRAs of the transformer and CLIP are used")
    return taken, said


def _part_of(name: str) -> str:
    first = name.split(".")[0]
    return "whole layers of the transformer" if first == "transformer" else first


def _misfit(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> str:
    """What does not fit a part of the pipeline, as a sentence; empty where all does."""
    modules = dict(network.named_modules())
    for name, tensor in state.items():
        if not name.endswith(("lora_A.weight", "lora_B.weight")):
            continue
        module = modules.get(name.partition(".")[2].rsplit(".", 2)[0])
        if not hasattr(module, "in_features"):
            return f"tensor {name} belongs to no layer of this FLUX Fill {name.split('.')[0]}"
        is_input = name.endswith("lora_A.weight")
        has = tensor.shape[1] if is_input else tensor.shape[0]
        needs = module.in_features if is_input else module.out_features
        if has != needs:
            return f"the LoRA is for a transformer of width {has}, this one has width {needs} (tensor {name})"
    return ""
