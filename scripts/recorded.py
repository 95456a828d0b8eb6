"""Run a script and write what it was made by into its JSON: python recorded.py --record out.json SCRIPT arguments ...

For scripts that need no GPU; scripts/on_gpu.py does the same for those that do. The script runs in this process.
"""

import argparse
import runpy
import sys
from pathlib import Path

from relane import cli


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument(
        "--record", type=Path, required=True, help="JSON that gets `made_by`; written where there is none"
    )
    options.add_argument("--module", action="append", default=[], help="a module that the script imports by name")
    options.add_argument("script", type=Path, help="a script, such as prepare_clip.py")
    options.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    return options


def main(argv: list[str] | None = None) -> None:
    """Run the script; where it fails, its exit status is this one's."""
    args = parser().parse_args(argv)
    sys.argv = [str(args.script), *args.arguments]
    runpy.run_path(str(args.script), run_name="__main__")
    from relane.workflow.provenance import note_made_by

    note_made_by([args.record], args.script, modules=args.module)


if __name__ == "__main__":
    cli.run(main)
