"""Road masks: SAM2.1-large on a clip of 1280x720, sam2's own way and the stage's stream."""

import importlib.resources
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from omegaconf import OmegaConf

from relane.config.sections.sam2 import POINTS
from relane.io.prefetch import feeding
from relane.road import sam2_video
from relane.road.segmentation import RoadSegmenter, clean
from stages.build import RESOURCES, count
from stages.measure import Bench, Measured

STOCK = "sam2's init_state and propagate_in_video"


def run(bench: Bench, compiled: bool = False) -> None:
    """Seconds a frame; `compiled` runs sam2's compiled predictor instead of the plain one."""
    predictor = build(bench, compiled)
    clip = frames(bench)
    segmenter = RoadSegmenter.of(predictor, bench.dtype)
    if compiled:
        ours = bench.time(lambda: stream(segmenter, clip), repeats=1, count=False).each(len(clip))
        bench.row("frame", "frame", ours, setting="segment_road's stream, vos compile")
        return
    warm = clip[: bench.pick(10, 3)]
    stock(bench, predictor, warm)
    operations = bench.count(lambda: list(segmenter.video(warm))) // len(warm)
    note = f"{len(clip)} frames of {clip[0].shape[1]}x{clip[0].shape[0]}, {count(predictor)} parameters"
    plain = stock(bench, predictor, clip)
    plain = Measured(plain.seconds, plain.peak, operations)
    bench.row("frame", "frame", plain, setting=STOCK, note=note)
    ours = bench.time(lambda: stream(segmenter, clip), repeats=1, count=False).each(len(clip))
    ours = Measured(ours.seconds, ours.peak, operations)
    bench.row("frame", "frame", ours, plain, setting="segment_road's stream", baseline=STOCK, memory="full")


def stream(segmenter: RoadSegmenter, clip: list[np.ndarray]) -> None:
    """As the stage does it: frames are prepared, and masks cleaned, in threads beside the network."""
    with feeding(lambda found: list(clean(found, POINTS))) as feed:
        for mask in segmenter.video(clip, cleaning=None):
            feed(mask)


def build(bench: Bench, compiled: bool) -> torch.nn.Module:
    """sam2's own builder; its weights as the classes draw them, small enough to come from the CPU."""
    if bench.tiny:
        config = OmegaConf.load(str(RESOURCES / "sam2/config.yaml")).model
    else:
        path = importlib.resources.files("sam2") / "configs/sam2.1/sam2.1_hiera_l.yaml"
        config = OmegaConf.load(str(path))
        OmegaConf.resolve(config)
        config = config.model
    predictor = sam2_video.build_predictor(config, compiled and bench.device.type == "cuda")
    return predictor.eval().requires_grad_(False).to(bench.device)


def frames(bench: Bench) -> list[np.ndarray]:
    """A road of noise that drifts, (H, W, 3) uint8 each."""
    height, width = bench.pick((720, 1280), (72, 128))
    draw = np.random.default_rng(0)
    wide = draw.integers(0, 256, (height, 2 * width, 3), np.uint8)
    return [np.ascontiguousarray(wide[:, 4 * index : 4 * index + width]) for index in range(bench.pick(60, 4))]


def stock(bench: Bench, predictor: torch.nn.Module, clip: list[np.ndarray]) -> Measured:
    """sam2 used plainly: JPEGs in a folder, all read first, all outputs kept. Seconds a frame without writing them."""
    with tempfile.TemporaryDirectory() as folder:
        for index, frame in enumerate(clip):
            cv2.imwrite(str(Path(folder) / f"{index:05d}.jpg"), frame[..., ::-1])
        points = np.array(POINTS, np.float32) * [clip[0].shape[1], clip[0].shape[0]]
        bench.forget_peak()
        start = bench.wait()
        with torch.inference_mode(), sam2_video.autocast(bench.device, bench.dtype):
            state = predictor.init_state(folder)
            predictor.add_new_points_or_box(state, 0, 1, points=points, labels=np.ones(len(points), np.int32))
            for _, _, logits in predictor.propagate_in_video(state):
                (logits > 0).cpu()
        seconds = (bench.wait() - start) / len(clip)
        return Measured(seconds, bench.peak())
