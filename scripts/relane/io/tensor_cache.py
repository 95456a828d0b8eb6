"""What several instructions on one clip share, kept on disk: tensors by a key that says all they depend on.

An entry is exactly what computing it again would give, so sharing changes no byte of any result.
"""

import hashlib
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from relane.io.files import atomic_file

NAME = "tensor"


class TensorFolder:
    """Tensors in one folder, a safetensors file each. `hits` and `misses` count what `read` found and did not find.

    Jobs may use it at the same time: files are renamed into place whole, and two jobs that miss the same entry write
    the same bytes. A damaged file, or one with NaN in it, counts as absent and is written anew.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.hits = self.misses = 0

    def path(self, *key: object) -> Path:
        """The file of an entry, by everything that it depends on."""
        text = "\x1f".join(map(str, key))
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"

    def read(self, path: Path) -> torch.Tensor | None:
        """An entry, on the CPU; None where there is none."""
        found = self._load(path)
        self.hits += found is not None
        self.misses += found is None
        return found

    def _load(self, path: Path) -> torch.Tensor | None:
        try:
            found = load_file(path)[NAME]
        except (FileNotFoundError, SafetensorError, KeyError):
            return None
        return found if torch.isfinite(found).all() else None

    def write(self, path: Path, tensor: torch.Tensor, about: dict[str, str] | None = None) -> None:
        """Keep an entry; `about` goes into the file's header, for people who look at it."""
        with atomic_file(path) as partial:
            save_file({NAME: tensor.cpu().contiguous()}, partial, about)
