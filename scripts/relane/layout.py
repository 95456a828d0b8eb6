"""Where results lie: every path below results/, once. Rules and readers take them from here. Standard library only.

A pattern's wildcards: run; video (`<clip_id>.<camera>`) and clip (`<clip_id>`); instruction (a sham, or an edit that is
made here); driver, arm and rollout (see `rollout_name`); dataset and lora.
"""

from pathlib import Path

RUN = "results/{run}"

CLIP = f"{RUN}/clips/{{video}}.mp4"
CLIP_JSON = f"{RUN}/clips/{{video}}.json"
CLIPS_SKIPPED = f"{RUN}/clips/skipped.txt"

_ROAD = f"{RUN}/sam2/{{video}}"
MASKS = f"{_ROAD}/masks"
MASKS_NPZ = f"{_ROAD}/masks.npz"
MASKS_OVERLAY = f"{_ROAD}/overlay.mp4"
MASKS_JSON = f"{_ROAD}/timing.json"
REGION = f"{_ROAD}/region.npz"
REGION_JSON = f"{_ROAD}/region.json"
MASK_TABLE = f"{RUN}/sam2/metadata.csv"
VIDEOPAINTER_PACKAGE = f"{RUN}/preprocessed_data_vp/{{video}}"

_EDITS = f"{RUN}/vp/{{instruction}}/{{video}}"
_EDIT = f"{_EDITS}/{{video}}"
FIRST_FRAME = f"{_EDIT}_first_frame.png"
FIRST_FRAME_JSON = f"{_EDIT}_first_frame.json"
REFINEMENT = f"{_EDIT}_caption_refine"
EDITED = f"{_EDIT}_vp_edit_sample0.mp4"
EDITED_JSON = f"{_EDIT}_vp_edit_sample0.json"
GENERATED = f"{_EDIT}_generated.mp4"
PANELS = f"{_EDIT}_panels.mp4"
EVALUATION = f"{_EDITS}/eval_{{video}}.json"
EVALUATION_TEXT = f"{_EDITS}/eval_{{video}}.txt"
EDITS_TABLE = f"{RUN}/vp/{{instruction}}/report.csv"
EDITS_TEXT = f"{RUN}/vp/{{instruction}}/report.txt"

# The videos of arms that no editor of ours made stand where edits do: the clip itself, and those edited elsewhere.
ORIGINAL = EDITED.replace("{instruction}", "original")
ORIGINAL_JSON = f"{_EDIT}_reencoded.json".replace("{instruction}", "original")
EXTERNAL = EDITED.replace("{instruction}", "{external}")
EXTERNAL_JSON = f"{_EDIT}_times.json".replace("{instruction}", "{external}")

DRIVES = f"{RUN}/drive"
_ROLLOUT = f"{DRIVES}/{{driver}}/{{arm}}/{{clip}}/{{clip}}_{{rollout}}"
ROLLOUT = f"{_ROLLOUT}_inference.json"
ROLLOUT_DATA = f"{_ROLLOUT}_vis_data.npz"
ROLLOUT_OVERLAY = f"{_ROLLOUT}_overlay.mp4"
ROLLOUT_OVERLAY_JSON = f"{_ROLLOUT}_overlay.json"
EFFECTS_TABLE = f"{RUN}/effects.csv"
EFFECTS = f"{RUN}/effects.json"
EFFECTS_PLOTS = f"{RUN}/effects_plots"
DRIVE_REPORT = f"{RUN}/{{run}}_report.txt"
DRIVE_SUMMARY = f"{RUN}/inference_summary.json"

PROVENANCE = f"{RUN}/provenance.json"
PAGE = f"{RUN}/report/index.html"
PAGE_MEDIA = f"{RUN}/report/media"

DATASET = "results/datasets/{dataset}"
LORA = "results/lora/{lora}"
LORA_WEIGHTS = f"{LORA}/pytorch_lora_weights.safetensors"
TINY = "results/tiny"
TEXT_CACHE = "results/text_cache"
LATENT_CACHE = "results/posterior_cache"
# Folders beside the runs' own, whose names no run may take.
SHARED = tuple(path.split("/")[1] for path in (DATASET, LORA, TINY, TEXT_CACHE, LATENT_CACHE))

# What a rollout that thinks another arm's words has at the end of its name.
SHARED_WORDS = "_shared"


def rollout_name(t0_us: int, shared: bool = False) -> str:
    """The name of a rollout within its clip: the instant in microseconds, and whether the words are the original's."""
    return f"t0_{t0_us}{SHARED_WORDS if shared else ''}"


def instant_of(rollout: str) -> int:
    """The instant of a rollout's name, microseconds."""
    return int(rollout.removesuffix(SHARED_WORDS).removeprefix("t0_"))


def below(folder: Path, pattern: str, **wildcards: object) -> Path:
    """The path of a run's file where the run's folder lies at `folder`; wildcards left out become `*`, for a glob."""
    names = dict.fromkeys(("run", "video", "clip", "instruction", "driver", "arm", "rollout", "external"), "*")
    return Path(folder) / pattern.removeprefix(f"{RUN}/").format(**names | {"run": Path(folder).name} | wildcards)


def beside(path: Path, pattern: str, other: str) -> Path:
    """The file of pattern `other` that belongs to `path`, a file of `pattern` in the same folder.

    Raises ValueError where `path` has not the name of such a file.
    """
    before, after = Path(pattern).name.rsplit("}", 1)[1], Path(other).name.rsplit("}", 1)[1]
    if not path.name.endswith(before):
        raise ValueError(f"{path}: expected a file named ...{before}")
    return path.with_name(path.name.removesuffix(before) + after)
