"""SAM2's own video predictor, loaded from a folder and fed one frame at a time.

sam2 1.1.0 reads a whole video into memory before it starts and keeps every frame's output until it ends. Here the
same classes run on a stream: frames are fetched when they are needed, and outputs that no later frame can attend to
are dropped. The masks are the same to the last bit (tests/test_masks.py holds both beside each other).
"""

import contextlib
import functools
import importlib.resources
import importlib.util
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sam2.sam2_video_predictor as sam2_video
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from sam2.build_sam import HF_MODEL_ID_TO_FILENAMES
from tqdm import tqdm

from relane.errors import InputError, first_line
from relane.io.prefetch import ahead
from relane.models.finite import check_finite, check_tensors

# A hydra config names the classes to build, so one from elsewhere could name any function of Python. Only these,
# the ones in sam2's own configs, are built.
BUILDABLE = frozenset(
    "sam2." + name
    for name in (
        "modeling.sam2_base.SAM2Base",
        "modeling.backbones.image_encoder.ImageEncoder",
        "modeling.backbones.image_encoder.FpnNeck",
        "modeling.backbones.hieradet.Hiera",
        "modeling.position_encoding.PositionEmbeddingSine",
        "modeling.memory_attention.MemoryAttention",
        "modeling.memory_attention.MemoryAttentionLayer",
        "modeling.memory_encoder.MemoryEncoder",
        "modeling.memory_encoder.MaskDownSampler",
        "modeling.memory_encoder.Fuser",
        "modeling.memory_encoder.CXBlock",
        "modeling.sam.transformer.RoPEAttention",
    )
)
# What sam2.build_sam.build_sam2_video_predictor sets under apply_postprocessing, but for fill_hole_area: that needs a
# CUDA extension which the wheel does not carry, and masks should not depend on who compiled it. Holes are closed by
# relane.road.segmentation instead.
POSTPROCESSING = {
    "binarize_mask_from_pts_for_mem_enc": True,
    "sam_mask_decoder_extra_args": {
        "dynamic_multimask_via_stability": True,
        "dynamic_multimask_stability_delta": 0.05,
        "dynamic_multimask_stability_thresh": 0.98,
    },
}
# Pixel statistics of sam2.utils.misc.load_video_frames.
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
READ_AHEAD = 3  # frames

# sam2 draws a progress bar over every clip, also into log files; a terminal still gets it.
sam2_video.tqdm = functools.partial(tqdm, disable=None)


def use_vos(vos_optimized: str | bool, device: torch.device) -> bool:
    """Whether to compile the model's parts (`SAM2VideoPredictorVOS`): true, false, or auto = where CUDA allows.

    "Allows" is compute capability 7.0 and an importable triton, which is what torch.compile needs there.
    """
    text = str(vos_optimized).lower()
    if text not in ("auto", "true", "false"):
        raise InputError(f"vos_optimized: expected auto, true or false, got {vos_optimized!r}")
    if text == "false" or (text == "auto" and device.type != "cuda"):
        return False
    if device.type != "cuda":
        raise InputError("vos_optimized: true needs a CUDA device; use auto or false")
    able = torch.cuda.get_device_capability(device) >= (7, 0) and importlib.util.find_spec("triton") is not None
    if text == "true" and not able:
        raise InputError(f"vos_optimized: true needs triton and compute capability 7.0 on {device}; use auto or false")
    return able


