"""Fetch the models of the pipeline from the Hugging Face hub into one folder, each at one fixed commit.

    python scripts/fetch_checkpoints.py --list
    HF_TOKEN=... python scripts/fetch_checkpoints.py
    HF_TOKEN=... python scripts/fetch_checkpoints.py alpamayo alpamayo_vlm --output checkpoints

Without names it fetches what the edits and their metrics need by default; the driving model is fetched by name. The
table below pins commits where they are known from public use; VideoPainter's is not, so its revision is `main`.
Whatever the revision, the first fetch writes the commit it got, with the size and SHA-256 of every file, into
`checkpoints.lock.json` beside the models, and each later fetch (also on another machine that is given the lock file)
must give exactly that or stop. Put the lock file under version control. The sizes are approximate; licences and gates
are the owners' and may change. A gated model needs its terms accepted on its page and HF_TOKEN in the environment; a
token is never taken from a flag. A model that is refused does not keep the others from being fetched. A broken fetch
goes on when run again.
"""

import argparse
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from relane import cli
from relane.data.fetch import Hub, HuggingFace, Repo, fetch_whole, write_revision
from relane.errors import InputError
from relane.io.files import atomic_file, sha256_file, write_text

LOCK = "checkpoints.lock.json"
# A pipeline folder without the single-file copies of its weights that lie beside it.
DIFFUSERS = ("model_index.json", "*/*.json", "*/*.txt", "*/*.model", "*/*.safetensors")
TRANSFORMERS = ("*.json", "*.txt", "*.jinja", "*.safetensors")


@dataclass(frozen=True)
class Model:
    """One row: the repository, where it goes under --output, which files, and what a user should know before."""

    repo: Repo
    folder: str
    files: tuple[str, ...]
    gigabytes: float
    licence: str
    gated: bool = False
    # The folders that the configuration names, where they are not `folder` itself.
    parts: tuple[str, ...] = ()


