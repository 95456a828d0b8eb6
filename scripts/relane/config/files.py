"""What is written from the declarations: config/config.yaml, config/schema.yaml and the tables of config/README.md."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from relane.config.schema import default, every_key, json_schema

FOLDER = Path(__file__).parents[3] / "config"
WIDTH = 120
CONFIG_HEAD = """\
# Every option of a run and its default. config/README.md explains each in full; this file is written from their
# declarations (python scripts/config_files.py). Override with a file of your own (snakemake --configfile mine.yaml) or
# single keys (--config 'run="003"' 'video={stride: 8}').
"""
SCHEMA_HEAD = """\
# What the configuration may hold, for editors and people: written from the declarations of its options
# (python scripts/config_files.py). A key with `rerun: false` changes no result: another value of it is no reason to run
# a job again.
"""


def render() -> dict[Path, str]:
    """The text of each file."""
    return {
        FOLDER / "config.yaml": config_text(),
        FOLDER / "schema.yaml": schema_text(),
        FOLDER / "README.md": readme_text(),
    }


class _Readable(yaml.SafeDumper):
    """A line an option; no references to what stands there twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_dict(self, data: dict[str, Any]) -> yaml.MappingNode:
        node = self.represent_mapping("tag:yaml.org,2002:map", data.items())
        node.flow_style = bool({"type", "enum", "oneOf"} & data.keys()) and "properties" not in str(data)
        return node


_Readable.add_representer(dict, _Readable.represent_dict)


def schema_text() -> str:
    """config/schema.yaml."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **json_schema()}
    return SCHEMA_HEAD + yaml.dump(schema, Dumper=_Readable, sort_keys=False, width=10**6, allow_unicode=True)


def config_text() -> str:
    """config/config.yaml: a short comment, the first sentence of its meaning, at each key."""
    return CONFIG_HEAD + "\n".join(_options(json_schema(), default())) + "\n"


def _options(section: dict[str, Any], values: dict[str, Any], indent: str = "") -> Iterator[str]:
    """The lines of a section's options; lists of lists and mappings of names take one line an item."""
    for key, sub in section["properties"].items():
        value, text = values[key], f"{indent}{key}:"
        if "properties" in sub:
            yield from ("", *_line(text, sub, indent), *_options(sub, value, f"{indent}  "))
        elif isinstance(value, dict):
            yield from ("", *_line(text, sub, indent))
            yield from (f"{indent}  {name}: {_yaml(item)}" for name, item in value.items())
        elif isinstance(value, list) and value and isinstance(value[0], list):
            yield from _line(text, sub, indent)
            yield from (f"{indent}  - {_yaml(item)}" for item in value)
        else:
            yield from _line(f"{text} {_yaml(value)}", sub, indent)


def _line(text: str, sub: dict[str, Any], indent: str) -> Iterator[str]:
    """A line with its comment behind it, or above it where there is no room."""
    comment = clause(sub["description"])
    if len(f"{text} # {comment}") <= WIDTH:
        yield f"{text} # {comment}"
    else:
        yield from (f"{indent}# {line}" for line in textwrap.wrap(comment, WIDTH - len(indent) - 2))
        yield text


def clause(meaning: str) -> str:
    """The first sentence of a meaning, without its full stop."""
    return meaning.split(". ")[0].rstrip(".")


def _yaml(value: Any) -> str:
    """A value as YAML on one line, texts that need quotes in double ones."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).removesuffix("...\n").strip()
    return json.dumps(value) if text.startswith("'") else text


def readme_text() -> str:
    """config/README.md: the hand-written head (config/README.head.md), then a table a section."""
    lines = [(FOLDER / "README.head.md").read_text(encoding="utf-8").rstrip(), "", "## Every key", ""]
    head = ["| key | default | values | meaning |", "| --- | --- | --- | --- |"]
    lines += head
    for name, sub in every_key():
        description = sub["description"].replace("|", "\\|")
        if "properties" in sub:
            lines += ["", f"### `{name}`", "", description, "", *head]
            continue
        if not sub.get("rerun", True):
            description += " No reason to run again."
        shown = f"`{json.dumps(sub['default'])}`" if "default" in sub else ""
        lines.append(f"| `{name}` | {shown} | {values(sub)} | {description} |")
    return "\n".join(lines) + "\n"


def values(sub: dict[str, Any]) -> str:
    """What a key may hold, in short: `0 to 51`, `above 0 m`, `ours, exact`."""
    if "enum" in sub:
        return ", ".join(f"`{json.dumps(choice).strip(chr(34))}`" for choice in sub["enum"])
    if "oneOf" in sub:
        return " or ".join(values(one) for one in sub["oneOf"])
    if sub["type"] == "array":
        return f"list of: {values(sub['items'])}"
    if sub["type"] not in ("integer", "number"):
        return {"string": "text", "boolean": "`true`, `false`", "object": "mapping"}[sub["type"]]
    kind = "whole number" if sub["type"] == "integer" else "number"
    low = f"from {sub['minimum']:g}" if "minimum" in sub else ""
    low = f"above {sub['exclusiveMinimum']:g}" if "exclusiveMinimum" in sub else low
    high = f"to {sub['maximum']:g}" if "maximum" in sub else ""
    high = f"below {sub['exclusiveMaximum']:g}" if "exclusiveMaximum" in sub else high
    of = f"in {sub['multipleOf']}s" if "multipleOf" in sub else ""
    return " ".join(part for part in (kind, low, high, of, sub.get("unit", "")) if part)
