"""Road masks by sam2's compiled predictor: minutes of compilation, so in a process of its own."""

from stages import segment
from stages.measure import Bench


def run(bench: Bench) -> None:
    """One row, where there is a device to compile for."""
    if bench.device.type != "cuda":
        bench.skip("vos compile", "needs a CUDA device")
        return
    segment.run(bench, compiled=True)
