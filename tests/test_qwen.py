"""Qwen2.5-VL: replies that do not depend on the batch, and folders that are not what they should be."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from relane.errors import InputError
from relane.models.qwen import KeyedSampling, Qwen


@pytest.fixture(scope="module")
def qwen(tiny: Callable[[str], Path]) -> Qwen:
    return Qwen(tiny("qwen"))


def picture(seed: int, height: int = 60, width: int = 100) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


QUESTIONS = [
    ([picture(0)], "road"),
    ([picture(1, 90, 60), picture(2)], "Are the lane markings in both pictures double yellow solid lines?"),
    ([picture(0)], "lane markings"),
]


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_reply_is_the_same_alone_in_a_batch_and_again(qwen: Qwen, temperature: float) -> None:
    keys = [(7, "clip", number) for number in range(len(QUESTIONS))]
    settings = {"max_new_tokens": 12, "temperature": temperature}
    batch = qwen.ask(QUESTIONS, keys=keys, **settings)
    alone = [qwen.ask([one], keys=[key], **settings)[0] for one, key in zip(QUESTIONS, keys, strict=True)]
    assert batch == alone
    assert batch == qwen.ask(QUESTIONS, keys=keys, **settings)
    assert len(set(batch)) == len(batch), "questions with other pictures or words get other replies"


def test_the_key_decides_a_sampled_reply_and_nothing_else_does(qwen: Qwen) -> None:
    def ask(temperature: float, key: object) -> str:
        return qwen.ask(QUESTIONS[:1], max_new_tokens=12, temperature=temperature, keys=[key])[0]

    torch.manual_seed(1)
    first = ask(1.0, "a")
    torch.manual_seed(2)
    assert ask(1.0, "a") == first
    assert ask(1.0, "b") != first
    assert ask(0.0, "a") == ask(0.0, "b")
    with pytest.raises(ValueError, match="one key a question"):
        qwen.ask(QUESTIONS, temperature=1.0, keys=["a"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_logits_that_are_no_numbers_are_no_reply(tiny: Callable[[str], Path], value: float, temperature: float) -> None:
    qwen = Qwen(tiny("qwen"))
    with torch.no_grad():
        qwen.model.lm_head.weight[3] = value
    with pytest.raises(InputError, match=r"qwen: logits .*NaN or infinite \(computed in float32\)"):
        qwen.ask(QUESTIONS, max_new_tokens=4, temperature=temperature, keys=[1, 2, 3])


@pytest.mark.parametrize("value", [float("nan"), 1e30])
def test_damaged_weights_are_refused_before_anything_is_asked(
    tiny: Callable[[str], Path], tmp_path: Path, value: float
) -> None:
    shutil.copytree(tiny("qwen"), tmp_path / "qwen")
    file = tmp_path / "qwen" / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in tensors if name.endswith("q_proj.weight"))
    tensors[name].view(-1)[7] = value
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError, match="the file is damaged"):
        Qwen(tmp_path / "qwen")


def test_keyed_sampling_draws_from_the_softmax() -> None:
    logits, temperature = torch.tensor([[0.0, 1.0, 2.0, -4.0]]), 0.5
    sampler = KeyedSampling(temperature, ["key"])
    drawn = torch.tensor([int(sampler(torch.empty(0), logits).argmax()) for _ in range(4000)])
    shares = torch.bincount(drawn, minlength=4) / len(drawn)
    assert torch.allclose(shares, torch.softmax(logits[0] / temperature, 0), atol=0.025)


def test_spreading_over_the_devices_changes_no_reply(qwen: Qwen) -> None:
    spread = Qwen(qwen.folder, device="all")
    assert spread.ask(QUESTIONS[:1], max_new_tokens=6) == qwen.ask(QUESTIONS[:1], max_new_tokens=6)


def break_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen3_vl"}))


def break_weights(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["lm_head.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: no such file"),
        (lambda folder: (folder / "tokenizer.json").unlink(), r"lacks tokenizer\.json or vocab\.json"),
        (lambda folder: (folder / "preprocessor_config.json").unlink(), r"lacks preprocessor_config\.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"lacks model\.safetensors"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"short"), "does not load as Qwen2.5-VL"),
        (break_config, "model_type 'qwen3_vl', expected 'qwen2_5_vl'"),
        (break_weights, r"lack 1 tensors, the first is lm_head\.weight"),
    ],
)
def test_a_folder_that_is_no_whole_checkpoint_is_refused(
    tiny: Callable[[str], Path], tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    folder = tmp_path / "qwen"
    shutil.copytree(tiny("qwen"), folder)
    damage(folder)
    with pytest.raises(InputError, match=message) as raised:
        Qwen(folder)
    assert str(folder) in str(raised.value)
