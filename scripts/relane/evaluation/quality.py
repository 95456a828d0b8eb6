"""Quality of one edited video against its clip: networks, streaming over the frames, label, and the text for people.

Every figure is a mean over frames (over pairs of consecutive frames for temporal consistency and flicker) that have
the region in question: `full_frame`, `masked_region` (inside the mask), `background` (outside it). Definitions:

    psnr, ssim, mse, mae, seam, flicker   relane.evaluation.metrics
    lpips                 Zhang et al. 2018, lpips package v0.1 on the backbone found in the weights folder; in regions
                          both frames are black outside, and the distance map is averaged over the region
    clip_score            100 max(cos, 0) between CLIP embeddings of the frame and of the prompt (Hessel et al. 2021),
                          the frame by the model's own image processor, the prompt cut to the model's length;
                          masked_region: the frame black outside the mask
    temporal_consistency  mean cosine between CLIP embeddings of consecutive edited frames, each squashed whole to the
                          model's input size; masked_region: black outside the mask. temporal_consistency_source is
                          the clip's own, which an edit can hardly exceed
"""

import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from relane.errors import InputError, first_line
from relane.evaluation import metrics
from relane.models.finite import check_finite, check_weights, origin

REGIONS = ("full_frame", "masked_region", "background")
# What networks say, where a run has them: title and how it is written.
NETWORK_METRICS = {
    "lpips": ("LPIPS", "{:.4f}"),
    "temporal_consistency": ("Temporal consistency", "{:.4f}"),
    "temporal_consistency_source": ("  of the source", "{:.4f}"),
    "clip_score": ("CLIP score", "{:.2f}"),
}
BY_REGION = (*metrics.PIXEL_METRICS, "lpips")
# File names by which torchvision and its users know the ImageNet backbones, in the order of preference: VideoPainter
# reports LPIPS on SqueezeNet.
_BACKBONES = {"squeeze": "squeezenet", "alex": "alex", "vgg": "vgg"}


@dataclass
class Networks:
    """Networks that some metrics need; one that is None leaves its metrics absent, for the reason in `absent`."""

    clip_score: "Clip | None" = None
    clip_temporal: "Clip | None" = None
    lpips: Any = None
    device: str = "cpu"
    absent: dict[str, str] = field(default_factory=dict)
    used: dict[str, str] = field(default_factory=dict)


class Clip:
    """A CLIP model from a local folder (torchmetrics' own CLIPScore does not run on transformers 5)."""

    def __init__(self, folder: str | Path, device: str, dtype: torch.dtype):
        from transformers import CLIPModel, CLIPProcessor

        _need_folder(folder, "a CLIP model")
        try:
            self.processor = CLIPProcessor.from_pretrained(folder, local_files_only=True)
            self.model = CLIPModel.from_pretrained(folder, local_files_only=True, dtype=dtype).to(device).eval()
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{folder}: not a CLIP model folder ({first_line(error)}); fetch the checkpoint again"
            ) from None
        self.device, self.dtype = device, dtype

    @torch.inference_mode()
    def text(self, prompt: str) -> Tensor:
        """Unit embedding (1, D) float32 of a prompt."""
        length = self.model.config.text_config.max_position_embeddings
        inputs = self.processor(text=[prompt], return_tensors="pt", truncation=True, max_length=length)
        return self._unit(self.model.get_text_features(**inputs.to(self.device)).pooler_output)

    @torch.inference_mode()
    def image(self, frame: Tensor, squash: bool) -> Tensor:
        """Unit embedding (1, D) float32 of a frame (3, H, W) in [0, 1], squashed whole or cropped as in training."""
        options = {}
        if squash:
            side = self.model.config.vision_config.image_size
            options = {"size": {"height": side, "width": side}, "do_center_crop": False}
        levels = (frame * 255).round().to(torch.uint8)  # CLIP's processors resize 8-bit images
        pixels = self.processor.image_processor(images=[levels], return_tensors="pt", **options)
        pixels = pixels["pixel_values"].to(self.device, self.dtype)
        return self._unit(self.model.get_image_features(pixel_values=pixels).pooler_output)

    def _unit(self, features: Tensor) -> Tensor:
        check_finite(features, "CLIP embedding", origin(self.model), self.dtype)
        return torch.nn.functional.normalize(features.float(), dim=-1)


