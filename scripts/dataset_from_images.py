"""Make a dataset from a folder of one's own pictures.

Captions come from Qwen2.5-VL (--qwen) or from a CSV (--captions: image,prompt or image,prompt,prompt_2). Masks come
from a folder (--masks: a picture of the same name, white where FLUX Fill shall paint) or are drawn (--mask-shape), each
from a generator keyed by the seed and the picture's name, so that a rerun draws the same.
"""

import argparse
from pathlib import Path

from relane import cli
from relane.config.arguments import add_options
from relane.config.sections.captioning import Captioning
from relane.errors import InputError
from relane.io.csvfile import read_csv

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = options.add_argument
    add("--images", required=True, type=Path, help=f"folder of pictures ({', '.join(SUFFIXES)})")
    captions = options.add_mutually_exclusive_group(required=True)
    captions.add_argument("--captions", type=Path, help="CSV: image (file name), prompt, and maybe prompt_2")
    captions.add_argument("--qwen", help="folder of a Qwen2.5-VL checkpoint that captions the pictures")
    masks = options.add_mutually_exclusive_group(required=True)
    masks.add_argument("--masks", type=Path, help="folder of masks, named as the pictures (any picture ending)")
    masks.add_argument("--mask-shape", choices=("rectangle", "brush"), help="draw masks of this shape")
    add("--seed", type=int, default=42, help="of the drawn masks")
    add_options(options, Captioning, leave_out=("crop",))
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N, or all (layers over every GPU)")
    add("--output", required=True, type=Path, help="the dataset's folder")
    return options


def load(args: argparse.Namespace):
    """The captioner, or None where captions are given."""
    if not args.qwen:
        return None
    import caption_frames

    return caption_frames.load(args)


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder by name. Raises InputError when there are none or two share a stem."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise InputError(f"{folder}: no pictures ({', '.join(SUFFIXES)})")
    stems: dict[str, Path] = {}
    for path in found:
        if stems.setdefault(path.stem, path) is not path:
            raise InputError(f"{folder}: {stems[path.stem].name} and {path.name} have the same name; rename one")
    return found


def given_captions(path: Path, images: list[Path]) -> list[dict]:
    """prompt and prompt_2 of each image from a CSV. Raises InputError for a wrong header, a picture without a caption
    or with two, a caption without a picture, and a prompt outside the grammar."""
    from relane.prompts.lanes import parse_prompt

    rows = read_csv(path, ("image", "prompt"), "its header is image,prompt or image,prompt,prompt_2")
    found: dict[str, dict] = {}
    names = {image.name for image in images}
    for row in rows:
        name, line = row.cells["image"], row.number
        if name not in names or name in found:
            why = "is named twice" if name in found else "is no picture of the folder"
            raise InputError(f"{path} line {line}: {name!r} {why}")
        try:
            parse_prompt(row.cells["prompt"])
        except InputError as error:
            raise InputError(f"{path} line {line}: {error}") from None
        found[name] = {"prompt": row.cells["prompt"], "prompt_2": row.cells.get("prompt_2", "")}
    missing = sorted(names - set(found))
    if missing:
        raise InputError(f"{path}: no caption for {missing[0]} ({len(missing)} pictures have none)")
    return [found[image.name] for image in images]


def asked_captions(qwen, images: list[Path], batch_size: int, max_new_tokens: int) -> list[dict]:
    """prompt, reply and number of questions for each image, from Qwen."""
    from relane.prompts import captions
    from relane.training import dataset

    found = []
    for start in range(0, len(images), batch_size):  # so that only one batch of pictures is in memory
        batch = [dataset.read_image(path) for path in images[start : start + batch_size]]
        found += captions.caption(qwen, batch, batch_size=batch_size, max_new_tokens=max_new_tokens)
    captions.refuse_unreadable(found, qwen.folder)
    return [{"prompt": one.text, "prompt_2": "", "reply": one.reply, "asked": one.asked} for one in found]


def given_mask(folder: Path, image: Path):
    """The mask (H, W) bool in `folder` that has the image's name. Raises InputError when there is none."""
    from relane.training import dataset

    for suffix in dict.fromkeys((".png", image.suffix, *SUFFIXES)):
        if (folder / f"{image.stem}{suffix}").is_file():
            return dataset.read_mask(folder / f"{image.stem}{suffix}")
    raise InputError(f"{folder}: no mask for {image.name}; expected {image.stem}.png")


def drawn_mask(shape: str, height: int, width: int, *key: object):
    """A random mask (H, W) bool in the lower two thirds of a picture, where a road is: a rectangle or brush strokes.

    The same key gives the same mask.
    """
    import cv2
    import numpy as np

    from relane.noise import seed_of

    draws = np.random.default_rng(seed_of(*key, "mask", shape))
    mask = np.zeros((height, width), np.uint8)
    top = height // 3
    if shape == "rectangle":
        h = int(draws.integers(max((height - top) // 4, 1), max((height - top) * 3 // 4, 1) + 1))
        w = int(draws.integers(max(width // 4, 1), max(width * 3 // 4, 1) + 1))
        y, x = int(draws.integers(top, height - h + 1)), int(draws.integers(0, width - w + 1))
        mask[y : y + h, x : x + w] = 1
        return mask.astype(bool)
    for _ in range(int(draws.integers(1, 4))):
        count = int(draws.integers(3, 7))
        points = np.stack([draws.integers(0, width, count), draws.integers(top, height, count)], 1).astype(np.int32)
        thickness = max(int(draws.uniform(0.04, 0.12) * min(height, width)), 1)
        cv2.polylines(mask, [points], False, 1, thickness)
    return mask.astype(bool)


def run(args: argparse.Namespace, qwen) -> None:
    """Write the dataset. Raises InputError for whatever `pictures_in`, `given_captions` and `given_mask` do, and for a
    mask that is empty or of another size than its picture."""
    import tempfile

    from relane.prompts.lanes import parse_prompt
    from relane.training import dataset
    from relane.training.dataset_writer import Writer

    images = pictures_in(args.images)
    if args.captions:
        captions = given_captions(args.captions, images)
    else:
        captions = asked_captions(qwen, images, args.batch_size, args.caption_max_tokens)
    with tempfile.TemporaryDirectory(prefix="relane-images-") as folder, Writer(args.output, "copy") as writer:
        scratch = Path(folder)
        for image, caption in zip(images, captions, strict=True):
            pixels = dataset.read_image(image)
            if args.masks:
                mask = given_mask(args.masks, image)
            else:
                mask = drawn_mask(args.mask_shape, *pixels.shape[:2], args.seed, image.name)
            row = dataset.Row(f"{image.stem}.png", "mask.png", caption["prompt"], caption["prompt_2"])
            dataset.write_picture(scratch / row.image, pixels)
            dataset.write_picture(scratch / row.mask, mask)
            wrong = dataset.fault(scratch, row)
            if wrong:
                raise InputError(f"{image}: {wrong.replace('mask.png', 'its mask')}")
            seen = vars(parse_prompt(row.prompt))
            writer.add(row, scratch, caption | seen | {"image": image.name})
            (scratch / row.image).unlink()
        source = {"masks": str(args.masks.name) if args.masks else args.mask_shape}
        writer.finish({"source": args.images.name, **source, "seed": args.seed})


def main(argv: list[str] | None = None) -> None:
    """Entry point."""
    args = parser().parse_args(argv)
    run(args, load(args))


if __name__ == "__main__":
    cli.run(main)
