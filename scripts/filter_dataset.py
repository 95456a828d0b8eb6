"""Make a filtered dataset: the rows with the wanted markings whose pictures, mask and caption are sound.

The filter is given as a suffix, such as `single_white_solid_clearroad` (the part after `__` in a dataset's name), or by
flags of its own. The result has the format of its source, plus rejected.csv: each row that was left out, and why.
"""

import argparse
from pathlib import Path

from relane import cli
from relane.errors import InputError


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--dataset", required=True, type=Path, help="folder with a train.csv")
    add("--suffix", default="", help="the filter as a name; instead of the six flags that follow")
    add("--count", default="any", help="any, or values joined by commas: single, double, unknown")
    add("--color", default="any", help="any, or values joined by commas: white, yellow, mixed, unknown")
    add("--pattern", default="any", help="any, or values joined by commas: solid, dashed, mixed, unknown")
    add("--require-clear-road", type=cli.true_or_false, default=False, help="drop rows with an unknown attribute")
    add("--sort", default="image", choices=("image", "prompt"))
    add("--limit", type=int, default=0, help="rows to keep at most, after sorting; 0: all")
    add("--mode", default="hardlink", choices=("copy", "hardlink", "symlink"), help="how files get there")
    add("--output", type=Path, help="the filtered dataset's folder; without it, <dataset>__<suffix>")
    return options


def filter_of(args: argparse.Namespace):
    """The filter that the flags ask for. Raises InputError when it is given both ways, or wrong."""
    from relane.training.filtering import ANY, Filter, parse_suffix

    values = {
        name: () if getattr(args, name) == ANY else tuple(getattr(args, name).split(","))
        for name in ("count", "color", "pattern")
    }
    wanted = Filter(**values, require_clear_road=args.require_clear_road, sort=args.sort, limit=args.limit)
    if not args.suffix:
        return wanted
    if wanted != Filter():
        raise InputError("filter: give --suffix or the single flags, not both")
    return parse_suffix(args.suffix)


def select(folder: Path, wanted) -> tuple[list, list[tuple]]:
    """The rows of a dataset that the filter keeps, in its order, and (row, reason) of the others."""
    from relane.prompts.lanes import parse_prompt
    from relane.training import dataset

    kept, rejected, seen = [], [], set()
    for row in dataset.read_rows(folder):
        wrong = "this image is already in the list" if row.image in seen else dataset.fault(folder, row)
        reason = f"unsound: {wrong}" if wrong else wanted.rejects(parse_prompt(row.prompt))
        seen.add(row.image)
        if reason:
            rejected.append((row, reason))
        else:
            kept.append(row)
    kept.sort(key=lambda row: (row.prompt, row.image) if wanted.sort == "prompt" else row.image)
    if wanted.limit:
        rejected += [(row, f"over the limit ({wanted.limit})") for row in kept[wanted.limit :]]
        kept = kept[: wanted.limit]
    return kept, rejected


def run(args: argparse.Namespace) -> None:
    """Write the filtered dataset. Raises InputError when nothing is left, saying what each condition removed."""
    from dataclasses import asdict, astuple

    from relane.training.dataset import read_caption
    from relane.training.dataset_writer import Writer
    from relane.training.filtering import SEPARATOR, empty_result

    wanted = filter_of(args)
    output = args.output or args.dataset.with_name(f"{args.dataset.name}{SEPARATOR}{wanted.suffix()}")
    if output.resolve() == args.dataset.resolve():
        raise InputError(f"{output}: a dataset cannot be filtered into itself; give another --output")
    kept, rejected = select(args.dataset, wanted)
    if not kept:
        raise empty_result(str(args.dataset), len(rejected), [reason for _, reason in rejected])
    with Writer(output, args.mode) as writer:
        for row in kept:
            writer.add(row, args.dataset, read_caption(args.dataset, row))
        stats = {"source": args.dataset.name, "filter": {"suffix": wanted.suffix(), **asdict(wanted)}}
        stats["rejected"] = len(rejected)
        writer.finish(stats, [(*astuple(row), reason) for row, reason in rejected])


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    run(parser().parse_args(argv))


if __name__ == "__main__":
    cli.run(main)
