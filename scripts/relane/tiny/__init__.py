"""Tiny random models of the real classes, in their real on-disk formats: enough to run every stage on a CPU."""

import importlib
from pathlib import Path

# Name of the folder -> the module whose `build(folder, seed)` writes it.
BUILDERS = {
    "sam2": "relane.tiny.sam2",
    "flux_fill": "relane.tiny.flux_fill",
    "cogvideox": "relane.tiny.cogvideox",
    "videopainter": "relane.tiny.videopainter",
    "qwen": "relane.tiny.qwen",
    "clip": "relane.tiny.clip",
    "alpamayo": "relane.tiny.alpamayo",
}


def build(name: str, folder: Path, seed: int = 0) -> Path:
    """Write the tiny checkpoint `name` into `folder` (same seed, same bytes) and return the folder."""
    importlib.import_module(BUILDERS[name]).build(Path(folder), seed)
    return Path(folder)