def _need_folder(folder: str | Path, what: str) -> None:
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: no such folder; it should hold {what} (leave the key empty to go without)")


def load_lpips(folder: str | Path, device: str) -> tuple[Any, str]:
    """LPIPS v0.1 with the backbone of a folder, float32 -> (model, backbone name).

    The folder holds torchvision's ImageNet weights of SqueezeNet 1.1, AlexNet or VGG-16 (first found in this order), as
    a .pth/.pt state dict or .safetensors. Raises InputError when there is none, or it is not that network's.
    """
    _need_folder(folder, "squeezenet1_1, alexnet or vgg16 weights")
    files = [file for file in sorted(Path(folder).iterdir()) if file.suffix in (".pth", ".pt", ".safetensors")]
    found = [(name, file) for name, word in _BACKBONES.items() for file in files if word in file.name.lower()]
    if not found:
        raise InputError(f"{folder}: no squeezenet1_1, alexnet or vgg16 weights (.pth, .pt, .safetensors) in it")
    name, file = found[0]
    import lpips

    with warnings.catch_warnings():  # lpips 0.1.4 calls torchvision by an older signature
        warnings.simplefilter("ignore")
        model = lpips.LPIPS(net=name, pnet_rand=True, verbose=False)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(file)
        else:
            weights = torch.load(file, map_location="cpu", weights_only=True)
        # lpips cuts torchvision's `features` into slices and keeps each layer's number: slice2.3.x is features.3.x.
        ours = {key: weights["features." + key.partition(".")[2]] for key in model.net.state_dict()}
        model.net.load_state_dict(ours)
    except KeyError as error:
        raise InputError(f"{file}: no tensor {error}; it is not torchvision's {name} backbone") from None
    except Exception as error:  # unpickling, safetensors and shape errors have no common class
        raise InputError(f"{file}: cannot be loaded as torchvision's {name} backbone ({error})") from None
    check_weights(model, file)
    return model.to(device).eval(), name


