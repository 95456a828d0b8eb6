"""Caption the kept frames of one video with Qwen2.5-VL, several a call.

The input folders are those of scripts/dataset_frames.py; frames that were dropped are passed over. A reply in which
an attribute cannot be read is asked for once more, then that attribute is recorded as unknown, with the reply's text.
"""

import argparse
import time
from pathlib import Path

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.captioning import Captioning

# What `load` reads: a warm worker keeps the models for items that agree in these (relane.workers).
LOADS = ("qwen", "device", "dtype")
LESS_MEMORY = "a smaller dataset.batch_size, dataset.dtype: bfloat16"


def parser() -> argparse.ArgumentParser:
    """The command line; config keys of the same name with underscores."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--items", nargs="+", type=Path, required=True, help="folders with record.json, image.png, mask.png")
    add("--qwen", required=True, help="folder of a Qwen2.5-VL checkpoint")
    add_options(options, Captioning)
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N, or all (layers over every GPU)")
    add("--output", required=True, type=Path, help="JSON with a caption for each kept item")
    return options


def load(args: argparse.Namespace):
    """The captioner."""
    import torch

    from relane.models.device import choose_device
    from relane.models.qwen import Qwen

    return Qwen(args.qwen, str(choose_device(args.device)), getattr(torch, args.dtype))


def run(args: argparse.Namespace, qwen) -> None:
    """Write one JSON: captions by item name, and what they cost. Raises InputError on a broken item folder,
    and when no reply could be read."""
    from relane.io.files import read_json, write_json
    from relane.models import memory_stats
    from relane.prompts import captions
    from relane.training import dataset

    kept = [item for item in args.items if read_json(item / "record.json")["status"] == "kept"]
    started = time.perf_counter()
    images = [dataset.read_image(item / "image.png") for item in kept]
    masks = [dataset.read_mask(item / "mask.png") for item in kept] if args.crop else None
    found = captions.caption(qwen, images, masks, batch_size=args.batch_size, max_new_tokens=args.caption_max_tokens)
    captions.refuse_unreadable(found, args.qwen)
    entries = {}
    for item, one in zip(kept, found, strict=True):
        values = {name: getattr(one.attributes, name) for name in ("count", "color", "pattern")}
        entries[item.name] = {"prompt": one.text, **values, "reply": one.reply, "asked": one.asked}
    write_json(args.output, {"captions": entries, "seconds": time.perf_counter() - started, **memory_stats.peaks()})


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
