"""Tiny random models of the real classes, in their real on-disk formats: enough to run every stage on a CPU."""

import importlib
from pathlib import Path

# Name of the folder -> the module whose `build(folder, seed)` writes it.
BUILDERS = {
    "sam2": "simworld.tiny.sam2",
    "flux_fill": "simworld.tiny.flux_fill",
    "cogvideox": "simworld.tiny.cogvideox",
    "videopainter": "simworld.tiny.videopainter",
    "qwen": "simworld.tiny.qwen",
    "clip": "simworld.tiny.clip",
    "alpamayo": "simworld.tiny.alpamayo",
}


def build(name: str, folder: Path, seed: int = 0) -> Path:
    """Write the tiny checkpoint `name` into `folder` (same seed, same bytes) and return the folder."""
    importlib.import_module(BUILDERS[name]).build(Path(folder), seed)
    return Path(folder)
