"""Random numbers keyed by what they are for, so that arms share noise and a rerun gives the same bytes."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def seed_of(*key: object) -> int:
    """A 63-bit seed from any key, such as `seed_of(42, clip, t0_us, sample, "flow")`.

    Each part is preceded by its length, so ("a", "bc") and ("ab", "c") give different seeds. The same key gives the
    same seed on every machine and in every process.
    """
    text = "".join(f"{len(str(part))}:{part}" for part in key)
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogatepass")).digest()[:8], "big") >> 1


def generator(*key: object) -> "torch.Generator":
    """A CPU `torch.Generator` seeded by `seed_of(*key)`: CPU, so that every device sees the same draws."""
    import torch

    return torch.Generator("cpu").manual_seed(seed_of(*key))
