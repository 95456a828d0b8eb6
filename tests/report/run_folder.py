"""A small run by hand: one clip with the arms original, sham and one instruction, and one clip that was skipped."""

from pathlib import Path

import cv2
import numpy as np

from relane.io.files import write_json, write_text
from relane.io.video import write_video

CLIP, CAMERA = "clip-0001", "camera_front_wide_120fov"
VIDEO = f"{CLIP}.{CAMERA}"
DRIVER, T0_US = "a_driver", 5_100_000
EDIT = "double-yellow-solid"
HOSTILE = "lane double yellow solid <script>alert('x')</script> \"& {{ 7*7 }}"
TITLES = {"psnr": ["PSNR (dB)", "{:.2f}"], "ssim": ["SSIM", "{:.4f}"], "lpips": ["LPIPS", "{:.4f}"]}
TITLES |= {"mse": ["MSE", "{:.2e}"], "mae": ["MAE", "{:.2e}"], "clip_score": ["CLIP score", "{:.2f}"]}
TITLES |= {"temporal_consistency": ["Temporal consistency", "{:.4f}"]}
TITLES |= {"temporal_consistency_source": ["of the source", "{:.4f}"]}
NO_LPIPS = "its weights folder is not configured (checkpoints.lpips is empty)"


def frames(shade: int, count: int = 5) -> list[np.ndarray]:
    """A grey road that brightens, 48x64."""
    return [np.full((48, 64, 3), shade + 5 * index, np.uint8) for index in range(count)]


def quality() -> dict:
    """An eval JSON as evaluate_edit.py writes it, with LPIPS and the CLIP metrics absent."""
    pixels = {"psnr": 31.25, "ssim": 0.9612, "lpips": None, "mse": 7.5e-4, "mae": 0.0123}
    temporal = {"temporal_consistency": 0.981, "temporal_consistency_source": 0.985, "clip_score": None}
    levels = {"added": 0.51, "source": 1.25, "edited": 1.76}
    absent = {f"{region}.lpips": NO_LPIPS for region in ("full_frame", "masked_region", "background")}
    absent |= {f"{region}.clip_score": "no CLIP" for region in ("full_frame", "masked_region")}
    return {
        "video": VIDEO,
        "titles": TITLES,
        "full_frame": pixels | temporal,
        "masked_region": pixels | temporal,
        "background": pixels,
        "seam": levels,
        "flicker": {"full_frame": levels, "masked_region": levels},
        "mask_coverage": 0.123,
        "identical_frames": 0,
        "label": "GOOD",
        "absent": absent,
        "some_later_key": 1,
    }


def _edit(folder: Path, arm: str, instruction: str) -> None:
    base = folder / "vp" / arm / VIDEO
    write_video(base / f"{VIDEO}_vp_edit_sample0.mp4", frames(90), fps=10)
    verdict = {"passed": False, "seen": {"count": "single", "color": "white", "pattern": "solid"}, "score": 3.0}
    verdict |= {
        "notes": {"texture": "smooth <b>", "lighting": ""},
        "caption": "",
        "reply": "",
        "asked": 1,
        "reason": "",
    }
    tries = [
        {"try": 1, "caption": "road with one line", "verdict": verdict, "seconds": {"paint": 1.0}},
        {"try": 2, "caption": instruction, "verdict": verdict | {"passed": True, "score": 8.5}, "seconds": {}},
    ]
    shared = {
        "video": VIDEO,
        "instruction": instruction,
        "critic": "on",
        "passed": True,
        "chosen_try": 2,
        "tries": tries,
    }
    sidecar = shared | {
        "iterations_asked": 10,
        "iterations_used": 2,
        "seconds": {"total": 4.2},
        "host_peak_bytes": 2**30,
    }
    write_json(base / f"{VIDEO}_first_frame.json", sidecar)
    refine = base / f"{VIDEO}_caption_refine"
    write_json(refine / "qwen_eval.json", shared)
    for number in (1, 2):
        cv2.imwrite(str(refine / f"try_{number:02d}_panels.png"), np.full((30, 120, 3), 80 * number, np.uint8))
    write_json(
        base / f"{VIDEO}_vp_edit_sample0.json", {"seconds": {"load": 2.5, "denoise": 10.0}, "gpu_peak_bytes": 3 * 2**30}
    )
    write_json(base / f"eval_{VIDEO}.json", quality())


