"""Released checkpoints by their own names, checked tensor by tensor before anything is loaded."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel, ModelMixin
from diffusers.utils import logging
from safetensors import SafetensorError, safe_open

from relane.editors.videopainter.networks import CogvideoXBranchModel, VideoPainterTransformer
from relane.editors.videopainter.pipeline import VideoPainter
from relane.errors import InputError
from relane.io.files import read_json, safe_join
from relane.models import lora_files
from relane.models.finite import check_weights

WEIGHTS = "diffusion_pytorch_model.safetensors"
# In released branch configs, without meaning for the network.
UNUSED_BRANCH_KEYS = ("wo_text", "id_pool_resample_learnable")
# What a branch must share with the transformer that it feeds.
SHARED_KEYS = ("num_attention_heads", "attention_head_dim", "time_embed_dim", "text_embed_dim", "patch_size")
SHARED_KEYS += ("sample_width", "sample_height", "sample_frames", "max_text_seq_length")


@dataclass(frozen=True)
class Report:
    """How a file's tensors compare with the network's: names, and (name, shape in the file, shape needed)."""

    missing: list[str]
    unexpected: list[str]
    misshapen: list[tuple[str, tuple[int, ...], tuple[int, ...]]]

    def raise_if_wrong(self, folder: str | Path, what: str) -> None:
        """Raise InputError that names the first wrong tensor and both shapes."""
        if self.misshapen:
            name, found, needed = self.misshapen[0]
            problem = f"tensor {name} has shape {list(found)}, and {list(needed)} is needed"
            count = len(self.misshapen)
        elif self.missing:
            problem, count = f"tensor {self.missing[0]} is missing", len(self.missing)
        elif self.unexpected:
            problem, count = f"tensor {self.unexpected[0]} is not known", len(self.unexpected)
        else:
            return
        more = f" ({count} such; {len(self.missing)} missing, {len(self.unexpected)} unexpected)"
        raise InputError(f"{folder}: not {what}: {problem}{more}; check which checkpoint the folder holds")


def compare(found: dict[str, tuple[int, ...]], needed: dict[str, tuple[int, ...]]) -> Report:
    """Compare tensor names and shapes; lists keep the order of `needed` (of `found` for unexpected ones)."""
    return Report(
        [name for name in needed if name not in found],
        [name for name in found if name not in needed],
        [(name, found[name], shape) for name, shape in needed.items() if name in found and found[name] != shape],
    )


def shapes_of_folder(folder: str | Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a diffusers folder's safetensors files, read from their headers."""
    folder = Path(folder)
    index = folder / f"{WEIGHTS}.index.json"
    names = sorted(set(read_json(index)["weight_map"].values())) if index.is_file() else [WEIGHTS]
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        shapes |= shapes_of_file(safe_join(folder, name))
    return shapes


def shapes_of_file(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of one safetensors file. Raises InputError when it is missing or damaged."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; the checkpoint must hold safetensors weights")
    try:
        with safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a whole safetensors file ({error}); fetch it again") from None