def load_predictor(folder: str | Path, vos_optimized: bool = False) -> sam2_video.SAM2VideoPredictor:
    """A predictor on the CPU, in eval mode, from a checkpoint folder.

    The folder holds one weights file, `*.pt` ({"model": state dict}, sam2's own form) or `*.safetensors`, and a
    `config.yaml` in sam2's form; a released `.pt` under its own name needs none, because the package ships it.
    Raises InputError when the folder or a file is missing, damaged, or of another architecture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such SAM2 checkpoint folder; fetch it, or set checkpoints.sam2")
    weights = _weights_file(folder)
    path, config = _config(folder, weights)
    try:
        predictor = build_predictor(config, vos_optimized)
    except Exception as error:
        raise InputError(f"{path}: sam2 cannot build this model: {error}") from error
    _load_weights(predictor, weights)
    predictor.checkpoint = folder  # for messages
    return predictor.eval().requires_grad_(False)


def build_predictor(config: DictConfig, vos_optimized: bool) -> sam2_video.SAM2VideoPredictor:
    """The video predictor of a `model` config, without weights; set up as sam2.build_sam does it."""
    overrides: dict[str, Any] = {"_target_": "sam2.sam2_video_predictor.SAM2VideoPredictor", **POSTPROCESSING}
    if vos_optimized:
        overrides |= {"_target_": "sam2.sam2_video_predictor.SAM2VideoPredictorVOS", "compile_image_encoder": True}
    # sam2 announces compilation on stdout, which belongs to the caller.
    with contextlib.redirect_stdout(None), _without_cuda_graphs():
        return instantiate(OmegaConf.merge(config, overrides), _recursive_=True)


@contextlib.contextmanager
def _without_cuda_graphs() -> Iterator[None]:
    """sam2 compiles with CUDA graphs, under which its memory attention is reported to crash: leave them out."""
    compile_any = torch.compile

    def compile_plainly(*args: Any, mode: str | None = None, **settings: Any) -> Any:
        return compile_any(*args, mode="max-autotune-no-cudagraphs" if mode == "max-autotune" else mode, **settings)

    torch.compile = compile_plainly
    try:
        yield
    finally:
        torch.compile = compile_any


def _weights_file(folder: Path) -> Path:
    found = sorted([*folder.glob("*.pt"), *folder.glob("*.safetensors")])
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{folder}: expected one weights file (*.pt or *.safetensors), found {names}")
    return found[0]


def _config(folder: Path, weights: Path) -> tuple[Path, DictConfig]:
    path = folder / "config.yaml"
    if not path.is_file():
        packaged = {file: config for config, file in HF_MODEL_ID_TO_FILENAMES.values()}
        if weights.name not in packaged:
            raise InputError(
                f"{path}: no such file, and {weights.name} is no released checkpoint that sam2 has one for"
            )
        path = Path(str(importlib.resources.files("sam2") / packaged[weights.name]))
    try:
        config = OmegaConf.load(path)
        OmegaConf.resolve(config)
        model = config.model
    except Exception as error:  # yaml's, omegaconf's, and a missing `model`
        raise InputError(f"{path}: not a SAM2 config ({error})") from None
    for target in _targets(OmegaConf.to_container(model)):
        if target not in BUILDABLE:
            raise InputError(f"{path}: _target_ {target!r} is not one of sam2's model classes; refused")
    return path, model


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _targets(child)


def _load_weights(model: torch.nn.Module, path: Path) -> None:
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    except Exception as error:  # a damaged file raises almost anything: zip, pickle, key, runtime, safetensors errors
        raise InputError(
            f"{path}: no readable SAM2 weights ({type(error).__name__}: {first_line(error)}); fetch the file again"
        ) from None
    own = model.state_dict()
    for name in [*own, *state]:
        if name not in state or name not in own:
            side = "lacks" if name not in state else "has an unexpected"
            raise InputError(f"{path}: {side} tensor {name}; do the weights belong to this config?")
        if own[name].shape != state[name].shape:
            shapes = f"{tuple(state[name].shape)}, the config says {tuple(own[name].shape)}"
            raise InputError(f"{path}: tensor {name} has shape {shapes}")
    check_tensors(state, path)
    model.load_state_dict(state)


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """The precision of the forward pass; sam2 is meant to run under autocast, not on converted weights."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def pixels(frame: np.ndarray, image_size: int) -> torch.Tensor:
    """(H, W, 3) uint8 RGB as sam2 wants it: (3, S, S) float32, resized by PIL and normalised as its loader does."""
    picture = np.asarray(Image.fromarray(frame).resize((image_size, image_size))) / 255.0
    return (torch.from_numpy(picture).permute(2, 0, 1).float() - MEAN) / STD


class FrameStream(Sequence):
    """A video as sam2 indexes it, (3, S, S) float32 a frame, holding a few frames: the next ones are read in a thread.

    sam2 asks for frame 0, then for each next one: an index may be the current one or the one after it.
    """

    def __init__(self, frames: Iterator[np.ndarray], count: int, image_size: int):
        self._frames = ahead(((frame.shape[:2], pixels(frame, image_size)) for frame in frames), READ_AHEAD)
        self._count, self._index, self._current = count, -1, None
        self[0]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> torch.Tensor:
        if index == self._index + 1:
            read = next(self._frames, None)
            if read is None:
                raise InputError(f"the clip ends after {index} frames, but {self._count} were announced")
            size, self._current = read
            if index == 0:
                self.size = size
            self._index = index
        if index != self._index:
            raise IndexError(f"frame {index} asked for while the stream is at {self._index}")
        return self._current


