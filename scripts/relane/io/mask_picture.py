"""Masks out of pictures of any make: 0 and 255, 0 and 1, palettes, 16 bits, colors on black, a transparent ground."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from relane.errors import InputError

# What these write back is not what they were given: a few grey levels may be noise, and are no label.
LOSSY = ("JPEG", "MPO", "WEBP")
MOST_LABELS = 16  # distinct values of a dark picture up to which it is taken for a map of labels


def read_mask(path: str | Path) -> np.ndarray:
    """A mask picture as (H, W) bool, upright as its EXIF says, True where it is to be inpainted.

    Grey above the half is True. A picture that is darker than that everywhere is one of labels, where few values are
    used: all but 0 are True. Of a palette or of colors, what is not black is True. What is transparent is False.
    Raises InputError when it cannot be read, and when it is neither a mask of two tones nor one of labels.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    try:
        with Image.open(path) as opened:
            picture, lossy = ImageOps.exif_transpose(opened), opened.format in LOSSY
            picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: not a readable picture ({type(error).__name__})") from None
    visible = _visible(picture)
    if picture.mode == "P":
        labels = _labels(picture)
        if labels is not None:
            return labels & visible
    grey = _grey(picture) * visible
    if grey.max(initial=0) > 127 or not grey.any() or lossy:
        return grey > 127
    if len(np.unique(grey)) > MOST_LABELS:
        raise InputError(
            f"{path}: a mask that is nowhere brighter than {grey.max():.0f} of 255, in {len(np.unique(grey))} tones; "
            "make it black where the picture is kept and white where it is painted"
        )
    return grey > 0


def _visible(picture: Image.Image) -> np.ndarray:
    """(H, W) bool, False where a picture is more transparent than not."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        return np.array(picture.convert("RGBA"))[..., 3] > 127
    return np.ones((picture.height, picture.width), bool)


def _labels(picture: Image.Image) -> np.ndarray | None:
    """A palette's entries that are no ground, (H, W) bool: all but black, or all but the first; None for a grey one."""
    index = np.array(picture)
    colors = np.array(picture.convert("RGB"))
    if (colors == colors[..., :1]).all():
        return None
    black = (colors == 0).all(-1)
    return ~black if black.any() else index != 0


def _grey(picture: Image.Image) -> np.ndarray:
    """(H, W) float32 0..255, the brightest channel of colors; of wider numbers, with their own full range as 255."""
    if picture.mode.startswith(("I", "F")):
        wide = np.nan_to_num(np.array(picture).astype(np.float32))
        top = wide.max(initial=0)
        # Beyond 8 bits the range is 16 bits, and a fraction's is 1.
        return wide / 257 if top > 255 else (wide * 255 if picture.mode == "F" and top <= 1 else wide)
    channels = np.array(picture.convert("RGB"))
    return channels.max(-1).astype(np.float32)
