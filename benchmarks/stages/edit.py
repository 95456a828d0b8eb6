"""The editor: a denoising step of VideoPainter on CogVideoX-5b-I2V, 49 frames of 480x720 under guidance."""

import numpy as np
import torch
from diffusers import CogVideoXDPMScheduler, CogVideoXImageToVideoPipeline
from PIL import Image

from relane.editors.videopainter.options import Options
from relane.editors.videopainter.pipeline import VideoPainter
from relane.editors.videopainter.windows import latent_frames
from relane.models.acceleration import Speed, channels_last, compile_blocks, speed_up
from stages.build import count
from stages.measure import Bench, Measured
from stages.painter import SCHEDULER, Edit, networks, stock_transformer, texts

EXACT = Options.exact(num_inference_steps=3)
# One window needs no stride; any that fits will do.
FAST = Options(num_inference_steps=6, guidance_skip=0.5, stride=4)
STEP, PLAIN = "denoising step", "VideoPainter, exact, eager"


def run(bench: Bench) -> None:
    """All rows; each compares with the plain VideoPainter of this run."""
    parts = networks(bench)
    models = VideoPainter(**parts, scheduler_config=SCHEDULER, device=bench.device)
    with bench.step("stock CogVideoX, " + STEP):
        stock(bench, models)
    counted = Edit(bench, models, EXACT.replace(num_inference_steps=1)).counted().operations
    plain, seconds = Edit(bench, models, EXACT).steps(counted["denoise"])
    size = f"{count(models.transformer)} + {count(models.branch)}"
    how = {"setting": PLAIN, "note": f"parameters: {size}", "memory": "full"}
    bench.row(STEP, "step", plain, **how)
    vae = codec_rows(bench, seconds, counted, plain.peak)
    with bench.step("cuDNN attention"):
        attention(bench, models, plain)
    with bench.step("compiled"):
        exact(bench, models, plain, vae, counted)
    with bench.step("fast mode"):
        fast(bench, models, plain)


