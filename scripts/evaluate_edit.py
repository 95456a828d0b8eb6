"""Quality of one edited video against its clip: a table for people (text) and the same for machines (JSON).

PSNR, SSIM, LPIPS, MSE, MAE, temporal consistency and CLIP score over the full frame and inside the mask (of both
videos), background preservation outside it, the seam at its edge, and flicker: definitions in
relane/evaluation/metrics.py and quality.py. A metric whose weights are not given or not there is reported as absent
(null), with the reason.
"""

import argparse
import time
from pathlib import Path

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.quality import Quality
from relane.errors import InputError
from relane.models import memory_stats

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.workers).
LOADS = ("clip_score_model", "clip_temporal_model", "lpips_weights", "device", "dtype")
LESS_MEMORY = "quality.dtype: bfloat16"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--video", default="", help="name in the report; blank: the clip's file name without suffix")
    p.add_argument("--clip", required=True, help="the clip, MP4")
    p.add_argument("--edited", required=True, help="the edited video, MP4, same size; may be shorter")
    p.add_argument("--inpaint-masks", required=True, help="NPZ, arr_0 (T, H, W), not 0 = edited region")
    p.add_argument("--prompt", default="", help="text for the CLIP score; blank: taken from --first-frame-json")
    p.add_argument("--first-frame-json", default="", help="JSON whose `prompt` (or `caption`) is the text")
    p.add_argument("--clip-score-model", default="", help="CLIP folder for the CLIP score; blank or not there: absent")
    p.add_argument("--clip-temporal-model", default="", help="CLIP folder for temporal consistency; the same")
    p.add_argument("--lpips-weights", default="", help="folder of squeezenet1_1, alexnet or vgg16 weights; the same")
    p.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (auto: cuda when there is one)")
    add_options(p, Quality)
    p.add_argument("--text", required=True, help="output: the table")
    p.add_argument("--json", required=True, help="output: the figures")
    return p


def load(args: argparse.Namespace):
    """The networks that the flags name, as far as their folders are there. Raises InputError where one lacks a file."""
    import torch

    from relane.evaluation.quality import Clip, Networks, load_lpips
    from relane.models.device import choose_device
    from relane.workflow.optional import why_absent

    device = str(choose_device(args.device))
    networks, dtype = Networks(device=device), getattr(torch, args.dtype)
    folders = {
        "clip_score": args.clip_score_model,
        "temporal_consistency": args.clip_temporal_model,
        "lpips": args.lpips_weights,
    }
    keys = {"temporal_consistency": "clip_temporal"}
    networks.absent = {name: why for name, of in folders.items() if (why := why_absent(keys.get(name, name), of))}
    there = {name: folder for name, folder in folders.items() if name not in networks.absent}
    if folder := there.get("clip_score"):
        networks.clip_score = Clip(folder, device, dtype)
        networks.used["clip_score"] = Path(folder).name
    if folder := there.get("temporal_consistency"):
        same = folder == there.get("clip_score")
        networks.clip_temporal = networks.clip_score if same else Clip(folder, device, dtype)
        networks.used["temporal_consistency"] = Path(folder).name
    if folder := there.get("lpips"):
        networks.lpips, networks.used["lpips"] = load_lpips(folder, device)
    return networks


def prompt_of(args: argparse.Namespace) -> str:
    """The text that the edited video should show, "" when neither flag is given. Raises InputError on a bad JSON."""
    if args.prompt or not args.first_frame_json:
        return args.prompt
    from relane.io.files import read_json

    record = read_json(args.first_frame_json)
    for key in ("prompt", "caption"):
        if isinstance(record, dict) and isinstance(record.get(key), str) and record[key].strip():
            return record[key]
    raise InputError(f"{args.first_frame_json}: no text under `prompt` or `caption`")


def run(args: argparse.Namespace, networks) -> None:
    """Compare one pair of videos and write both outputs. Raises InputError when sizes do not agree."""
    from relane.evaluation.metrics import PSNR_CAP
    from relane.evaluation.quality import Comparison, as_text, pairs
    from relane.io.files import write_json, write_text
    from relane.io.masks import read_masks
    from relane.io.video import probe

    began, prompt, info = time.perf_counter(), prompt_of(args), probe(args.clip)
    if networks.clip_score is not None and not prompt:
        raise InputError("no text for the CLIP score: give --prompt or --first-frame-json")
    memory_stats.reset_gpu_peaks()
    masks = read_masks(args.inpaint_masks, (info.frames, info.height, info.width))
    comparison = Comparison(networks, prompt)
    for (source, edited), mask in zip(pairs(args.clip, args.edited), masks, strict=False):
        comparison.add(source, edited, mask)
    name = args.video or Path(args.clip).stem
    result = {"video": name, "prompt": prompt, "width": info.width, "height": info.height, **comparison.result()}
    result |= {"clip_frames": info.frames, "edited_frames": probe(args.edited).frames, "psnr_cap_db": PSNR_CAP}
    result |= {"fps": info.fps, "paths": {"clip": args.clip, "edited": args.edited, "masks": args.inpaint_masks}}
    result["seconds"] = {"evaluate": round(time.perf_counter() - began, 3)}
    result |= memory_stats.peaks()
    write_text(args.text, as_text(result))
    write_json(args.json, result)


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
