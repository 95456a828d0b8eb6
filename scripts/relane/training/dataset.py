"""Datasets of captioned road frames on disk: `train.csv` and the files that its rows name.

    images/<name>.png    RGB
    masks/<name>.png     the same size, 0 keep, 255 inpaint
    captions/<name>.json attributes, the model's reply, where the frame came from
    train.csv            image,mask,prompt,prompt_2: paths relative to the folder; `prompt` in the grammar of
                         `lanes.Attributes`, `prompt_2` any text (the T5 encoder's), blank for the same
    stats.json           counts; attributes.png and samples.png show them

Generated, filtered and own-image datasets all have this format, so each stage reads what any other wrote. Whole ones
are made by `relane.training.dataset_writer`.
"""

import csv
import io
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from relane.errors import InputError
from relane.io.csvfile import write_csv
from relane.io.files import read_json
from relane.prompts import lanes

if TYPE_CHECKING:
    import numpy as np

COLUMNS = ("image", "mask", "prompt", "prompt_2")
LIST = "train.csv"


@dataclass(frozen=True)
class Row:
    """One row of `train.csv`: paths relative to the dataset's folder, and the two prompts."""

    image: str
    mask: str
    prompt: str
    prompt_2: str = ""

    @property
    def name(self) -> str:
        """The image's file name without its ending."""
        return Path(self.image).stem

    @property
    def texts(self) -> tuple[str, str]:
        """What CLIP and T5 read; a blank `prompt_2` means the same for both."""
        return self.prompt, self.prompt_2 or self.prompt


def read_rows(folder: str | Path) -> list[Row]:
    """The rows of `folder/train.csv`, in their order.

    Raises InputError, naming the file and the line, for a missing file, a wrong header, a row of another length, a
    blank image or mask, an absolute path or one that leaves the folder, and an empty list.
    """
    folder = Path(folder)
    path = folder / LIST
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; a dataset is a folder with a {LIST}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: list[Row] = []
    try:
        header = next(reader, [])
        if header != list(COLUMNS):
            raise InputError(f"{path}: the header is {','.join(header)!r}; it must be {','.join(COLUMNS)!r}")
        for cells in reader:
            rows += [_row(folder, f"{path} line {reader.line_num}", cells)] if cells else []
    except csv.Error as error:
        raise InputError(f"{path} line {reader.line_num}: not valid CSV ({error})") from None
    if not rows:
        raise InputError(f"{path}: the list has no rows")
    return rows


def _row(folder: Path, where: str, cells: list[str]) -> Row:
    if len(cells) != len(COLUMNS):
        raise InputError(f"{where}: {len(cells)} cells, not {len(COLUMNS)}; put a text with commas in double quotes")
    row = Row(*(cell.strip() for cell in cells))
    for column in ("image", "mask"):
        name = getattr(row, column)
        if not name:
            raise InputError(f"{where}: {column} is blank")
        if Path(name).is_absolute() or ".." in Path(name).parts or not stays(folder, folder / name):
            raise InputError(f"{where}: {column} {name!r} points outside {folder}: use a relative path without '..'")
    return row


def stays(folder: Path, path: Path) -> bool:
    """Whether a row's file lies in the dataset's folder or the one above it."""
    # A dataset made with --mode symlink links into the one beside it; further away than that nothing of ours links.
    return path.resolve().is_relative_to(folder.resolve().parent)


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Write `train.csv`, atomically."""
    write_csv(path, COLUMNS, (astuple(row) for row in rows))


# Pictures and masks


def read_image(path: str | Path) -> "np.ndarray":
    """A picture as (H, W, 3) uint8 RGB, upright as its EXIF says. Raises InputError when it cannot be read."""
    return _read_picture(path, "RGB")


def read_mask(path: str | Path) -> "np.ndarray":
    """A mask as (H, W) bool, True where it is white, or a label. Raises InputError as `mask_picture.read_mask`."""
    from relane.io import mask_picture

    return mask_picture.read_mask(path)


def _read_picture(path: str | Path, mode: str) -> "np.ndarray":
    import numpy as np
    from PIL import Image, ImageOps

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with Image.open(path) as picture:
            return np.array(ImageOps.exif_transpose(picture).convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable picture ({type(error).__name__})") from None


def write_picture(path: str | Path, array: "np.ndarray") -> None:
    """Write (H, W, 3) uint8 RGB, or (H, W) bool as 0 and 255, as PNG; makes the folder."""
    from PIL import Image

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array.astype("uint8") * 255 if array.dtype == bool else array).save(path, format="PNG")


def fault(folder: str | Path, row: Row) -> str | None:
    """What makes a row unfit for training, as a sentence that names the file, or None.

    Checked: the caption's grammar, both pictures readable, one size, the mask not empty.
    """
    folder = Path(folder)
    try:
        lanes.parse_prompt(row.prompt)
        image, mask = read_image(folder / row.image), read_mask(folder / row.mask)
    except InputError as error:
        return str(error)
    if image.shape[:2] != mask.shape:
        (height, width), (mask_height, mask_width) = image.shape[:2], mask.shape
        return (
            f"{row.mask}: the mask is {mask_width}x{mask_height} but its image is {width}x{height}; make them one size"
        )
    if not mask.any():
        return f"{row.mask}: the mask is empty, so there is nothing to inpaint"
    return None


def check_rows(folder: str | Path, rows: Iterable[Row]) -> None:
    """Raise InputError for the first row that `fault` finds something in, naming its line in `train.csv`."""
    for number, row in enumerate(rows, 2):
        wrong = fault(folder, row)
        if wrong:
            raise InputError(f"{Path(folder) / LIST} line {number}: {wrong}")


def place(source: Path, target: Path, mode: str, seen_from: Path | None = None) -> None:
    """Put a file at `target`: a copy, a hard link (a copy where the file system has none), or a relative symlink.

    `seen_from`: the folder in which a symlink will stand in the end, when `target` is still to be moved there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == "symlink":
        target.symlink_to(os.path.relpath(source.resolve(), (seen_from or target.parent).resolve()))
        return
    if mode == "hardlink":
        try:
            os.link(source.resolve(), target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(source, target)


def read_caption(folder: str | Path, row: Row) -> dict:
    """What `captions/<name>.json` says of a row; for a dataset without one, the attributes of its prompt."""
    path = Path(folder) / "captions" / f"{row.name}.json"
    return read_json(path) if path.is_file() else {"prompt": row.prompt, **asdict(lanes.parse_prompt(row.prompt))}
