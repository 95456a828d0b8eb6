"""What a training leaves for people: the summary and sample pictures. Its loss curve: `curve`."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image

from relane import noise
from relane.models.flux_fill import FillPipeline
from relane.training.lora.cache import Cache


def summary_text(summary: dict) -> str:
    """The summary for people: a line a fact, from the same dict that is written as JSON."""
    lines = [f"LoRA training {summary['run_id']}", ""]
    units = {"seconds": "s", "per_second": "/s", "bytes": "bytes"}
    for key, value in summary.items():
        if key in ("run_id", "settings"):
            continue
        if isinstance(value, float):
            value = f"{value:.6g}"
        unit = next((f" {unit}" for end, unit in units.items() if key.endswith(end)), "")
        lines.append(f"{key.replace('_', ' '):<28} {value}{unit}")
    lines += ["", "settings"]
    lines += [f"  {key:<28} {value}" for key, value in summary["settings"].items()]
    return "\n".join(lines) + "\n"


@torch.no_grad()
def paint_samples(
    parts: tuple[torch.nn.Module, torch.nn.Module, FlowMatchEulerDiscreteScheduler],
    cache: Cache,
    numbers: Sequence[int],
    steps: int,
    device: torch.device,
) -> np.ndarray:
    """Paint rows with the model as it is: (H, 3 W, 3) uint8, one row of the picture a row: source, hole, painted.

    parts: (transformer, vae, scheduler). The VAE is on `device` only meanwhile. Noise is keyed by the row's name, so
    that pictures of different steps differ by the training alone.
    """
    transformer, vae, scheduler = parts
    pipe = FillPipeline(
        # A copy: painting sets its own steps, and the training reads the table of all.
        scheduler=FlowMatchEulerDiscreteScheduler.from_config(scheduler.config),
        vae=vae.to(device),
        transformer=transformer,
        text_encoder=None,
        text_encoder_2=None,
        tokenizer=None,
        tokenizer_2=None,
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.shows_masked_pixels = cache.how.keep_masked_pixels
    transformer.eval()
    panels = []
    for number in numbers:
        image, mask = cache.pixels(number)
        row = cache[number]
        painted = pipe(
            prompt_embeds=row.prompt[None].to(device, vae.dtype),
            pooled_prompt_embeds=row.pooled[None].to(device, vae.dtype),
            image=Image.fromarray(image),
            mask_image=Image.fromarray(mask.astype(np.uint8) * 255),
            height=mask.shape[0],
            width=mask.shape[1],
            num_inference_steps=steps,
            guidance_scale=cache.how.guidance_scale,
            generator=noise.generator(cache.how.seed, "sample", cache.rows[number].name),
            max_sequence_length=cache.how.max_sequence_length,
            output_type="np",
        ).images[0]
        hole = np.where(mask[..., None], 128, image).astype(np.uint8)
        panels.append(np.concatenate([image, hole, np.rint(painted.clip(0, 1) * 255).astype(np.uint8)], 1))
    transformer.train()
    vae.to("cpu")
    width = max(panel.shape[1] for panel in panels)
    return np.concatenate([np.pad(panel, ((0, 0), (0, width - panel.shape[1]), (0, 0))) for panel in panels])