def picture(image: torch.Tensor) -> np.ndarray:
    """What a normalised image (3, S, S) shows, as (S, S, 3) uint8 RGB."""
    shown = (image.cpu().float() * STD + MEAN).clamp(0, 1) * 255
    return shown.round().to(torch.uint8).permute(1, 2, 0).numpy()


def new_state(predictor: sam2_video.SAM2VideoPredictor, images: FrameStream) -> dict[str, Any]:
    """The state that `predictor.init_state` makes, over a stream instead of a loaded video."""
    height, width = images.size
    return {
        "images": images,
        "num_frames": len(images),
        "offload_video_to_cpu": True,
        "offload_state_to_cpu": False,
        "video_height": height,
        "video_width": width,
        "device": predictor.device,
        "storage_device": predictor.device,
        "cached_features": {},
        "constants": {},
        "obj_id_to_idx": OrderedDict(),
        "obj_idx_to_id": OrderedDict(),
        "obj_ids": [],
        "point_inputs_per_obj": {},
        "mask_inputs_per_obj": {},
        "output_dict_per_obj": {},
        "temp_output_dict_per_obj": {},
        "frames_tracked_per_obj": {},
    }


def reach(predictor: sam2_video.SAM2VideoPredictor) -> int:
    """How many frames back a frame may attend: see `SAM2Base._prepare_memory_conditioned_features`.

    Object pointers come from the last max_obj_ptrs_in_encoder - 1 frames, spatial memories from the last frame and
    num_maskmem - 2 more, each a stride apart.
    """
    spatial = 1 + (predictor.num_maskmem - 2) * predictor.memory_temporal_stride_for_eval
    return max(predictor.max_obj_ptrs_in_encoder - 1, spatial)


def forget(state: dict[str, Any], index: int, keep: int) -> None:
    """Drop what frames after `index` cannot attend to. Prompted frames (here: frame 0) are attended to for ever."""
    for outputs in state["output_dict_per_obj"].values():
        for old in [i for i in outputs["non_cond_frame_outputs"] if i <= index - keep]:
            del outputs["non_cond_frame_outputs"][old]
    # Only read when a frame is prompted again, which never happens in a stream.
    for tracked in state["frames_tracked_per_obj"].values():
        tracked.clear()


@torch.inference_mode()
def prompt(
    predictor: sam2_video.SAM2VideoPredictor, state: dict[str, Any], points: np.ndarray, labels: np.ndarray
) -> torch.Tensor:
    """Prompt object 1 on frame 0; its mask logits (H, W) there. points (P, 2) in 0..1 as x, y; labels 1 road, 0 not."""
    _, _, logits = predictor.add_new_points_or_box(
        state, frame_idx=0, obj_id=1, points=points, labels=labels, normalize_coords=False
    )
    _check(predictor, logits, 0, logits.dtype)
    return logits[0, 0]


def _check(predictor: sam2_video.SAM2VideoPredictor, logits: torch.Tensor, index: int, dtype: torch.dtype) -> None:
    folder = getattr(predictor, "checkpoint", "SAM2")
    check_finite(logits, f"mask of frame {index}", folder, dtype, "vos_optimized: false")


def propagate(
    predictor: sam2_video.SAM2VideoPredictor, state: dict[str, Any], dtype: torch.dtype
) -> Iterator[torch.Tensor]:
    """Mask logits (H, W) of every frame in order, forgetting what is out of reach as it goes."""
    keep = reach(predictor)
    steps = predictor.propagate_in_video(state)
    while True:
        # Entered a frame at a time, so that autocast does not leak into the caller between two frames.
        with autocast(predictor.device, dtype):
            step = next(steps, None)
        if step is None:
            return
        index, _, logits = step
        # Where the score of the object is NaN sam2 takes it for hidden, and answers an empty mask.
        for outputs in state["output_dict_per_obj"].values():
            found = outputs["cond_frame_outputs"].get(index) or outputs["non_cond_frame_outputs"].get(index)
            if found is not None:
                _check(predictor, found["object_score_logits"], index, dtype)
        _check(predictor, logits, index, dtype)
        forget(state, index, keep)
        yield logits[0, 0]
