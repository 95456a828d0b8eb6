"""Write tiny random checkpoints of every model's real class in its real on-disk format.

They are enough to run every stage's real code on a CPU in seconds. They have learnt nothing: what they paint is noise.
"""

import argparse
import sys
from pathlib import Path

sys.path.extend(str(Path(__file__).resolve().parents[2] / folder) for folder in (".", "scripts"))

from relane import cli
from relane.io.files import atomic_folder
from simworld.tiny import BUILDERS, build


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, required=True, help="folder that gets one folder a model")
    options.add_argument("--only", nargs="+", choices=sorted(BUILDERS), help="these models; without it, all")
    options.add_argument("--seed", type=int, default=0, help="same seed, same bytes")
    return options


def main(argv: list[str] | None = None) -> None:
    """Build each model into its folder, replacing what was there."""
    args = parser().parse_args(argv)
    for name in args.only or BUILDERS:
        with atomic_folder(args.output / name) as folder:
            build(name, folder, args.seed)
        size = sum(path.stat().st_size for path in (args.output / name).rglob("*") if path.is_file())
        print(f"{name}: {size / 1e6:.1f} MB in {args.output / name}", flush=True)


if __name__ == "__main__":
    cli.run(main)
