"""The whole configuration: every section under its key, and what may be said of any option of it."""

import functools
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from relane.config.option import ALONE, EITHER, SEVERAL, Section, option
from relane.config.sections.clip import Clip
from relane.config.sections.effects import Effects
from relane.config.sections.first_frame import FirstFrame
from relane.config.sections.lora import Lora
from relane.config.sections.plan import Arms, Checkpoints, Dataset, Devices, Drive, Report, Slice, Trained
from relane.config.sections.quality import Quality
from relane.config.sections.region import Region
from relane.config.sections.sam2 import Sam2
from relane.config.sections.video import Video
from relane.config.sections.workers import Workers


def section(of: type[Section], **how: Any) -> Any:
    """A field that is a section, all of whose options have defaults."""
    return option(of(), " ".join(of.__doc__.split()), **how)


class Config(Section):
    """What the configuration may hold: every key, its type, and what it means."""

    run: str = option(
        "002",
        "Name of the run; its results are in `results/<run>/`. Quote it, or YAML reads 002 as a number.",
        pattern="^[A-Za-z0-9][A-Za-z0-9_-]*$",
    )
    run_stamp: bool = option(
        False,
        "Whether the time (UTC, `_YYYYmmdd_HHMMSS`) is added to the name: each call of Snakemake is then a new run, "
        "from the clips on. To go on with one, or to look at it with `-n`, give its whole name and `run_stamp=false`.",
    )
    clips: Annotated[Annotated[str, ALONE] | Annotated[list[str], SEVERAL], EITHER] = option(
        "config/clips.csv",
        "A lock sheet (`.csv`, written by `scripts/resolve_clips.py`), or one or more local sources: an MP4, a folder "
        "of MP4s, a PhysicalAI-AV dataset folder. Remote sources go through `scripts/resolve_clips.py` first, so that "
        "planning asks no network.",
    )
    instructions: str = option(
        "config/instructions.csv",
        "A sheet (`.csv` with columns slug, instruction), or the texts themselves, separated by `||` or line breaks; "
        "the shorthand `lane <count> <color> <pattern>` is spelled out in full.",
    )
    checkpoints: Checkpoints = section(Checkpoints, rerun=False)
    devices: Devices = section(Devices, rerun=False)
    workers: Workers = section(Workers, rerun=False)
    arms: Arms = section(Arms)
    clip: Clip = section(Clip)
    sam2: Sam2 = section(Sam2)
    region: Region = section(Region)
    first_frame: FirstFrame = section(FirstFrame)
    video: Video = section(Video)
    quality: Quality = section(Quality)
    drivers: Annotated[list[str], Field(min_length=1)] = option(
        ["alpamayo_r1"],
        "The driving models that drive every arm; each is a study of its own.",
    )
    drive: Drive = section(Drive)
    effects: Effects = section(Effects)
    report: Report = section(Report)
    dataset: Dataset = section(Dataset)
    datasets: dict[str, Slice] = option(
        {"lanes": Slice(start=0, limit=0)}, "Datasets by name; each is `results/datasets/<name>/`."
    )
    lora: Lora = section(Lora)
    loras: dict[str, Trained] = option(
        {"lanes": Trained(dataset="lanes__any_any_any_clearroad")}, "LoRAs by name; each is `results/lora/<name>/`."
    )


# Keys of earlier versions, and what became of them.
DROPPED = {
    "sam2.max_frames": "a clip has one length, clip.max_frames, and all of it is segmented; delete the line",
}


@functools.cache
def json_schema(of: type[Section] = Config) -> dict[str, Any]:
    """A section as JSON schema, without references; `rerun: false` marks what is no reason to run again."""
    schema = of.model_json_schema()
    return _plain(schema, schema.get("$defs", {}))


def _plain(sub: Any, defs: dict[str, Any]) -> Any:
    """A part of pydantic's schema with its references filled in, without titles and the defaults of whole sections."""
    if isinstance(sub, list):
        return [_plain(item, defs) for item in sub]
    if not isinstance(sub, dict):
        return sub
    if "$ref" in sub:
        sub = defs[sub["$ref"].rpartition("/")[2]] | {key: value for key, value in sub.items() if key != "$ref"}
    left_out = {"title", "$defs", *(["default"] if "properties" in sub else [])}
    plain = {key: _plain(value, defs) for key, value in sub.items() if key not in left_out}
    if "properties" in sub:
        plain["properties"] = {name: _plain(value, defs) for name, value in sub["properties"].items()}
    return plain


def every_key(schema: dict[str, Any] | None = None, prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of the configuration as (dotted name, its schema), sections before their keys."""
    for name, sub in (json_schema() if schema is None else schema).get("properties", {}).items():
        yield f"{prefix}{name}", sub
        yield from every_key(sub, f"{prefix}{name}.")


def default() -> dict[str, Any]:
    """The configuration where nothing is given."""
    return Config().model_dump()
