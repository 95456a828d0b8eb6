"""Datasets of pictures that the user brings: masks drawn or found by name, captions read or asked for."""

import shutil

import dataset_from_images
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from relane.errors import InputError
from relane.training import dataset
from tests.test_dataset import PROMPTS, WHITE, YELLOW, contents, picture, road_mask


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    Image.fromarray(picture(1)).save(folder / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side: to be turned by a quarter
    Image.fromarray(picture(2, 40, 80)).save(folder / "b.jpg", exif=exif)
    (folder / "notes.txt").write_text("no picture")
    (tmp_path / "captions.csv").write_text(f"image,prompt\na.png,{WHITE.prompt()}\nb.jpg,{YELLOW.prompt()}\n")
    return tmp_path


def own_flags(own, *more):
    return ["--images", f"{own}/own", "--captions", f"{own}/captions.csv", "--output", f"{own}/d", *more]


@pytest.mark.parametrize("shape", ["rectangle", "brush"])
def test_own_pictures_become_a_dataset_with_drawn_masks(own, shape):
    dataset_from_images.main(own_flags(own, "--mask-shape", shape))
    rows = dataset.read_rows(own / "d")
    dataset.check_rows(own / "d", rows)
    assert [row.prompt for row in rows] == [WHITE.prompt(), YELLOW.prompt()]
    assert dataset.read_image(own / "d/images/b.png").shape == (80, 40, 3)
    before = contents(own / "d")
    dataset_from_images.main(own_flags(own, "--mask-shape", shape))
    assert contents(own / "d") == before
    dataset_from_images.main(own_flags(own, "--mask-shape", shape, "--seed", "7"))
    assert contents(own / "d")["masks/a.png"] != before["masks/a.png"]


@given(st.sampled_from(["rectangle", "brush"]), st.integers(3, 60), st.integers(3, 60), st.integers())
def test_drawn_masks_are_never_empty_nor_in_the_sky(shape, height, width, seed):
    mask = dataset_from_images.drawn_mask(shape, height, width, seed)
    assert mask.shape == (height, width)
    assert mask.any()
    assert shape == "brush" or not mask[: height // 3].any()


def test_own_masks_are_found_by_name_and_must_fit(own):
    dataset.write_picture(own / "m/a.png", road_mask())
    with pytest.raises(InputError, match=r"no mask for b.jpg; expected b.png"):
        dataset_from_images.main(own_flags(own, "--masks", f"{own}/m"))
    dataset.write_picture(own / "m/b.png", road_mask())
    with pytest.raises(InputError, match=r"b.jpg: its mask: the mask is 64x48 but its image is 40x80"):
        dataset_from_images.main(own_flags(own, "--masks", f"{own}/m"))
    assert not (own / "d/train.csv").exists()
    dataset.write_picture(own / "m/b.png", road_mask(80, 40))
    dataset_from_images.main(own_flags(own, "--masks", f"{own}/m"))
    assert (dataset.read_mask(own / "d/masks/b.png") == road_mask(80, 40)).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,prompt\n", "its header is image,prompt"),
        ("image,prompt\na.png,a road\n", "line 2: 'a road' is no caption"),
        (f"image,prompt\na.png,{PROMPTS[0]}\n", "no caption for b.jpg"),
        (f"image,prompt\na.png,{PROMPTS[0]}\nc.png,{PROMPTS[0]}\n", "line 3: 'c.png' is no picture"),
        (f"image,prompt\na.png,{PROMPTS[0]}\na.png,{PROMPTS[0]}\n", "line 3: 'a.png' is named twice"),
    ],
)
def test_wrong_captions_of_own_pictures_are_refused(own, text, message):
    (own / "captions.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        dataset_from_images.main(own_flags(own, "--mask-shape", "brush"))


def test_pictures_of_one_name_are_refused(own):
    shutil.copy(own / "own/a.png", own / "own/a.jpg")
    with pytest.raises(InputError, match="have the same name"):
        dataset_from_images.main(own_flags(own, "--mask-shape", "brush"))
