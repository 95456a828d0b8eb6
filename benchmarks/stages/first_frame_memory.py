"""The first frame with little memory: FLUX.1-Fill-dev's layers come to the device one by one."""

from relane.models.flux_fill import FluxFill
from stages.first_frame import paint
from stages.flux import parts, pictures
from stages.measure import Bench, Measured


def run(bench: Bench) -> None:
    """One row of two steps."""
    if bench.device.type != "cuda":
        bench.skip("offload sequential", "needs a CUDA device")
        return
    [frame], mask = pictures(bench, 1)
    networks = parts(bench)
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        networks[name].to("cpu")
    painter = FluxFill.of(networks, str(bench.device), offload="sequential")
    bench.forget_peak()
    start = bench.wait()
    paint(painter, frame, mask, steps=2)
    measured = Measured(bench.wait() - start, bench.peak())
    bench.row("picture of 2 steps", "picture", measured, setting="offload sequential", memory="low")
