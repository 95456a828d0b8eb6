"""Write config/config.yaml, config/schema.yaml and config/README.md from the declarations in relane/config/sections."""

import argparse

from relane import cli
from relane.config.files import render
from relane.io.files import write_text


def parser() -> argparse.ArgumentParser:
    """The command line."""
    return argparse.ArgumentParser(description=__doc__)


def main(argv: list[str] | None = None) -> None:
    """Write the files that differ, and name them."""
    parser().parse_args(argv)
    for path, text in render().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
            print(path)


if __name__ == "__main__":
    cli.run(main)