class Averages:
    """Running means of named figures: `averages.add("full_frame.psnr", 31.2)`."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)

    def add(self, name: str, value: float) -> None:
        """Take one more value of a figure."""
        self.sums[name] += value
        self.counts[name] += 1

    def mean(self, name: str) -> float | None:
        """The mean so far, None when there is none."""
        return self.sums[name] / self.counts[name] if self.counts.get(name) else None


class Comparison:
    """Figures of an edited video against its clip, fed frame by frame; holds two frames of each."""

    def __init__(self, networks: Networks, prompt: str):
        self.networks = networks
        self.averages = Averages()
        self.frames = self.masked_frames = self.identical_frames = 0
        self.text = networks.clip_score.text(prompt) if networks.clip_score else None
        self.previous: tuple[Tensor, Tensor, Tensor] | None = None
        self.embeddings: dict[str, Tensor | None] = {}

    @torch.inference_mode()
    def add(self, source: np.ndarray, edited: np.ndarray, mask: np.ndarray) -> None:
        """The next frame pair, (H, W, 3) uint8 RGB, and its mask (H, W) bool, True = edited region."""
        s, e = (self._tensor(frame) for frame in (source, edited))
        m = torch.from_numpy(np.ascontiguousarray(mask)).to(self.networks.device)
        self.frames += 1
        self.masked_frames += bool(m.any())
        self.identical_frames += bool(torch.equal(s, e))
        self.averages.add("coverage", float(m.float().mean()))
        self._pixels(s, e, m)
        self._embeddings(s, e, m)
        self._change(s, e, m)
        self.previous = (s, e, m)

    def _tensor(self, frame: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(frame)).to(self.networks.device).permute(2, 0, 1).float() / 255

    def _pixels(self, s: Tensor, e: Tensor, m: Tensor) -> None:
        for name, region in (("full_frame", None), ("masked_region", m), ("background", ~m)):
            if region is not None and not region.any():
                continue
            figures = {name: metric.of(s, e, region) for name, metric in metrics.PIXEL_METRICS.items()}
            if self.networks.lpips is not None:
                figures["lpips"] = self._lpips(s, e, region)
            self._add(name, figures)
        if m.any():
            self._add("videopainter_masked", metrics.videopainter_masked(s, e, m))
            self._add("seam", metrics.seam(s, e, m) or {})

    def _add(self, group: str, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.averages.add(f"{group}.{name}", value)

    def _lpips(self, s: Tensor, e: Tensor, region: Tensor | None) -> float:
        model = self.networks.lpips
        model.spatial = region is not None
        if region is None:
            return float(model(s[None], e[None], normalize=True))
        return float(model((s * region)[None], (e * region)[None], normalize=True)[0, 0][region].mean())

    def _embeddings(self, s: Tensor, e: Tensor, m: Tensor) -> None:
        if self.networks.clip_score is not None:
            for group, frame in (("full_frame", e), ("masked_region", e * m)):
                if group == "full_frame" or m.any():
                    cosine = (self.networks.clip_score.image(frame, squash=False) * self.text).sum()
                    self.averages.add(f"{group}.clip_score", 100 * max(float(cosine), 0.0))
        if self.networks.clip_temporal is None:
            return
        views = {
            "full_frame.temporal_consistency": e,
            "full_frame.temporal_consistency_source": s,
            "masked_region.temporal_consistency": e * m if m.any() else None,
            "masked_region.temporal_consistency_source": s * m if m.any() else None,
        }
        for name, frame in views.items():
            now = None if frame is None else self.networks.clip_temporal.image(frame, squash=True)
            before = self.embeddings.get(name)
            if now is not None and before is not None:
                self.averages.add(name, float((now * before).sum()))
            self.embeddings[name] = now

    def _change(self, s: Tensor, e: Tensor, m: Tensor) -> None:
        if self.previous is None:
            return
        s0, e0, m0 = self.previous
        self._add("flicker.full_frame", metrics.flicker((s0, s), (e0, e)))
        if (m & m0).any():
            self._add("flicker.masked_region", metrics.flicker((s0, s), (e0, e), m & m0))

    def result(self) -> dict[str, Any]:
        """All figures, None where absent, with the reason under `absent`, and the label."""
        result: dict[str, Any] = {
            "frames": self.frames,
            "masked_frames": self.masked_frames,
            "identical_frames": self.identical_frames,
            "mask_coverage": self.averages.mean("coverage"),
        }
        names = dict.fromkeys(REGIONS[:2], (*metrics.PIXEL_METRICS, *NETWORK_METRICS)) | {"background": BY_REGION}
        names |= {"seam": ("added", "source", "edited"), "videopainter_masked": ("psnr", "ssim", "mse", "mae")}
        names |= {f"flicker.{region}": ("added", "source", "edited") for region in REGIONS[:2]}
        absent: dict[str, str] = {}
        for group, figures in names.items():
            target = result
            for part in group.split("."):
                target = target.setdefault(part, {})
            for name in figures:
                target[name] = self.averages.mean(f"{group}.{name}")
                if target[name] is None:
                    absent[f"{group}.{name}"] = self._reason(name)
        points, label = rate(result["full_frame"])
        result |= {"label": label, "label_points": points, "label_says": CLOSENESS, "titles": titles()}
        return result | {"absent": absent, "networks": self.networks.used}

    def _reason(self, name: str) -> str:
        return self.networks.absent.get(name.removesuffix("_source"), "no frame, or no pair of frames, has this region")


CLOSENESS = (
    "closeness to the source, not how good the edit is: a video in which nothing was changed scores best, and an edit "
    "that does as it was asked scores lower"
)


def rate(full_frame: dict[str, float | None]) -> tuple[int, str]:
    """(points, label) of the closeness to the source: a point each for PSNR > 40 dB, SSIM > 0.95, LPIPS < 0.1, over the
    full frame.

    Two or more points are EXCELLENT, one is GOOD, none MODERATE. An absent metric earns no point. The original's label:
    it rewards an edit that changes little, and one that changes nothing most.
    """
    psnr, ssim, lpips = (full_frame.get(name) for name in ("psnr", "ssim", "lpips"))
    points = (psnr is not None and psnr > 40) + (ssim is not None and ssim > 0.95) + (lpips is not None and lpips < 0.1)
    return points, "EXCELLENT" if points >= 2 else "GOOD" if points == 1 else "MODERATE"


def pairs(clip: str | Path, edited: str | Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Frame pairs of two videos, (H, W, 3) uint8 RGB, for as long as both go on: exact mode drops a clip's tail.

    Raises InputError when their sizes differ or one holds no frames.
    """
    from relane.io.video import iter_frames

    count = 0
    for source, other in zip(iter_frames(clip), iter_frames(edited), strict=False):
        if source.shape != other.shape:
            sizes = " and ".join(f"{frame.shape[1]}x{frame.shape[0]}" for frame in (other, source))
            raise InputError(f"{edited} and {clip} differ in size: {sizes}; an edit must keep its clip's size")
        yield source, other
        count += 1
    if not count:
        raise InputError(f"{clip} or {edited}: the file holds no frames")


