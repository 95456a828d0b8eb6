"""What an environment may lack: metrics' weights, without which a run does, and packages that single options need.

A metric whose weights are not there is absent, with the reason, and no error. An option whose package is not there is
refused before the first job, where the jobs run in this environment. Standard library only, and no package is imported.
"""

import importlib.util
from collections.abc import Iterable, Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from relane.errors import InputError

# Key under `checkpoints`, which is also its name in scripts/fetch_checkpoints.py -> the metric.
METRICS = {"clip_score": "CLIP score", "clip_temporal": "temporal consistency", "lpips": "LPIPS"}


def why_absent(key: str, folder: str) -> str:
    """Why the metric of this checkpoint cannot be had; "" where its folder is there."""
    if not folder:
        return f"its weights folder is not configured (checkpoints.{key} is empty)"
    if not Path(folder).is_dir():
        return f"its weights are not there (checkpoints.{key}: no folder {folder}; scripts/fetch_checkpoints.py {key})"
    return ""


def left_out(checkpoints: Mapping[str, str]) -> str:
    """One line for the planning of a run: metrics whose folders are configured and not there; "" where none is missing.

    What was left blank on purpose is not named.
    """
    missing = [key for key in METRICS if checkpoints.get(key) and why_absent(key, checkpoints[key])]
    if not missing:
        return ""
    metrics = ", ".join(f"{METRICS[key]} (no folder {checkpoints[key]})" for key in missing)
    return f"metrics left out: {metrics}; scripts/fetch_checkpoints.py {' '.join(missing)} fetches what they need"


# Backends of `attention_backend` by the beginnings of their names -> the module that they need and where it comes from.
# What begins with none of them is PyTorch's own, or of no known name: the job says so.
ATTENTION = {
    "flash_4": ("flash_attn.cute", "flash-attn-4[cu13], with --pre"),
    "flash": ("flash_attn", "flash-attn"),
    "_flash_3": ("flash_attn_interface", "FlashAttention 3, built from its source"),
    "_flash_varlen_3": ("flash_attn_interface", "FlashAttention 3, built from its source"),
    "sage": ("sageattention", "sageattention"),
    "_sage": ("sageattention", "sageattention"),
    "xformers": ("xformers", "xformers"),
    "_native_npu": ("torch_npu", "torch-npu"),
    "_native_xla": ("torch_xla", "torch-xla"),
}


def attention_package(backend: str) -> tuple[str, str] | None:
    """The module that a backend needs and the package that has it; None where it needs none."""
    if backend.endswith("_hub"):
        return "kernels", "kernels"
    known = [name for name in ATTENTION if backend.startswith(name)]
    return ATTENTION[max(known, key=len)] if known else None


def needed(config: Mapping[str, Any], rules: Iterable[str]) -> Iterable[tuple[str, str, str]]:
    """Option, module and package of whatever jobs of these rules need beside the locked environment."""
    for rule, section in (("first_frame", "first_frame"), ("edit_video", "video")):
        if rule in rules:
            backend = config[section]["attention_backend"]
            if config[section]["fp8"]:
                yield f"{section}.fp8", "torchao", "torchao"
            if backend and (package := attention_package(backend)):
                yield f"{section}.attention_backend {backend!r}", *package
    if "train_lora" in rules and config["lora"]["optimizer"] == "adamw8bit":
        yield "lora.optimizer 'adamw8bit'", "bitsandbytes", "bitsandbytes"


def check_packages(config: Mapping[str, Any], rules: Iterable[str]) -> None:
    """Raise InputError for an option whose package is not in this environment, which jobs of these rules share."""
    rules = set(rules)
    for option, module, package in needed(config, rules):
        if not _is_there(module):
            raise InputError(
                f"config: {option} needs the package {package}, which is not installed here; install it, or choose "
                "another setting"
            )


def _is_there(module: str) -> bool:
    package, _, part = module.partition(".")
    spec = importlib.util.find_spec(package)
    if spec is None or not part:
        return spec is not None
    # Not find_spec of the whole name, which would import the package.
    return PathFinder.find_spec(module, spec.submodule_search_locations) is not None
