"""Where the relative paths of a configuration lead: from the working directory, or else from the checkout.

`snakemake --directory elsewhere` puts results elsewhere; the sheets and checkpoints that the configuration names by
paths of this repository are still those of the repository. What the working directory has comes first.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from relane.data.sheet import Clip


def found(name: str, base: Path) -> str:
    """A path that is there: `name` itself, or below `base`. Addresses, absolute and unknown paths stay as given."""
    scheme, sign, rest = name.rpartition("://")
    if not name or scheme not in ("", "file", "pai", "mp4") or Path(rest).is_absolute():
        return name
    path, options = rest.partition("?")[0], "".join(rest.partition("?")[1:])
    if Path(path).exists() or not (base / path).exists():
        return name
    return f"{scheme}{sign}{base / path}{options}"


def find_paths(config: Mapping[str, Any], base: Path) -> None:
    """Let the paths of a configuration lead somewhere, in place: sheets, sources, checkpoints, weights."""
    clips = config["clips"]
    config["clips"] = [found(one, base) for one in clips] if isinstance(clips, list) else found(clips, base)
    if config["instructions"].strip().lower().endswith(".csv"):
        config["instructions"] = found(config["instructions"].strip(), base)
    for name, folder in config["checkpoints"].items():
        config["checkpoints"][name] = found(folder, base)
    config["drive"]["videos"] = found(config["drive"]["videos"], base)
    if config["first_frame"]["lora"] not in config["loras"]:
        config["first_frame"]["lora"] = found(config["first_frame"]["lora"], base)


def of_clip(clip: Clip, base: Path) -> Clip:
    """A row of the sheet with its source and data set as above."""
    return replace(clip, uri=found(clip.uri, base), pai_root=found(clip.pai_root, base))