def titles() -> dict[str, list[str]]:
    """Title and form of every figure by region, in the order of the tables; whoever shows them knows no metric."""
    own = {name: [metric.title, metric.form] for name, metric in metrics.PIXEL_METRICS.items()}
    return own | {name: list(about) for name, about in NETWORK_METRICS.items()}


def as_text(result: dict[str, Any]) -> str:
    """The result for people: one table, the label with its reasons, and what is absent and why."""

    def cell(value: float | None, form: str) -> str:
        return "absent" if value is None else form.format(value)

    lines = [
        f"Quality of {result['video']}: {result['frames']} frames of {result['width']}x{result['height']}",
        f"Frames: {result['clip_frames']} of the clip, {result['edited_frames']} of the edit; as far as both go",
        f"Rate: {result['fps']:g} frames a second",
        *(f"{name.capitalize()}: {path}" for name, path in result["paths"].items()),
        f"Prompt: {result['prompt']}",
        f"Mask: {result['masked_frames']} frames, {100 * result['mask_coverage']:.2f} % of the picture on average",
        "",
        f"{'':24}{'full frame':>14}{'masked region':>16}{'background':>14}",
    ]
    for name, (title, form) in result["titles"].items():
        cells = ["" if name not in result[region] else cell(result[region][name], form) for region in REGIONS]
        lines.append(f"{title:24}{cells[0]:>14}{cells[1]:>16}{cells[2]:>14}".rstrip())
    lines += ["", "In 8-bit levels:        added by edit          source          edited"]
    groups = (("Seam at the mask's edge", result["seam"]), ("Flicker, full frame", result["flicker"]["full_frame"]))
    for title, group in (*groups, ("Flicker, masked region", result["flicker"]["masked_region"])):
        lines.append(f"{title:24}" + "".join(f"{cell(group[n], '{:.2f}'):>16}" for n in ("added", "source", "edited")))
    old = result["videopainter_masked"]
    lines += [
        "",
        "The original VideoPainter's own 'masked' metrics (hole black in the edit only; to compare with its tables):",
        "  " + ", ".join(f"{name.upper()} {cell(value, '{:.4f}')}" for name, value in old.items()),
        "",
        "Closeness to the source",
        f"Label: {result['label']} ({result['label_points']} of 3 points: PSNR > 40, SSIM > 0.95, LPIPS < 0.1, "
        "full frame)",
        "A video in which nothing was changed scores best: the label says how close the edit is to the source, not how",
        "good it is.",
        "",
    ]
    if result["identical_frames"]:
        lines.append(f"{result['identical_frames']} frames equal the source's; each counts as {metrics.PSNR_CAP:g} dB")
    lines += [f"absent: {name}: {reason}" for name, reason in result["absent"].items()]
    return "\n".join(lines) + "\n"
