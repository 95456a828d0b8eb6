"""Another video editor and another painter are a module and an entry in a registry: all around them is common."""

import json
from pathlib import Path

import edit_video
import first_frame
import numpy as np
import pytest
from PIL import Image

from relane import editors, painters
from relane.io.compose import Region
from relane.io.video import read_frames, write_video

FRAMES, HEIGHT, WIDTH = 5, 60, 80
RED = (200, 40, 40)
VIDEO_EDITOR = """
import numpy as np
import torch
from relane.editors import Canvas

CHECKPOINTS = ()

def check(options):
    pass

def load(options):
    return Editor()

class Editor:
    device = torch.device("cpu")

    def canvas(self, shape, options):
        return Canvas((24, 32), shape[0], shape[0], (0,), parameters={"toy": True})

    def edit(self, read, shape, first_frame, prompt, rng, options, timer, caches):
        frames, masks = read(0, shape[0])
        assert frames.shape == (shape[0], 24, 32, 3) and masks.any() and first_frame.shape == (24, 32, 3)
        assert rng(0, "noise").initial_seed() == rng(0, "noise").initial_seed()
        for frame in frames:
            yield np.broadcast_to(first_frame.max((0, 1)) / np.float32(255), (1, 24, 32, 3))
"""
PAINTER = """
import numpy as np

CHECKPOINTS = ()

def settings(options):
    return {"color": (200, 40, 40)}

def find(options):
    pass

def load(options, device):
    return Painter()

class Painter:
    device = "cpu"

    def paint(self, image, mask, prompt, rng, *, color):
        return np.where(mask[..., None], np.uint8(color), image)

    def describe(self, mask, *, color):
        return {"warning": None, "color": color}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clip of grey with a mask in its middle, and two modules that the registries name."""
    masks = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    masks[:, 20:40, 30:50] = 1
    write_video(tmp_path / "clip.mp4", np.full((FRAMES, HEIGHT, WIDTH, 3), 90, np.uint8), 10)
    (tmp_path / "clip.json").write_text(json.dumps({"video": "a.front", "fps": 10}))
    np.savez_compressed(tmp_path / "region.npz", masks)
    for registry, text in ((editors.EDITORS, VIDEO_EDITOR), (painters.PAINTERS, PAINTER)):
        name = f"toy_{len(text)}"
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.setitem(registry, "toy", name)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_toy_painter_and_a_toy_editor_change_the_mask_alone_and_are_named_in_the_records(folder: Path) -> None:
    first_frame.main(
        f"--painter toy --clip {folder}/clip.mp4 --inpaint-masks {folder}/region.npz --video a.front"
        f" --instruction=sham --caption-refine-iters 0 --device cpu --output {folder}/first.png"
        f" --sidecar {folder}/first.json --refine-folder {folder}/refine".split()
    )
    about = json.loads((folder / "first.json").read_text())
    assert (about["painter"], about["color"]) == ("toy", list(RED))
    first, clip = np.asarray(Image.open(folder / "first.png")), read_frames(folder / "clip.mp4")
    assert (first[20:40, 30:50] == RED).all()

    edit_video.main(
        f"--editor toy --clip {folder}/clip.mp4 --clip-json {folder}/clip.json --inpaint-masks {folder}/region.npz"
        f" --first-frame {folder}/first.png --first-frame-json {folder}/first.json --device cpu --crf 0"
        f" --mask-feather 0 --output {folder}/edit.mp4 --generated {folder}/raw.mp4"
        f" --sidecar {folder}/edit.json".split()
    )
    record = json.loads((folder / "edit.json").read_text())
    assert (record["editor"], record["checkpoints"], record["parameters"]["toy"]) == ("toy", {}, True)
    assert (record["windows"]["frames"], Region(**record["picture"]).model_width) == (FRAMES, 32)
    edit = read_frames(folder / "edit.mp4").astype(int)
    changed = np.abs(edit - clip).max(-1) > 20
    assert changed[:, 22:38, 32:48].all()
    assert not changed[:, :18].any()
    assert read_frames(folder / "raw.mp4").shape == (FRAMES, 24, 32, 3)