def stock(bench: Bench, models: VideoPainter) -> None:
    """diffusers' own pipeline on the same weights: no branch, no background, one image to start from."""
    transformer = stock_transformer(models.transformer)
    scheduler = CogVideoXDPMScheduler.from_config(SCHEDULER)
    pipe = CogVideoXImageToVideoPipeline(
        tokenizer=None, text_encoder=None, vae=models.vae, transformer=transformer, scheduler=scheduler
    )
    pipe.set_progress_bar_config(disable=True)
    prompt, negative = (text.to(bench.device) for text in texts(bench))
    height, width = models.size
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))
    latents = torch.randn(2, latent_frames(models.window), 32, height // 8, width // 8)
    rotary = models._rotary(EXACT, models.window)
    with torch.no_grad():
        operations = bench.count(
            lambda: transformer(
                latents.to(bench.device, bench.dtype),
                torch.cat([negative, prompt]),
                torch.full((2,), 500, device=bench.device),
                image_rotary_emb=rotary,
            )
        )
    stamps: list[float] = []

    def ended(pipe, step, timestep, given):
        stamps.append(bench.wait())
        return given

    bench.forget_peak()
    pipe(
        image=image,
        prompt_embeds=prompt,
        negative_prompt_embeds=negative,
        height=height,
        width=width,
        num_frames=models.window,
        num_inference_steps=3,
        guidance_scale=6.0,
        output_type="np",
        callback_on_step_end=ended,
    )
    measured = Measured((stamps[-1] - stamps[0]) / (len(stamps) - 1), bench.peak(), operations)
    bench.row(STEP, "step", measured, setting="stock CogVideoX pipeline, eager (no branch)")


def codec_rows(bench: Bench, seconds: dict, counted: dict, peak: int, before: dict | None = None) -> dict:
    """Rows of the VAE; with `before` they are the channels-last ones and compare with it."""
    made = {}
    for phase, what in (("encode", "VAE encode of image, source and masked source"), ("decode", "VAE decode")):
        made[phase] = Measured(seconds[phase], peak, counted[phase])
        setting = "channels last" if before else "plain"
        baseline = {"baseline": "plain"} if before else {}
        bench.row(what, "window", made[phase], before and before[phase], setting=setting, **baseline)
    return made


def attention(bench: Bench, models: VideoPainter, plain: Measured) -> None:
    """cuDNN's attention through diffusers' dispatcher, where the card has it."""
    if bench.device.type != "cuda":
        bench.skip("cuDNN attention", "needs a CUDA device")
        return
    for network in (models.transformer, models.branch):
        speed_up(network, Speed(attention_backend="_native_cudnn"), bench.device)
    measured, _ = Edit(bench, models, EXACT).steps(plain.operations)
    bench.row(STEP, "step", measured, plain, setting="exact, cuDNN attention", baseline=PLAIN)
    if measured.seconds > plain.seconds:
        for network in (models.transformer, models.branch):
            network.set_attention_backend("native")


def exact(bench: Bench, models: VideoPainter, plain: Measured, vae: dict, counted: dict) -> None:
    """Every option that leaves no work out: the faster attention, fused projections, compiled blocks, layout."""
    channels_last(models.vae)
    for network in (models.transformer, models.branch):
        speed_up(network, Speed(fuse_projections=True), bench.device)
        compile_blocks(network, bench.pick("inductor", "eager"))
    measured, seconds = Edit(bench, models, EXACT).steps(plain.operations)
    setting = "exact, compiled, fused projections, faster attention"
    bench.row(STEP, "step", measured, plain, setting=setting, baseline=PLAIN, goal=1.35)
    codec_rows(bench, seconds, counted, measured.peak, vae)


def fast(bench: Bench, models: VideoPainter, plain: Measured) -> None:
    """What leaves work out, added to `exact`: half of the guidance, two thirds of the background, 8-bit products."""
    half, third = "guidance in half of the steps", "the background in a third"
    fast_row(bench, models, plain, FAST, half)
    fast_row(bench, models, plain, FAST.replace(guidance_skip=0.0, background_refresh=3), third)
    fast_row(bench, models, plain, FAST.replace(background_refresh=3), f"{half}, {third}")
    with bench.step("first-block cache"):
        fast_row(bench, models, plain, FAST.replace(first_block_cache=0.1), f"{half}, first-block cache 0.1")
    with bench.step("fp8"):
        for network in (models.transformer, models.branch):
            speed_up(network, Speed(fp8=True), bench.device)
        fast_row(bench, models, plain, FAST, f"{half}, fp8")
        fast_row(bench, models, plain, FAST.replace(background_refresh=3), f"{half}, {third}, fp8")


def fast_row(bench: Bench, models: VideoPainter, plain: Measured, options: Options, setting: str) -> None:
    """One way to run fast: after a run to compile both kinds of steps, the mean over all steps."""
    full = Calls(models.transformer.transformer_blocks[-1])
    Edit(bench, models, options).steps()
    full.count = 0
    edit = Edit(bench, models, options)
    _, seconds = edit.steps()
    steps = options.num_inference_steps
    measured = Measured(seconds["denoise"] / steps, bench.peak())
    if options.first_block_cache:
        setting += f" ({full.count} of {steps} steps through every block)"
    if options.background_refresh:
        setting += f" (the hole is {edit.hole:.0%} of the tokens)"
    bench.row(STEP, "step", measured, plain, setting=f"as compiled, {setting}", baseline=PLAIN, goal=2.5)


class Calls:
    """Counts the calls of a block's forward; a cache that is switched on later and skips the block is not counted."""

    def __init__(self, block: torch.nn.Module):
        self.count, inner = 0, block.forward

        def forward(*args, **kwargs):
            self.count += 1
            return inner(*args, **kwargs)

        block.forward = forward