def build(folder: Path, driven: bool = True) -> Path:
    """The run's folder with everything that its stages leave; `driven` adds rollouts, effects and plots."""
    clip = {"video": VIDEO, "clip_id": CLIP, "camera": CAMERA, "width": 64, "height": 48, "frames": 5, "fps": 10.0}
    write_json(folder / "clips" / f"{VIDEO}.json", clip | {"t0_us": 5_100_000, "sha256": "ab" * 32})
    write_video(folder / "clips" / f"{VIDEO}.mp4", frames(80), fps=10)
    write_text(
        folder / "sam2" / "metadata.csv",
        f"video,status,reason\n{VIDEO},ok,\nclip-dark.front,skipped,road covers 0.4 % <of> the picture\n",
    )
    _edit(folder, "sham", "single solid white")
    _edit(folder, EDIT, HOSTILE)
    provenance = {"code": {"commit": "c0ffee" * 6 + "beef", "clean": False}, "python": "3.11.7"}
    provenance |= {"config": {"run": "t", "instructions": HOSTILE}, "packages": {"torch": "2.12.1"}}
    provenance |= {"checkpoints": {"sam2": {"folder": "ckpt/sam2", "digest": "00ff", "revision": None}}}
    provenance |= {"hardware": {"cpu": "a CPU", "cores": 2, "memory_bytes": 2**33, "gpus": []}}
    write_json(folder / "provenance.json", provenance)
    if driven:
        drive(folder)
    return folder


def drive(folder: Path) -> None:
    """Rollouts of every arm, effects and a plot."""
    for arm in ("original", "floor", "sham", EDIT):
        base = folder / "drive" / DRIVER / arm / CLIP / f"{CLIP}_t0_{T0_US}"
        inference = {
            "clip_id": CLIP,
            "camera_name": CAMERA,
            "num_trajectories": 6,
            "min_ade_meters": 1.234,
            "ade_mean": 2.5,
        }
        inference |= {"complete_share": 1.0, "reasoning_traces": ["Keep lane & slow <down>", "Keep lane & slow <down>"]}
        write_json(f"{base}_inference.json", inference)
        write_video(f"{base}_overlay.mp4", frames(100), fps=10)
    write_json(folder / "effects.json", effects())
    write_text(
        folder / "effects.csv", f"driver,clip_id,arm,displacement_m,first_beyond_s\n{DRIVER},{CLIP},{EDIT},0.912345,\n"
    )
    (folder / "effects_plots").mkdir()
    for name in ("effect per clip.png", f"paths_{CLIP}.png", f"paths_{CLIP}-2.png"):
        cv2.imwrite(str(folder / "effects_plots" / name), np.full((60, 80, 3), 200, np.uint8))


def estimate(n: int, mean: float, p: float | None) -> dict:
    """One summary of effects.py: without interval and p below five clips."""
    ends = {"mean_low": mean - 0.1, "mean_high": mean + 0.1} if n >= 5 else {"mean_low": None, "mean_high": None}
    return {"n": n, "mean": mean, "median": mean, "p": p if n >= 5 else None} | ends


def effects(n: int = 8) -> dict:
    """An effects JSON over n clips, as effects.py writes it: a size and a signed quantity."""
    floor = {"share_above_floor": 0.75, "floor_95th_percentile": 0.111}
    arms = {}
    for arm, kind, mean in (("floor", "floor", 0.05), ("sham", "sham", 0.2), (EDIT, "edit", 0.9)):
        minus = estimate(n, mean - 0.2, 0.004) if kind == "edit" else None
        size, signed = estimate(n, mean, None) | floor | {"minus_sham": minus}, estimate(n, -mean, 0.03)
        signed |= {"minus_sham": minus and dict(minus)}
        if kind == "edit" and n >= 5:
            minus["p_holm"] = 0.008
        quantities = {"displacement_m": size, "lateral_m": signed, "speed_change_mps": signed}
        count = {"edit": n - 1, "sham": n, "floor": 0}[kind]
        moved = {
            "beyond_m": 0.1,
            "clips": n,
            "moved": count,
            "share": count / n,
            "low": 0.1,
            "high": 0.9,
            "at_most": 0.8,
        }
        bound = {"displacement_at_most_m": 0.364, "margin_m": 0.1, "if_no_clip_beyond_m": 4.0, "shown": False}
        arms[arm] = {"kind": kind, "clips": n, "moved": moved, "equivalence": bound if n >= 40 else None}
        arms[arm] |= {"interval_of_mean_holds": kind == "edit"}
        arms[arm] |= {"reasoning_changed_share": 0.5, "share_beyond_half_a_metre": 0.625, "quantities": quantities}
    about = {
        "displacement_m": {"unit": "m", "meaning": "distance between paired paths", "against_recorded_future": False},
        "lateral_m": {"unit": "m", "meaning": "shift to the left", "against_recorded_future": False},
        "speed_change_mps": {"unit": "m/s", "meaning": "change of the mean speed", "against_recorded_future": False},
    }
    notes = [f"{EDIT}: the recorded future is no longer the truth."]
    return {
        "notes": [],
        "drivers": {DRIVER: {"clips": n, "notes": notes, "arms": arms}},
        "quantities": about,
        "settings": {"fewest_clips_for_p": 5, "fewest_for_mean": 40},
    }
