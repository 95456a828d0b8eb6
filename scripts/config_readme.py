"""Write config/README.md from config/schema.yaml and the defaults of config/config.yaml, so that they agree."""

import argparse
import json
from pathlib import Path

import yaml

from relane import cli
from relane.config import keys, load_schema
from relane.files import write_text

CONFIG = Path(__file__).parents[1] / "config"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--output", type=Path, default=CONFIG / "README.md", help="file to write")
    return options


def default_of(config: dict, name: str) -> str:
    """The default of a dotted key as it stands in config.yaml, as Markdown code; empty where there is none."""
    value = config
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return ""
        value = value[part]
    return "" if isinstance(value, dict) else f"`{json.dumps(value)}`"


def render() -> str:
    """The whole page: the hand-written head (config/README.head.md), then a table a section."""
    schema = load_schema()
    config = yaml.safe_load((CONFIG / "config.yaml").read_text(encoding="utf-8"))
    lines = [(CONFIG / "README.head.md").read_text(encoding="utf-8").rstrip(), "", "## Every key", ""]
    rows = []
    for name, sub in keys(schema):
        description = " ".join(sub.get("description", "").split()).replace("|", "\\|")
        if "properties" not in sub and not sub.get("rerun", True):
            description += " No reason to run again."
        if "properties" in sub:
            rows += ["", f"### `{name}`", "", description, "", "| key | default | meaning |", "| --- | --- | --- |"]
        else:
            if not rows:
                rows += ["| key | default | meaning |", "| --- | --- | --- |"]
            rows.append(f"| `{name}` | {default_of(config, name)} | {description} |")
    return "\n".join([*lines, *rows]) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Write the page."""
    write_text(parser().parse_args(argv).output, render())


if __name__ == "__main__":
    cli.run(main)
