"""A dataset of eight small pictures, and the shortest training there is."""

import numpy as np
import pytest
import torch

from relane.prompts.lanes import Attributes
from relane.training import dataset
from relane.training.dataset import Row

HEIGHT, WIDTH = 32, 48


def make_rows(folder, count=8):
    rows = []
    for n in range(count):
        prompt = Attributes(("single", "double")[n % 2], ("white", "yellow")[n // 2 % 2], "solid").prompt()
        image = np.random.default_rng(n).integers(60, 120, (HEIGHT, WIDTH, 3), np.uint8)
        image[:, 20:24] = 250
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[12:, 8:40] = True
        rows.append(Row(f"images/{n}.png", f"masks/{n}.png", prompt, prompt))
        dataset.write_picture(folder / rows[-1].image, image)
        dataset.write_picture(folder / rows[-1].mask, mask)
    dataset.write_rows(folder / "train.csv", rows)
    return folder


@pytest.fixture
def rows_folder(tmp_path):
    return make_rows(tmp_path / "roads")


@pytest.fixture(autouse=True)
def one_thread():
    """Sums are split among threads, so the last bit depends on their number: here it is one, in children too."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def flags(rows_folder, tiny, tmp_path):
    """The command line of a training of four steps, with more flags or other values after it."""

    def line(*more, output="lora"):
        small = {
            "--dataset": rows_folder,
            "--flux-fill": tiny("flux_fill"),
            "--output": tmp_path / output,
            "--rank": 4,
            "--alpha": 4,
            "--max-train-steps": 4,
            "--learning-rate": 1e-2,
            "--lr-warmup-steps": 1,
            "--gradient-accumulation-steps": 2,
            "--checkpointing-steps": 2,
            "--max-sequence-length": 16,
            "--gradient-checkpointing": "false",
            "--sample-every": 0,
            "--device": "cpu",
            "--dtype": "float32",
        }
        small |= dict(zip(more[::2], more[1::2], strict=True))
        return [str(word) for pair in small.items() for word in pair]

    return line
