"""The editor with little memory: a clip of 240 frames whose networks take turns on the device."""

import time

from relane.editors.videopainter.options import Options
from relane.editors.videopainter.pipeline import VideoPainter
from stages.measure import Bench, Measured
from stages.painter import SCHEDULER, Edit, networks


def run(bench: Bench) -> None:
    """One row: peak memory does not depend on the number of steps, so each window takes one."""
    models = VideoPainter(**networks(bench), scheduler_config=SCHEDULER, device=bench.device, offload="model")
    frames = bench.pick(240, 24)
    options = Options(num_inference_steps=1, stride=bench.pick(40, 4))
    # Where the networks are made is not where they wait.
    with models._working(models.transformer), models._working(models.branch), models._working(models.vae):
        pass
    bench.forget_peak()
    start = time.perf_counter()
    _, seconds = Edit(bench, models, options, frames).steps()
    measured = Measured(time.perf_counter() - start, bench.peak())
    bench.row(
        f"clip of {frames} frames, 1 step a window",
        "clip",
        measured,
        setting="offload model",
        peak_goal_gb=24,
        memory="low",
        note=", ".join(f"{phase} {value:.1f} s" for phase, value in seconds.items()),
    )
