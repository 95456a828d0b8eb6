"""Quality metrics of one edited frame, or of two consecutive ones, against the source: formulas on tensors.

Frames are (3, H, W) float32 RGB in [0, 1], masks are (H, W) bool, True inside the region that counts. The averages over
a video, the networks and the report stand in `relane.evaluation.quality`.

A region's metric looks at BOTH frames inside the region and nowhere else. The original VideoPainter's "masked" metrics
do not: they blacken the hole in the edited frame alone and compare with the whole source frame, so that most of their
error is the source's own brightness in the hole. `videopainter_masked` reproduces them, under that name only.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# PSNR of equal frames is infinite, which JSON cannot say. 8-bit frames that differ reach about 107 dB at most
# (1 level in 1 of 2 million values), so 100 dB stands for "equal or as good as".
PSNR_CAP = 100.0


def mse(a: Tensor, b: Tensor, region: Tensor | None = None) -> float:
    """Mean squared error of values in [0, 1], over the channels and the pixels of the region (None: all)."""
    return _mean((a - b).double().square(), region)


def mae(a: Tensor, b: Tensor, region: Tensor | None = None) -> float:
    """Mean absolute error of values in [0, 1], over the channels and the pixels of the region (None: all)."""
    return _mean((a - b).double().abs(), region)


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1: -10 log10(MSE), at most `PSNR_CAP`."""
    if mean_squared_error <= 10 ** (-PSNR_CAP / 10):
        return PSNR_CAP
    return float(-10 * torch.log10(torch.tensor(mean_squared_error, dtype=torch.float64)))


def _mean(values: Tensor, region: Tensor | None) -> float:
    return float(values.mean() if region is None else values[..., region].mean())


@cache
def _window(device: str) -> Tensor:
    taps = torch.arange(-5, 6, device=device, dtype=torch.float32)
    weights = torch.exp(-(taps**2) / (2 * 1.5**2))
    return weights / weights.sum()


def _blur(planes: Tensor) -> Tensor:
    """(N, H, W) by SSIM's window, borders reflected, as torchmetrics does it."""
    weights, count = _window(str(planes.device)), len(planes)
    planes = F.pad(planes[None], (5, 5, 5, 5), mode="reflect")
    # Planes as channels of one group each: on a CPU ten times as fast as planes as a batch.
    planes = F.conv2d(planes, weights.view(1, 1, 11, 1).expand(count, 1, 11, 1), groups=count)
    return F.conv2d(planes, weights.view(1, 1, 1, 11).expand(count, 1, 1, 11), groups=count)[0]


def ssim(a: Tensor, b: Tensor, region: Tensor | None = None) -> float:
    """Structural similarity (Wang et al. 2004): 11-tap Gaussian window, sigma 1.5, range 1; mean over the region.

    In a region every window's weights are renormalised to it: means, variances and covariance come from its pixels
    alone, so what is outside cannot move the number. Over all pixels (None) this is torchmetrics'
    `structural_similarity_index_measure`, the tests' reference, which has no regions, takes four times as long on a
    CPU, and gives 0.9997 for two equal flat frames.
    """
    weight = torch.ones_like(a[:1]) if region is None else region.float()[None]
    moments = torch.cat((a, b, a * a, b * b, a * b)) * weight
    mean_a, mean_b, square_a, square_b, product = (_blur(moments) / _blur(weight).clamp_min(1e-12)).chunk(5)
    # Not clamped at 0: rounding then cancels between them, and equal frames give exactly 1.
    var_a, var_b, covariance = square_a - mean_a**2, square_b - mean_b**2, product - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    index = index / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return _mean(index, region)


def seam(source: Tensor, edited: Tensor, mask: Tensor) -> dict[str, float] | None:
    """The step across the mask's edge, in 8-bit levels; None where the mask has no edge.

    Over all pairs of neighbours (left-right and up-down), one inside the mask and one outside, and over channels:
    `source` = mean |s_in - s_out|, `edited` = mean |e_in - e_out|, and `added` = mean |e_in - e_out - (s_in - s_out)|,
    what the edit put there: 0 for no edit, |c| for a constant c added inside the mask.
    """
    steps_s, steps_e = [], []
    for axis in (-1, -2):
        length = mask.shape[axis] - 1
        edge = mask.narrow(axis, 0, length) != mask.narrow(axis, 1, length)
        steps_s.append(source.diff(dim=axis)[:, edge])
        steps_e.append(edited.diff(dim=axis)[:, edge])
    step_s, step_e = torch.cat(steps_s, 1).double() * 255, torch.cat(steps_e, 1).double() * 255
    if step_s.numel() == 0:
        return None
    return {
        "added": float((step_e - step_s).abs().mean()),
        "source": float(step_s.abs().mean()),
        "edited": float(step_e.abs().mean()),
    }


def flicker(
    source: tuple[Tensor, Tensor], edited: tuple[Tensor, Tensor], region: Tensor | None = None
) -> dict[str, float]:
    """Change from one frame to the next, in 8-bit levels, over the region (None: all) and channels.

    `source` = mean |s_t - s_t-1|, `edited` = mean |e_t - e_t-1|, and `added` = mean |(e_t - s_t) - (e_t-1 - s_t-1)|,
    how much the edit itself changes: 0 for an edit that adds the same to every frame. New markings that rightly move
    with the road count too, so compare arms of one clip by it, not clips.
    """
    change_s = (source[1] - source[0]).double() * 255
    change_e = (edited[1] - edited[0]).double() * 255
    return {
        "added": _mean((change_e - change_s).abs(), region),
        "source": _mean(change_s.abs(), region),
        "edited": _mean(change_e.abs(), region),
    }


def videopainter_masked(source: Tensor, edited: Tensor, mask: Tensor) -> dict[str, float]:
    """The original VideoPainter's "masked" PSNR (dB), SSIM, MSE, MAE: source whole, hole of the edited frame black.

    For comparison with its published tables only: the whole source against a frame with a hole in it tells the hole's
    size and brightness more than how well the background is kept.
    """
    holed = edited * ~mask
    error = mse(source, holed)
    return {"psnr": psnr(error), "ssim": ssim(holed, source), "mse": error, "mae": mae(source, holed)}


@dataclass(frozen=True)
class PixelMetric:
    """How one figure of a frame pair is called and written for people, and its function (source, edited, region)."""

    title: str
    form: str
    of: Callable[[Tensor, Tensor, Tensor | None], float]


# Every figure that is taken of the whole frame, inside the mask and outside it. A new one stands here and nowhere else.
PIXEL_METRICS = {
    "psnr": PixelMetric("PSNR (dB)", "{:.2f}", lambda source, edited, region: psnr(mse(source, edited, region))),
    "ssim": PixelMetric("SSIM", "{:.4f}", ssim),
    "mse": PixelMetric("MSE ([0,1])", "{:.3e}", mse),
    "mae": PixelMetric("MAE ([0,1])", "{:.3e}", mae),
}
