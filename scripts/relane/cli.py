"""What every script shares: one way to run `main`, one way to report bad input."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from relane.errors import InputError


def true_or_false(text: str) -> bool:
    """Argparse type for booleans that come from config as `true` or `false`."""
    value = text.strip().lower()
    if value in ("true", "1", "yes"):
        return True
    if value in ("false", "0", "no"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text!r}")


class ListParser(argparse.ArgumentParser):
    """A parser to which `@FILE` means the arguments in that file, one a line: thousands fit no command line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(fromfile_prefix_chars="@", **settings)

    def convert_arg_line_to_args(self, arg_line: str) -> list[str]:
        """A line is one argument, blanks in it and all; an empty line is none."""
        return [arg_line] if arg_line else []


def run(main: Callable[[list[str] | None], None]) -> None:
    """Run a script's `main`: bad input is one line on stderr and exit status 2."""
    # Model libraries must never reach for a hub on their own: what a run reads is what its config names.
    # Scripts that mean to download (fetch_*, streaming) say so themselves before they import anything.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        main(None)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
