"""The small copy of a folder of frozen Alpamayo-R1 results that the tests keep (check_alpamayo.py --write-reduced)."""

import shutil
import zipfile
from pathlib import Path

import numpy as np


def write_reduced(folder: Path, out: Path) -> None:
    """A copy without the arrays that other arrays imply: under 3 MB, of which the checkpoint is 2.4 MB."""
    keep_cases = ("ends_differ_n3", "eos_n3", "batch2_sampled_n3")
    shutil.copytree(folder / "checkpoint", out / "checkpoint", copy_function=shutil.copyfile, dirs_exist_ok=True)
    inputs = dict(np.load(folder / "inputs.npz"))
    rows = np.arange(0, len(inputs["pixel_values"]), 256)
    inputs |= {"pixel_rows": rows, "pixel_values": inputs["pixel_values"][rows]}
    modules = dict(np.load(folder / "modules.npz"))
    for name in [n for n in modules if n.startswith(("ainproj_", "prefix_", "expert_", "flow_", "vlm_", "inverse_"))]:
        del modules[name]
    rollouts = dict(np.load(folder / "rollout.npz"))
    rollouts = {k: v for k, v in rollouts.items() if k.partition(".")[0] in keep_cases}
    _save_small(out / "inputs.npz", inputs)
    _save_small(out / "modules.npz", modules)
    _save_small(out / "rollout.npz", {"case_names": np.array(keep_cases), **rollouts})
    shutil.copyfile(folder / "metrics.npz", out / "metrics.npz")


def _save_small(path: Path, arrays: dict[str, np.ndarray]) -> None:
    # An .npz by LZMA, which `numpy.load` reads: a sixth smaller on the frames than `savez_compressed`.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # its date is fixed: the same arrays give the same bytes
            entry.compress_type = zipfile.ZIP_LZMA
            with archive.open(entry, "w") as file:
                np.lib.format.write_array(file, np.asarray(array))
