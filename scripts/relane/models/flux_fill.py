"""First frames by stock `FluxFillPipeline`: repaint the masked road of one frame, leave every other pixel alone."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxFillPipeline
from diffusers.pipelines.flux.pipeline_flux_fill import calculate_shift
from PIL import Image
from safetensors import SafetensorError

from relane.errors import InputError, first_line
from relane.io.compose import Region, blend, feather, place
from relane.io.files import read_json
from relane.models.acceleration import PLAIN, Speed, channels_last, speed_up
from relane.models.finite import check_finite, check_tensors, origin
from relane.models.lora_files import load_lora

MULTIPLE = 16  # factor 8 of the autoencoder times the 2x2 packing of its latents
# The tokens of 16x16 pixels up to which FLUX's schedule of noise was made: one megapixel. With more of them its steps
# gather at high noise, and the last one leaves noise behind: `last_sigma`.
MOST_TOKENS = 4096
TOO_LARGE = 2_000_000  # pixels; a user who asks for more is warned
LESS = "first_frame.dtype: float32; first_frame.fp8, compile, attention_backend off; another LoRA or none"


def paint_region(mask: np.ndarray, size: tuple[int, int] | None = None) -> Region:
    """The part of a frame with this mask (H, W) bool that is painted, and at which size.

    Without `size` it is the whole frame: at its own scale up to about a megapixel (`MOST_TOKENS`), a larger one scaled
    down to that; filled up to multiples of 16. With `size` (height, width) it is the largest box of that shape inside
    the frame, centred on the mask; where the mask does not fit, the box grows beyond the frame until it does. Raises
    InputError when `size` is no multiple of 16.
    """
    frame_h, frame_w = mask.shape
    if size is None:
        return _whole_frame(frame_h, frame_w)
    out_h, out_w = size
    if out_h % MULTIPLE or out_w % MULTIPLE or min(size) < MULTIPLE:
        raise InputError(f"paint size {out_h}x{out_w}: height and width must be multiples of {MULTIPLE}")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        raise InputError("the mask of the frame is empty: nothing to repaint")
    mask_h, mask_w = rows[-1] + 1 - rows[0], columns[-1] + 1 - columns[0]
    scale = min(frame_h / out_h, frame_w / out_w)
    scale = max(scale, mask_h / out_h, mask_w / out_w)
    height, width = math.ceil(scale * out_h - 1e-6), math.ceil(scale * out_w - 1e-6)
    top = place(rows[0], rows[-1] + 1, height, frame_h)
    left = place(columns[0], columns[-1] + 1, width, frame_w)
    return Region(left, top, width, height, out_w, out_h)


def hole_of(region: Region, mask: np.ndarray) -> np.ndarray:
    """The hole (model_height, model_width) bool that the model fills: where any of a mask (H, W) bool reaches.

    Resized as the picture is, by a filter as wide, so that nothing of the old line shows at the hole's rim.
    """
    return region.to_model(mask.astype(np.uint8) * 255) > 0


def _whole_frame(frame_h: int, frame_w: int) -> Region:
    height, width = (-(-side // MULTIPLE) * MULTIPLE for side in (frame_h, frame_w))
    most = MOST_TOKENS * MULTIPLE**2
    if height * width <= most:
        return Region(0, 0, width, height, width, height)
    shrink = math.sqrt(most / (frame_h * frame_w))
    out_h, out_w = (max(round(side * shrink / MULTIPLE), 1) * MULTIPLE for side in (frame_h, frame_w))
    # One scale for both sides: where the multiples of 16 have another shape than the frame, the box reaches beyond it.
    scale = max(frame_h / out_h, frame_w / out_w)
    return Region(0, 0, math.ceil(scale * out_w - 1e-6), math.ceil(scale * out_h - 1e-6), out_w, out_h)


def last_sigma(scheduler: FlowMatchEulerDiscreteScheduler, height: int, width: int, steps: int) -> float:
    """The noise level from which the last of `steps` jumps to 0, painting at height x width pixels.

    It is the level below which the model never gets to look. By the scheduler's own shift for that many tokens, as
    FluxFillPipeline sets it.
    """
    config = scheduler.config
    shift = calculate_shift(
        height // MULTIPLE * (width // MULTIPLE),
        config.get("base_image_seq_len", 256),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.5),
        config.get("max_shift", 1.15),
    )
    copy = FlowMatchEulerDiscreteScheduler.from_config(config)
    copy.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)
    return float(copy.sigmas[-2])


class FillPipeline(FluxFillPipeline):
    """The stock pipeline, with a choice of what the model sees under the mask.

    Its own way to do this, passing `masked_image_latents` instead of an image, fails in diffusers 0.42 (it goes on to
    preprocess the image that it forbids to pass). So the picture is kept as it enters the pipeline, and put back where
    the hole has been cut into it.
    """

    shows_masked_pixels = False

    def prepare_latents(self, image: torch.Tensor, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        self._picture = image  # (1, 3, H, W) in [-1, 1], without a hole
        return super().prepare_latents(image, *args, **kwargs)

    def prepare_mask_latents(
        self, mask: torch.Tensor, masked_image: torch.Tensor, *args: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        seen = self._picture.to(masked_image) if self.shows_masked_pixels else masked_image
        return super().prepare_mask_latents(mask, seen, *args)


class FluxFill:
    """A FLUX.1-Fill folder in diffusers' layout (released or tiny), with or without a LoRA."""

    def __init__(
        self,
        folder: str | Path,
        lora: str | Path = "",
        lora_scale: float = 0.0,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
        offload: str = "none",
        speed: Speed = PLAIN,
    ) -> None:
        """Load onto `device`. A `lora_scale` of 0 loads no LoRA at all.

        `offload`: `none` keeps all on the device; `model` keeps on it only the part that is at work; `sequential`
        only the layer. Raises InputError for a folder that is missing, incomplete or damaged (NaN, infinite or absurd
        weights) and for a LoRA that does not fit. `lora_left_out` says what of a LoRA's file was not loaded.
        """
        self.folder = Path(folder)
        check_folder(self.folder)
        try:
            self.pipe = FillPipeline.from_pretrained(
                self.folder, dtype=dtype, local_files_only=True, use_safetensors=True
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{self.folder}: does not load as FluxFillPipeline: {first_line(error, 300)}") from None
        if offload == "none":
            self.pipe.to(device)  # where a look at every weight takes a moment
        for part in ("transformer", "vae", "text_encoder", "text_encoder_2"):
            weights = {name: one.detach() for name, one in getattr(self.pipe, part).named_parameters()}
            check_tensors(weights, self.folder / part)
        self.lora_left_out = load_lora(self.pipe, lora, lora_scale) if lora and lora_scale else []
        self._place(device, offload, speed)

    @classmethod
    def of(cls, parts: dict[str, Any], device: str, offload: str = "none", speed: Speed = PLAIN) -> "FluxFill":
        """A painter of networks that are in memory already: `parts` are FluxFillPipeline's, by name."""
        self = cls.__new__(cls)
        self.folder, self.pipe, self.lora_left_out = Path(), FillPipeline(**parts), []
        self._place(device, offload, speed)
        return self

    def _place(self, device: str, offload: str, speed: Speed) -> None:
        self.pipe.set_progress_bar_config(disable=None, leave=False, desc="first frame")
        self.device, self.offload = device, offload
        self.pipe.image_processor.postprocess = self._checked(self.pipe.image_processor.postprocess)
        if speed.fuse_projections and _is_adapted(self.pipe.transformer):
            # Fused projections cannot carry an adapter: it goes into the weights, at the scale that was set.
            adapted = [part for part in ("transformer", "text_encoder") if _is_adapted(getattr(self.pipe, part))]
            self.pipe.fuse_lora(components=adapted)
            self.pipe.unload_lora_weights()
        if offload == "none":
            self.pipe.to(device)
        if speed.channels_last:
            channels_last(self.pipe.vae)
        speed_up(self.pipe.transformer, speed, torch.device(device))
        if offload == "model":
            self.pipe.enable_model_cpu_offload(device=device)
        elif offload == "sequential":
            self.pipe.enable_sequential_cpu_offload(device=device)

    def _check(self, value: torch.Tensor, what: str) -> None:
        checkpoint = self.folder if self.folder.name else origin(self.pipe.transformer)
        check_finite(value, what, checkpoint, self.pipe.transformer.dtype, LESS)

    def _checked(self, postprocess: Any) -> Any:
        """The image processor's last step, after a look: it clips infinities and lets NaN through."""

        def checked(image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            self._check(image, "painted picture")
            return postprocess(image, *args, **kwargs)

        return checked

    def _check_step(self, pipe: Any, number: int, time: Any, values: dict[str, Any]) -> dict[str, Any]:
        self._check(values["latents"], f"latents after step {number + 1}")
        return {}

    def describe(
        self,
        mask: np.ndarray,
        *,
        num_inference_steps: int = 50,
        height: int | None = None,
        width: int | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        """As `FirstFramePainter.describe`: the size at which it is painted, what is left out of the LoRA, a warning."""
        region = paint_region(mask, (height, width) if height and width else None)
        warning = self.warning(region.model_height, region.model_width, num_inference_steps)
        size = f"{region.model_height}x{region.model_width}"
        return {"painted_at": size, "warning": warning or None, "lora_left_out": self.lora_left_out}

    def warning(self, height: int, width: int, steps: int) -> str:
        """What to say of a size above two megapixels: how much noise its last step leaves. Empty for smaller ones."""
        if height * width <= TOO_LARGE:
            return ""
        sigma = last_sigma(self.pipe.scheduler, height, width, steps)
        return (
            f"first_frame.paint_size {height}x{width} is above two megapixels: the last of {steps} steps starts at "
            f"sigma {sigma:.3f} and leaves noise; leave it blank for about one megapixel"
        )

    def to(self, device: str) -> None:
        """Move the weights, for instance to host memory while another model needs the GPU."""
        if self.offload == "none":
            self.pipe.to(device)
        self.device = device

    @torch.inference_mode()
    def paint(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        prompt: str,
        rng: Callable[..., torch.Generator],
        *,
        num_inference_steps: int = 50,
        guidance_scale: float = 30.0,
        strength: float = 1.0,
        keep_masked_pixels: bool = False,
        max_sequence_length: int = 512,
        mask_feather: int = 8,
        height: int | None = None,
        width: int | None = None,
    ) -> np.ndarray:
        """As `FirstFramePainter.paint`: repaint a picture (H, W, 3) uint8 RGB where mask (H, W) is True.

        Outside the mask the result equals the picture; inside, the edit fades in over `mask_feather` pixels. The model
        sees the picture with the mask beside it; with `keep_masked_pixels` the old road stays visible under the mask,
        without it there is a hole (what FLUX Fill was trained on). With `strength` below 1 the painting also starts
        from the old pixels instead of pure noise. `height` and `width`: of what is painted (`paint_region`). All noise
        comes from `rng("flux")`. Raises
        InputError when latents or picture are NaN or infinite.
        """
        if mask.shape != image.shape[:2]:
            raise InputError(
                f"the mask is {mask.shape[1]}x{mask.shape[0]}, the frame {image.shape[1]}x{image.shape[0]}"
            )
        region = paint_region(mask, (height, width) if height and width else None)
        hole = Image.fromarray(hole_of(region, mask).astype(np.uint8) * 255)
        self.pipe.shows_masked_pixels = keep_masked_pixels
        painted = self.pipe(
            prompt=prompt,
            image=Image.fromarray(region.to_model(image)),
            mask_image=hole,
            height=region.model_height,
            width=region.model_width,
            strength=strength,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            max_sequence_length=max_sequence_length,
            generator=rng("flux"),
            output_type="np",
            callback_on_step_end=self._check_step,
        ).images[0]
        painted = np.rint(painted.clip(0, 1) * 255).astype(np.uint8)
        return blend(image, region.to_source(painted, image), feather(mask, mask_feather, inward=True))


def _is_adapted(part: Any) -> bool:
    return bool(getattr(part, "peft_config", None))


def check_folder(folder: Path) -> None:
    """Raise InputError unless the folder has all parts of a FLUX Fill pipeline; reads no weights."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; config key 'flux_fill' must name a FLUX.1-Fill folder")
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != "FluxFillPipeline":
        raise InputError(f"{folder}: model_index.json is of {index.get('_class_name')!r}, expected 'FluxFillPipeline'")
    for part in ("vae", "transformer", "text_encoder", "text_encoder_2"):
        if not (folder / part / "config.json").is_file() or not list((folder / part).glob("*.safetensors")):
            raise InputError(f"{folder}: {part} lacks its config.json or its safetensors; fetch the checkpoint again")
    for part in ("tokenizer", "tokenizer_2"):  # without its file a tokenizer loads empty and says nothing
        if not any((folder / part / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model")):
            raise InputError(f"{folder}: {part} lacks its vocabulary; fetch the checkpoint again")
