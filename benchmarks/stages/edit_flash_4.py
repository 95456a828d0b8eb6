"""The editor's step with FlashAttention-4, where the package flash-attn-4 is installed."""

import importlib.util

from relane.editors.videopainter.pipeline import VideoPainter
from relane.models.acceleration import Speed, compile_blocks, speed_up
from stages.edit import EXACT, FAST, PLAIN, STEP, fast_row
from stages.measure import Bench
from stages.painter import SCHEDULER, Edit, networks


def run(bench: Bench) -> None:
    """Exact and fast, each against the plain step of this run; last with 8-bit products too."""
    if bench.device.type != "cuda" or not importlib.util.find_spec("flash_attn"):
        bench.skip("FlashAttention-4", "needs a Hopper or Blackwell card and the package flash-attn-4")
        return
    models = VideoPainter(**networks(bench), scheduler_config=SCHEDULER, device=bench.device)
    plain, _ = Edit(bench, models, EXACT).steps()
    bench.row(STEP, "step", plain, setting=PLAIN)
    for network in (models.transformer, models.branch):
        speed_up(network, Speed(fuse_projections=True, attention_backend="flash_4"), bench.device)
        compile_blocks(network)
    measured, _ = Edit(bench, models, EXACT).steps()
    setting = "exact, compiled, fused projections, flash_4"
    bench.row(STEP, "step", measured, plain, setting=setting, baseline=PLAIN, goal=1.35)
    refresh = FAST.replace(guidance_skip=0.0, background_refresh=3)
    fast_row(bench, models, plain, refresh, "flash_4, the background in a third")
    half = FAST.replace(background_refresh=3)
    fast_row(bench, models, plain, half, "flash_4, guidance in half of the steps, the background in a third")
    with bench.step("fp8"):
        for network in (models.transformer, models.branch):
            speed_up(network, Speed(fp8=True), bench.device)
        measured, _ = Edit(bench, models, EXACT).steps()
        bench.row(STEP, "step", measured, plain, setting="compiled, flash_4, fp8", baseline=PLAIN)
