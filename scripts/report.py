"""Make the report of a run: one HTML page with its media, in one folder that opens from disk and can be moved.

Per video and arm: the source, the edit and the planned paths side by side, the first frame's tries with the critic's
verdicts, picture quality; per arm the effects on the planned path with their plots; skipped clips, why driving was
left out if it was, and provenance. Media are hard links where the file system allows, copies otherwise.
"""

import argparse
from pathlib import Path

from relane import cli


def parser() -> argparse.ArgumentParser:
    """The script's flags."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--run-folder", type=Path, required=True, help="the run's folder, results/<run>")
    result.add_argument("--run", required=True, help="the run's name")
    result.add_argument("--videos", nargs="*", default=[], metavar="VIDEO", help="videos to show")
    result.add_argument("--total", type=int, default=0, help="how many videos the run has, if more than are shown")
    result.add_argument("--arms", nargs="+", required=True, metavar="ARM", help="original, floor, sham, instructions")
    result.add_argument("--external-arms", nargs="*", default=[], metavar="ARM", help="those of them edited elsewhere")
    result.add_argument("--clips", nargs="*", default=[], metavar="CLIP", help="clips that were driven; may be none")
    result.add_argument("--driver", default="", help="the driving model whose paths are shown")
    result.add_argument("--t0-us", type=int, default=0, help="the instant that is shown, microseconds")
    result.add_argument("--no-driving-reason", default="", help="why nothing was driven, if so")
    result.add_argument("--output", type=Path, required=True, help="folder of the report; replaced whole")
    return result


def run(args: argparse.Namespace) -> None:
    """Gather and write. Raises InputError that names a required file which is missing or damaged."""
    from relane.report import gather, page

    report = gather.gather(
        args.run_folder,
        args.run,
        args.videos,
        args.arms,
        args.clips,
        args.no_driving_reason,
        external_arms=args.external_arms,
        total=args.total,
        driver=args.driver,
        t0_us=args.t0_us,
    )
    page.write(report, args.output)


def main(argv: list[str] | None = None) -> None:
    """Run as the command line says."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