MODELS = {
    "sam2": Model(
        Repo("facebook/sam2.1-hiera-large", revision="665f8e2ad61cf5f53d65644ff27c8ee525124610"),
        "sam2.1_hiera_large",
        ("sam2.1_hiera_large.pt",),
        0.9,
        "Apache-2.0",
    ),
    "flux_fill": Model(
        Repo("black-forest-labs/FLUX.1-Fill-dev", revision="358293da0354175698b67ec8299acf928313a78a"),
        "FLUX.1-Fill-dev",
        DIFFUSERS,
        33.9,
        "FLUX.1 [dev] non-commercial",
        gated=True,
    ),
    "cogvideox": Model(
        Repo("zai-org/CogVideoX-5b-I2V", revision="a6f0f4858a8395e7429d82493864ce92bf73af11"),
        "CogVideoX-5b-I2V",
        DIFFUSERS,
        21.2,
        "CogVideoX License",
    ),
    # Its two folders lie at the top of the repository, so it is fetched into --output itself.
    "videopainter": Model(
        Repo("TencentARC/VideoPainter"),
        ".",
        ("VideoPainter/checkpoints/*", "VideoPainterID/checkpoints/*"),
        1.2,
        "research and education only, no commercial use",
        parts=("VideoPainter/checkpoints/branch", "VideoPainterID/checkpoints"),
    ),
    "qwen": Model(
        Repo("Qwen/Qwen2.5-VL-7B-Instruct", revision="cc594898137f460bfe9f0759e9844b3ce807cfb5"),
        "Qwen2.5-VL-7B-Instruct",
        TRANSFORMERS,
        16.6,
        "Apache-2.0",
    ),
    "qwen_72b": Model(
        Repo("Qwen/Qwen2.5-VL-72B-Instruct", revision="89c86200743eec961a297729e7990e8f2ddbc4c5"),
        "Qwen2.5-VL-72B-Instruct",
        TRANSFORMERS,
        147.0,
        "Qwen License",
    ),
    "clip_score": Model(
        Repo("openai/clip-vit-large-patch14", revision="32bd64288804d66eefd0ccbe215aa642df71cc41"),
        "clip-vit-large-patch14",
        TRANSFORMERS,
        1.7,
        "MIT (the model card advises research use)",
    ),
    # Its pin has no safetensors; transformers reads the .bin with weights_only.
    "clip_temporal": Model(
        Repo("openai/clip-vit-base-patch32", revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"),
        "clip-vit-base-patch32",
        (*TRANSFORMERS, "pytorch_model.bin"),
        0.6,
        "MIT (the model card advises research use)",
    ),
    "alpamayo": Model(
        Repo("nvidia/Alpamayo-R1-10B", revision="22fab1399111f50b52bfbe5d8b809f39bd4c2fe1"),
        "Alpamayo-R1-10B",
        TRANSFORMERS,
        22.1,
        "NVIDIA non-commercial",
        gated=True,
    ),
    # Alpamayo's checkpoint lacks its base model's config, tokenizer and processor; the loader looks for them in vlm/.
    "alpamayo_vlm": Model(
        Repo("Qwen/Qwen3-VL-8B-Instruct", revision="0c351dd01ed87e9c1b53cbc748cba10e6187ff3b"),
        "Alpamayo-R1-10B/vlm",
        ("*.json", "*.txt", "*.jinja"),
        0.02,
        "Apache-2.0",
    ),
    # Not on the hub: torchvision's own address, held against the hash in the file's name.
    "lpips": Model(Repo("torchvision", revision="squeezenet1_1-b8a52dc0"), "lpips", (), 0.005, "BSD-3-Clause"),
}


# What the edits and their metrics need as config/config.yaml sets them.
DEFAULT = ("sam2", "flux_fill", "qwen", "cogvideox", "videopainter", "clip_score", "clip_temporal", "lpips")


def parser() -> argparse.ArgumentParser:
    """The script's flags."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MODELS)}; without: {' '.join(DEFAULT)}")
    result.add_argument("--list", action="store_true", help="print the models with sizes and licences, and stop")
    result.add_argument("--output", type=Path, default=Path("checkpoints"), help="folder of the model folders")
    result.add_argument("--lock", type=Path, help=f"lock file (default: {LOCK} in --output)")
    result.add_argument("--workers", type=int, default=4, help="files fetched at once")
    return result


def table() -> str:
    """The models as text, one a line: name, size, gate, licence, repository and revision."""
    rows = [("name", "size", "gated", "licence", "repository @ revision")]
    for name, model in MODELS.items():
        size = f"{model.gigabytes:g} GB" if model.gigabytes >= 0.1 else f"{model.gigabytes * 1000:g} MB"
        gate = "yes" if model.gated else "no"
        rows.append((name, size, gate, model.licence, f"{model.repo.id} @ {model.repo.revision[:12]}"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def fetch(name: str, output: Path, lock: Path, hub: Hub, workers: int = 4) -> None:
    """Fetch one model of the table and write `.revision` into the folders that the configuration names.

    Raises InputError for an unknown name, a refused or broken fetch, bytes that differ from the lock, a changed layout.
    """
    if name not in MODELS:
        raise InputError(f"no model {name!r}; there are {', '.join(MODELS)}")
    model = MODELS[name]
    folder = output / model.folder
    if name == "lpips":
        return fetch_lpips(folder)
    commit = fetch_whole(hub, name, model.repo, model.files, folder, lock, workers)
    for part in [output / part for part in model.parts] or [folder]:
        if not part.is_dir():
            raise InputError(f"{part}: not there after fetching {model.repo.id}; its layout has changed")
        write_revision(part, model.repo, commit)


def fetch_lpips(folder: Path) -> None:
    """Fetch the ImageNet weights of SqueezeNet 1.1, LPIPS's backbone, by torchvision. Raises InputError as `fetch`."""
    import torch
    from torchvision.models import SqueezeNet1_1_Weights

    url = SqueezeNet1_1_Weights.IMAGENET1K_V1.url
    name = url.rpartition("/")[2]
    prefix = Path(name).stem.rpartition("-")[2]  # torchvision names its files by the start of their SHA-256
    if not (folder / name).is_file() or not sha256_file(folder / name).startswith(prefix):
        try:
            with atomic_file(folder / name) as partial:
                torch.hub.download_url_to_file(url, str(partial), hash_prefix=prefix, progress=False)
        except (OSError, RuntimeError) as error:
            raise InputError(f"{url}: fetching broke off ({error}); run the same command again") from None
    write_text(folder / ".revision", f"{name}\n")


def main(argv: list[str] | None = None) -> None:
    """Fetch what the command line names."""
    args = parser().parse_args(argv)
    if args.list:
        print(table())
        return
    unknown = [name for name in args.names if name not in MODELS]
    if unknown:
        raise InputError(f"no model {unknown[0]!r}; there are {', '.join(MODELS)}")
    fetch_all(args.names or DEFAULT, args.output, args.lock or args.output / LOCK, HuggingFace(), args.workers)


def fetch_all(names: Iterable[str], output: Path, lock: Path, hub: Hub, workers: int = 4) -> None:
    """Fetch these models, each whatever becomes of the others. Raises InputError that names those that failed."""
    names, failures = list(dict.fromkeys(names)), []
    size = sum(MODELS[name].gigabytes for name in names)
    print(f"fetching into {output}, about {size:.0f} GB; terms by model:", file=sys.stderr)
    for name in names:
        print(f"  {name}: {MODELS[name].licence}{' (gated)' if MODELS[name].gated else ''}", file=sys.stderr)
    for name in names:
        try:
            fetch(name, output, lock, hub, workers)
        except InputError as error:
            failures.append(f"{name}: {error}")
    if failures:
        raise InputError(f"{len(failures)} of {len(names)} models were not fetched:\n" + "\n".join(failures))


if __name__ == "__main__":
    # This script means to download, where cli.run would otherwise keep every library off the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "0")
    cli.run(main)
