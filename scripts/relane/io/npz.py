"""NumPy archives, written whole and the same every time, read with errors that say what is wrong."""

import zipfile
from pathlib import Path

import numpy as np

from relane.errors import InputError
from relane.io.files import atomic_file


def save_npz(path: str | Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz atomically; entries carry no date, so that the same arrays give the same bytes."""
    with atomic_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)


def load_npz(path: str | Path, needed: tuple[str, ...] = (), advice: str = "make it again") -> dict[str, np.ndarray]:
    """Read an .npz. Raises InputError when it is missing, damaged or lacks one of the `needed` arrays."""
    try:
        with np.load(path, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {advice}") from None
    except Exception as error:  # zip, zlib, header and end-of-file errors have no common class
        raise InputError(f"{path}: not a readable .npz ({error}); {advice}") from None
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise InputError(f"{path}: no array {', '.join(missing)} in it; {advice}")
    return arrays