def network_shapes(kind: type[ModelMixin], config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of a network of this configuration, without building its weights."""
    with init_empty_weights(include_buffers=True):
        network = kind.from_config(config)
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; scripts/fetch_checkpoints.py downloads checkpoints")
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'}: not a model configuration (a JSON object is expected)")
    return {key: value for key, value in config.items() if not key.startswith("_") and key not in UNUSED_BRANCH_KEYS}


def load_transformer(folder: str | Path, dtype: torch.dtype, latent_channels: int = 16) -> VideoPainterTransformer:
    """The transformer of a CogVideoX image-to-video checkpoint (`folder`/transformer), on the CPU.

    Raises InputError with the first wrong tensor when the folder holds another architecture.
    """
    folder = Path(folder) / "transformer"
    config = _config(folder)
    # Not what the file says but what VideoPainter runs on: image-to-video, CogVideoX 1.0 patches.
    needed = {**config, "in_channels": 2 * latent_channels, "patch_size_t": None, "ofs_embed_dim": None}
    report = compare(shapes_of_folder(folder), network_shapes(VideoPainterTransformer, needed))
    report.raise_if_wrong(folder, "a CogVideoX 1.0 image-to-video transformer")
    return _checked(VideoPainterTransformer.from_pretrained(folder, torch_dtype=dtype, local_files_only=True), folder)


def load_branch(
    folder: str | Path, dtype: torch.dtype, transformer: CogVideoXTransformer3DModel
) -> CogvideoXBranchModel:
    """VideoPainter's branch (a folder with config.json and safetensors) for this transformer, on the CPU."""
    folder = Path(folder)
    config = _config(folder)
    needed = {**config, **{key: transformer.config[key] for key in SHARED_KEYS}}
    report = compare(shapes_of_folder(folder), network_shapes(CogvideoXBranchModel, needed))
    report.raise_if_wrong(folder, "a VideoPainter branch for this CogVideoX checkpoint")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the released config's unused keys are known and need no warning
    try:
        return _checked(CogvideoXBranchModel.from_pretrained(folder, torch_dtype=dtype, local_files_only=True), folder)
    finally:
        logging.set_verbosity(verbosity)


def load_vae(folder: str | Path, dtype: torch.dtype) -> AutoencoderKLCogVideoX:
    """The VAE of a CogVideoX checkpoint (`folder`/vae), on the CPU; checked as the networks are."""
    folder = Path(folder) / "vae"
    needed = network_shapes(AutoencoderKLCogVideoX, _config(folder))
    report = compare(shapes_of_folder(folder), needed)
    report.raise_if_wrong(folder, "a CogVideoX VAE")
    return _checked(AutoencoderKLCogVideoX.from_pretrained(folder, torch_dtype=dtype, local_files_only=True), folder)


def _checked(network: Any, folder: Path) -> Any:
    check_weights(network, folder)
    return network


def load_id_lora(transformer: VideoPainterTransformer, path: str | Path, scale: float = 1.0) -> None:
    """Add a VideoPainterID LoRA (the file, or its folder) to the transformer and switch to resampling attention.

    Its own alpha is found as that of any LoRA (`relane.models.lora_files`); the released file stores none, so that it
    works at scale 1.0 as in the original. Raises InputError when there is no LoRA, or a tensor does not fit.
    """
    path = lora_files.find(Path(path))
    tensors, said = lora_files.read(path, transformer)
    for line in said:
        print(f"{path}: {line}", file=sys.stderr)
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    ranks = {shape[0] for name, shape in found.items() if name.endswith("lora_A.weight")}
    needed: dict[str, tuple[int, ...]] = {}
    if len(ranks) == 1:
        rank, width = ranks.pop(), transformer.config.num_attention_heads * transformer.config.attention_head_dim
        for index in range(transformer.config.num_layers):
            for linear in ("to_q", "to_k", "to_v", "to_out.0"):
                name = f"transformer.transformer_blocks.{index}.attn1.{linear}"
                needed |= {f"{name}.lora_A.weight": (rank, width), f"{name}.lora_B.weight": (width, rank)}
    compare(found, needed).raise_if_wrong(path, "a VideoPainterID LoRA for this transformer")
    transformer.load_lora_adapter(tensors, prefix="transformer", adapter_name="videopainter_id")
    transformer.set_adapters(["videopainter_id"], weights=[scale])
    transformer.set_id_resample(True)


def load_videopainter(
    cogvideox: str | Path,
    videopainter: str | Path,
    device: torch.device,
    dtype: torch.dtype,
    videopainter_id: str | Path = "",
    offload: str = "none",
    id_lora_scale: float = 1.0,
) -> VideoPainter:
    """Everything but the text encoder: `cogvideox` (a CogVideoX-5b-I2V folder), `videopainter` (the branch's folder),
    optionally `videopainter_id` (the LoRA's). Nothing is fetched. Raises InputError when a checkpoint does not fit."""
    cogvideox = Path(cogvideox)
    vae = load_vae(cogvideox, dtype)
    if not (cogvideox / "scheduler" / "scheduler_config.json").is_file():
        raise InputError(f"{cogvideox}: no scheduler/scheduler_config.json; is it a whole CogVideoX-5b-I2V folder?")
    transformer = load_transformer(cogvideox, dtype, vae.config.latent_channels)
    branch = load_branch(videopainter, dtype, transformer)
    if videopainter_id:
        load_id_lora(transformer, videopainter_id, id_lora_scale)
    scheduler = read_json(cogvideox / "scheduler" / "scheduler_config.json")
    scheduler = {key: value for key, value in scheduler.items() if not key.startswith("_")}
    return VideoPainter(transformer, branch, vae, scheduler, device, offload)
