"""One item of a model script, with models that may be kept for the next one.

A model script offers `parser()`, `load(args)` and `run(args, models)`, and names in LOADS the arguments that `load` may
read: those decide which models are loaded, and `load` gets no others. It may offer `check(args)`, which raises
InputError before minutes of loading, and LESS_MEMORY, the configuration keys that lower its peak. A script without
LOADS needs `parser()` and `main(argv)`: it is run whole, on a GPU of its own, and nothing is kept.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from relane.errors import InputError, first_line
from relane.models.memory_stats import gpu_peak, reset_gpu_peaks, reset_host_peak
from relane.workflow.code_digest import code_digest

# CUDA's libraries and torch's CPU allocator raise plain RuntimeErrors when memory runs out.
_MEMORY = re.compile(r"CUDA error: out of memory|STATUS_ALLOC_FAILED|DefaultCPUAllocator")


def load_script(path: Path) -> ModuleType:
    """A script as a module of its own name, without running its main. Raises InputError where there is none."""
    if not path.is_file():
        raise InputError(f"{path}: no such script")
    known = sys.modules.get(path.stem)
    if known and getattr(known, "__file__", None) == str(path.resolve()):
        return known
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    # Dataclasses look their module up by name.
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keeps_models(module: ModuleType) -> bool:
    """Whether the script's models can serve a next item."""
    return hasattr(module, "LOADS")


def load_arguments(module: ModuleType, args: argparse.Namespace) -> argparse.Namespace:
    """The arguments that decide which models are loaded, and no others."""
    return argparse.Namespace(**{name: getattr(args, name) for name in module.LOADS})


def model_key(script: Path, module: ModuleType, args: argparse.Namespace) -> str:
    """16 hex digits: equal for two items that the same loaded models and the same code serve.

    Of the script, its code and what it imports, the interpreter, LOADS with their values, and for each value that is a
    file or folder, size and time of everything in it.
    """
    values = vars(load_arguments(module, args)) if keeps_models(module) else {}
    parts = [str(script.resolve()), code_digest(script), *_process()]
    for name, value in values.items():
        path = Path(str(value)) if value != "" else None
        state = sorted(_state(path)) if path and path.exists() else []
        # A relative path means another folder in another working directory.
        parts.append([name, str(path.resolve()) if state else str(value), state])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def process_key(script: Path) -> str:
    """16 hex digits: equal for two stages that one process may serve in turn.

    Of the interpreter, its threads, and size and time of all code beside the script: what an earlier stage has imported
    must still be what the files say.
    """
    beside = sorted(state for state in _state(script.resolve().parent) if state[0].endswith(".py"))
    return hashlib.sha256(json.dumps([*_process(), beside]).encode()).hexdigest()[:16]


def _process() -> list[str]:
    return [sys.executable, os.environ.get("OMP_NUM_THREADS", "")]


def _state(path: Path) -> Iterator[tuple[str, int, int]]:
    for file in [path] if path.is_file() else path.rglob("*"):
        found = file.stat()
        if not file.is_dir():
            yield str(file.relative_to(path)), found.st_size, found.st_mtime_ns


@dataclass
class Kept:
    """What one item leaves to the next: the models that `load` gave, None before."""

    models: Any = None


def perform(module: ModuleType, arguments: list[str], kept: Kept) -> dict[str, Any]:
    """Carry out one item: check, load where no models are kept, run. Returns what it cost.

    Seconds are of the wall clock; on a GPU the end waits for the device. Raises what the script raises.
    """
    began, load_seconds, warm = time.perf_counter(), 0.0, kept.models is not None
    reset_host_peak()
    reset_gpu_peaks()
    if keeps_models(module):
        args = module.parser().parse_args(arguments)
        if hasattr(module, "check"):
            module.check(args)
        if not warm:
            kept.models = module.load(load_arguments(module, args))
            load_seconds = time.perf_counter() - began
        module.run(args, kept.models)
    else:
        module.main(arguments)
    peak, on_gpu = gpu_peak(wait=True), bool(os.environ.get("CUDA_VISIBLE_DEVICES"))
    seconds = time.perf_counter() - began
    return {
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        "models_were_loaded": warm,
        "load_seconds": round(load_seconds, 3),
        "work_seconds": round(seconds - load_seconds, 3),
        # How long the item held its GPU, loading included.
        "gpu_seconds": round(seconds, 3) if on_gpu else 0.0,
        "gpu_peak_bytes": peak,
    }


def report_failure(error: BaseException, name: str, module: ModuleType | None) -> tuple[int, bool]:
    """Say on stderr what went wrong in stage `name`. Returns the exit status, and whether the process is sound."""
    if isinstance(error, InputError):
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2, True
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1, False
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _MEMORY.search(str(error)):
        print(f"error: {out_of_memory(error, name, getattr(module, 'LESS_MEMORY', ''))}", file=sys.stderr, flush=True)
        return 1, False
    # Anything else is a bug or a broken device, and a device that failed once fails until its process ends.
    traceback.print_exception(error)
    return 1, False


def out_of_memory(error: BaseException, name: str, hint: str) -> str:
    """Stage, peak, and the configuration keys that lower it."""
    gpu = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    where = f"GPU {gpu}" if gpu and not isinstance(error, MemoryError) else "this machine"
    peak = gpu_peak()
    said = f", with {peak / 2**30:.1f} GiB in use at its peak" if peak else ""
    first = first_line(error)
    return f"{name}: out of memory on {where}{said}. " + (f"To lower it: {hint}. " if hint else "") + f"({first})"
