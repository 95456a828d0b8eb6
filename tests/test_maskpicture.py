"""A mask says the same in every make of picture in which it may come."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from relane.errors import InputError
from relane.training import dataset

WANTED = np.zeros((8, 12), bool)
WANTED[3:7, 2:9] = True


def palette(colors: list[int], index: np.ndarray) -> Image.Image:
    picture = Image.fromarray(index.astype(np.uint8), "P")
    picture.putpalette(colors)
    return picture


def transparent(rgb: int) -> Image.Image:
    """White where it is to be painted; the rest of another color, and transparent."""
    pixels = np.full((*WANTED.shape, 4), rgb, np.uint8)
    pixels[..., 3] = 255 * WANTED
    pixels[WANTED, :3] = 255
    return Image.fromarray(pixels, "RGBA")


VOC = [0, 0, 0, 128, 0, 0, 0, 128, 0]
MAKES = {
    "0 and 255": lambda: Image.fromarray(WANTED.astype(np.uint8) * 255),
    "0 and 1": lambda: Image.fromarray(WANTED.astype(np.uint8)),
    "0 and 2": lambda: Image.fromarray(WANTED.astype(np.uint8) * 2),
    "labels 0 to 3": lambda: Image.fromarray(WANTED * (1 + np.arange(12) % 3).astype(np.uint8)),
    "one bit": lambda: Image.fromarray(WANTED),
    "16 bits": lambda: Image.fromarray(WANTED.astype(np.uint16) * 65535),
    "16 bits, 0 and 1": lambda: Image.fromarray(WANTED.astype(np.uint16)),
    "palette, black and white": lambda: palette([0, 0, 0, 255, 255, 255], WANTED),
    "palette, white first": lambda: palette([255, 255, 255, 0, 0, 0], ~WANTED),
    "palette of labels": lambda: palette(VOC, WANTED * (1 + np.arange(12) % 2)),
    "palette, a color for ground": lambda: palette([9, 9, 99, 128, 0, 0], WANTED),
    "dark grey palette": lambda: palette([0, 0, 0, 1, 1, 1], WANTED),
    "red on black": lambda: Image.fromarray(WANTED[..., None] * np.array([200, 0, 0], np.uint8), "RGB"),
    "dark blue on black": lambda: Image.fromarray(WANTED[..., None] * np.array([0, 0, 90], np.uint8), "RGB"),
    "white on transparent white": lambda: transparent(255),
    "white on transparent black": lambda: transparent(0),
}


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_mask_is_the_same_in_every_make(tmp_path: Path, make: str, ending: str) -> None:
    MAKES[make]().save(tmp_path / f"mask.{ending}")
    assert np.array_equal(dataset.read_mask(tmp_path / f"mask.{ending}"), WANTED)


def test_fractions_are_read_as_such(tmp_path: Path) -> None:
    Image.fromarray(WANTED.astype(np.float32)).save(tmp_path / "mask.tif")
    assert np.array_equal(dataset.read_mask(tmp_path / "mask.tif"), WANTED)


@given(npst.arrays(np.uint8, (5, 7), elements=st.integers(0, 255)).filter(lambda grey: grey.max() > 127))
def test_grey_above_the_half_is_painted(tmp_path_factory: pytest.TempPathFactory, grey: np.ndarray) -> None:
    file = tmp_path_factory.getbasetemp() / "grey.png"
    Image.fromarray(grey).save(file)
    assert np.array_equal(dataset.read_mask(file), grey > 127)


def test_black_is_empty_in_every_make_and_noise_of_jpeg_is_no_label(tmp_path: Path) -> None:
    black = np.zeros((8, 12), np.uint8)
    for number, picture in enumerate((Image.fromarray(black), palette(VOC, black), Image.fromarray(black > 0))):
        picture.save(tmp_path / f"{number}.png")
        assert not dataset.read_mask(tmp_path / f"{number}.png").any()
    noise = np.random.default_rng(0).integers(0, 12, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.jpg")
    assert not dataset.read_mask(tmp_path / "noise.jpg").any()
    Image.fromarray(np.kron(WANTED, np.ones((8, 8))).astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=90)
    assert (dataset.read_mask(tmp_path / "mask.jpg") == np.kron(WANTED, np.ones((8, 8), bool))).mean() > 0.98


def test_a_dark_picture_of_many_tones_is_neither(tmp_path: Path) -> None:
    Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(tmp_path / "dark.png")
    with pytest.raises(InputError, match=r"dark\.png: a mask that is nowhere brighter than 99 of 255"):
        dataset.read_mask(tmp_path / "dark.png")
