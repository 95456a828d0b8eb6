"""The first frame: FLUX.1-Fill-dev at 720x480, the stock pipeline and the stage's painter."""

from functools import partial

import numpy as np
import torch
from diffusers import FluxFillPipeline
from PIL import Image

from relane import noise
from relane.models.acceleration import Speed, channels_last, compile_blocks, speed_up
from relane.models.flux_fill import FluxFill
from stages.build import count
from stages.flux import PROMPT, parts, pictures
from stages.measure import Bench, Measured

STEPS = 8
STOCK = "stock FluxFillPipeline, eager"


def run(bench: Bench) -> None:
    """A picture of 8 steps: prompt, encoding and decoding are in it, as they are in the stage's time."""
    networks = parts(bench)
    [frame], mask = pictures(bench, 1)
    stock = bench.time(lambda: paint_stock(networks, frame, mask))
    sizes = ", ".join(f"{name} {count(networks[name])}" for name in ("transformer", "text_encoder_2"))
    bench.row(f"picture of {STEPS} steps", "picture", stock, setting=STOCK, note=sizes)
    painter = FluxFill.of(networks, str(bench.device))
    eager = bench.time(lambda: paint(painter, frame, mask), count=False)
    row(bench, eager, stock, "first_frame's painter, eager")
    channels_last(painter.pipe.vae)
    backend = "_native_cudnn" if bench.device.type == "cuda" else ""
    speed_up(painter.pipe.transformer, Speed(fuse_projections=True, attention_backend=backend), bench.device)
    compile_blocks(painter.pipe.transformer, bench.pick("inductor", "eager"))
    fast = bench.time(lambda: paint(painter, frame, mask), count=False)
    row(bench, fast, stock, "compiled, fused projections, cuDNN attention, channels last")


def row(bench: Bench, measured: Measured, stock: Measured, setting: str) -> None:
    """A way to paint beside the stock pipeline, whose operations it does."""
    measured = Measured(measured.seconds, measured.peak, stock.operations)
    how = {"setting": setting, "baseline": STOCK, "memory": "full"}
    bench.row(f"picture of {STEPS} steps", "picture", measured, stock, **how)


def paint(painter: FluxFill, frame: np.ndarray, mask: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """As the stage paints."""
    return painter.paint(frame, mask, PROMPT, partial(noise.generator, "benchmark"), num_inference_steps=steps)


@torch.inference_mode()
def paint_stock(networks: dict, frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """As diffusers' page shows it."""
    pipe = FluxFillPipeline(**networks)
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt=PROMPT,
        image=Image.fromarray(frame),
        mask_image=Image.fromarray(mask.astype(np.uint8) * 255),
        height=frame.shape[0],
        width=frame.shape[1],
        num_inference_steps=STEPS,
        guidance_scale=30.0,
        max_sequence_length=512,
        generator=torch.Generator("cpu").manual_seed(0),
        output_type="np",
    ).images[0]
