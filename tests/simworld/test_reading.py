"""What Qwen2.5-VL learns from: the same tokens and pixels that the pipeline asks with, and replies that it can read."""

import json

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from relane.models.qwen import Qwen
from relane.prompts import captions, critic, lanes
from relane.prompts.lanes import Attributes
from simworld.learning import pictures, reading, verdicts
from simworld.learning.pictures import ALL
from simworld.learning.verdicts import FAULTS, Painting
from simworld.tiny import qwen, text


@pytest.fixture(scope="module")
def tokenizer():
    return text.qwen_tokenizer([captions.QUESTION + captions.AGAIN, qwen.CHAT_TEMPLATE, *verdicts.texts()])


@pytest.fixture(scope="module")
def untrained(tokenizer, tmp_path_factory) -> Qwen:
    """A random model of the trained one's shape, on disk and back."""
    config = qwen.config(qwen.special_tokens(tokenizer), len(tokenizer), reading.TEXT, reading.VISION)
    folder = tmp_path_factory.mktemp("qwen") / "qwen"
    with text.seeded(0):
        qwen.write(folder, Qwen2_5_VLForConditionalGeneration(config), tokenizer, reading.PREPROCESSOR)
    return Qwen(folder)


@pytest.fixture(scope="module")
def world() -> reading.Moments:
    return reading.Moments(pictures.marked_moments(("test", 1)), torch.device("cpu"))


@pytest.mark.parametrize("size", [(180, 320), (99, 320), (90, 131), (200, 972)])
def test_learns_from_the_tokens_and_pixels_that_the_pipeline_asks_with(untrained, tokenizer, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    question, reply = captions.QUESTION, '{"count":"single","color":"white","pattern":"solid"}'
    words = reading.Words(tokenizer, torch.device("cpu"))
    grid = reading.grid_of(*size)
    # Two rows, the first longer, so that the second is filled up.
    ids, labels, start = words.rows([(question, reply + " and more"), (question, reply)], grid)
    shown = reading.shown(torch.from_numpy(image)[None].repeat(2, 1, 1, 1).float(), grid)
    reader = reading.Reader(untrained.model)
    with torch.no_grad():
        logits, _ = reader(shown, ids, start)
    chat = untrained._chat(1, question) + reply
    inputs = untrained.processor(text=[chat], images=[[image]], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    assert inputs["input_ids"][0].tolist() == ids[1, :length].tolist()
    assert labels[1, : length - start].tolist() == ids[1, start:length].tolist()
    assert labels[1, length - start] == words.special["<|im_end|>"]
    with torch.no_grad():
        wanted = untrained.model(**inputs).logits[0, start - 1 :]
    # The processor resizes in whole numbers, we in fractions: some pixels differ by a grey level.
    off = (logits[1, : len(wanted)] - wanted).abs()
    assert off.max() < 0.03 * wanted.std()


def test_replies_are_few_tokens(tokenizer):
    words = reading.Words(tokenizer, torch.device("cpu"))
    worst = max((Painting(ALL[0], ALL[7], fault).reply() for fault in FAULTS), key=len)
    assert len(words.ids(reading.compact({"count": "single", "color": "white", "pattern": "solid"}))) < 16
    assert len(words.ids(worst)) < 110


@pytest.mark.parametrize("wanted", [*ALL[::3], Attributes(color="yellow"), Attributes("double", pattern="solid")])
@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_the_pipeline_reads_the_verdict_that_is_taught(wanted, fault):
    for seen in ALL:
        painting = Painting(wanted, seen, fault)
        verdict = critic.parse_verdict(painting.reply(), wanted)
        assert verdict.passed == (not fault and not wanted.contradicts(seen))
        assert not verdict.reason
        assert verdict.seen == seen
        assert (verdict.caption == "") == verdict.passed
        if verdict.caption:
            assert lanes.parse_instruction(verdict.caption) == wanted
        assert lanes.instruction_of(wanted) in painting.question()


def test_panels_are_the_critics_own(world):
    panels = verdicts.Panels(world)
    source, result, mask = world.images[0, 0], world.images[0, 3], world.masks[0, 1]
    joined = panels.join(source[None].float(), mask[None], result[None].float())[0]
    wanted = critic.three_panels(source.numpy(), mask.numpy(), result.numpy())
    np.testing.assert_array_equal(joined.numpy(), wanted)


def test_boxes_are_those_of_the_captions(world):
    for number, boxes in enumerate(world.boxes()):
        for which, (top, bottom, left, right) in enumerate(boxes):
            image, mask = world.images[number, 0].numpy(), world.masks[number, which].numpy()
            np.testing.assert_array_equal(image[top:bottom, left:right], captions.crop_to(image, mask))


def test_versions_of_a_moment_differ_on_the_line_alone(world):
    for image, markings in zip(world.images.numpy(), world.markings.numpy(), strict=True):
        solid, dashed = ALL[markings[0]], ALL[markings[1]]
        assert (solid.count, solid.color, solid.pattern, dashed.pattern) == (
            dashed.count,
            dashed.color,
            "solid",
            "dashed",
        )
        changed = (image[0] != image[1]).any(-1)
        assert 0 < changed.mean() < 0.1


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_a_painting_changes_what_its_fault_says(world, fault, monkeypatch):
    """Only the background fault reaches beyond the mask; every other painting leaves the source's pixels there."""
    monkeypatch.setattr(verdicts.reading, "shown", lambda shots, grid: shots)
    monkeypatch.setattr(
        verdicts, "draw_painting", lambda rng, markings: (0, 3, Painting(ALL[markings[3]], ALL[markings[3]], fault))
    )
    torch.manual_seed(0)
    panels = verdicts.Panels(world)
    shots, _, markings = panels.draw(4, np.random.default_rng(1))
    assert markings.shape == (4,)
    parts = [shots[:, panels.top :, k * panels.step :][:, :, : panels.width] for k in range(3)]
    outside = parts[1][..., 0] == 0
    off = (parts[2] - parts[0]).abs().amax(-1)
    assert (off[outside].max() > 10) == (fault == "background")
    assert off[~outside].max() > 20


def test_every_reply_is_json_with_the_critics_keys():
    assert set(json.loads(Painting(ALL[0], ALL[1]).reply())) == {"seen", "notes", "verdict", "score", "caption"}
