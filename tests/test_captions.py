"""Captions: parsed at once, parsed at the second asking, or unknown with the reply kept."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from relane.errors import InputError
from relane.models.qwen import Qwen
from relane.prompts import captions, lanes
from relane.prompts.lanes import Attributes

FRAMES = [np.full((20, 30, 3), value, np.uint8) for value in range(5)]
GOOD = '{"count": "double", "color": "yellow", "pattern": "solid"}'


class Script:
    """Replies by the frame's grey value and by which asking it is; remembers the size of each call."""

    def __init__(self, replies: dict[int, list[str]]) -> None:
        self.replies, self.calls = replies, []

    def ask(self, questions, *, max_new_tokens, temperature, keys):
        assert temperature == 0.0
        self.calls.append(len(questions))
        return [self.replies[int(images[0][0, 0, 0])][captions.AGAIN in prompt] for images, prompt in questions]


def test_only_replies_that_do_not_parse_are_asked_again_once() -> None:
    script = Script(
        {0: [GOOD], 1: ["a yellow line", GOOD], 2: [GOOD], 3: ["?", "still no JSON"], 4: ['{"count": "double"}', GOOD]}
    )
    made = captions.caption(script, FRAMES, batch_size=4)
    known, unknown = Attributes("double", "yellow", "solid"), Attributes()
    assert [one.attributes for one in made] == [known, known, known, unknown, known]
    assert [one.asked for one in made] == [1, 2, 1, 2, 2]
    assert made[3].reply == "still no JSON"
    assert script.calls == [4, 2, 1, 1]
    assert [lanes.parse_prompt(one.text) for one in made] == [one.attributes for one in made]


def test_each_attribute_is_read_alone_and_the_fuller_answer_counts() -> None:
    script = Script(
        {
            0: ['{"count": "triple", "color": "White lines", "pattern": "broken"}', "?"],
            1: ['{"count": "single"}', '{"count": "double", "color": "blue", "pattern": "solid"}'],
            2: ['{"count": "double", "color": "yellow", "pattern": "sol', '{"count": "double", "color": "yel'],
        }
    )
    made = captions.caption(script, FRAMES[:3])
    assert [one.attributes for one in made] == [
        Attributes("unknown", "white", "dashed"),
        Attributes("double", "unknown", "solid"),
        Attributes("double", "yellow", "unknown"),
    ]
    assert all(one.readable and one.asked == 2 for one in made)


def test_a_captioner_that_nobody_can_read_is_named_and_one_reply_is_enough() -> None:
    script = Script({0: ["!!", "!!!"], 1: ["?", '{"count": "unknown"}'], 2: ["", ""]})
    made = captions.caption(script, FRAMES[:3])
    captions.refuse_unreadable(made, "weights/qwen")
    captions.refuse_unreadable([], "weights/qwen")
    with pytest.raises(InputError, match=r"weights/qwen: none of its replies about 1 frames could be read.*'!!!'"):
        captions.refuse_unreadable(made[:1], "weights/qwen")


def test_with_masks_the_model_sees_the_road_and_its_margin_only() -> None:
    frame = np.arange(100 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 200, 3)
    mask = np.zeros((100, 200), bool)
    mask[60:100, 40:160] = True
    seen = []

    def ask(questions, **_):
        seen.extend(images[0] for images, _ in questions)
        return [GOOD] * len(questions)

    captions.caption(ask, [frame, frame], [mask, np.zeros_like(mask)])
    assert np.array_equal(seen[0], frame[55:100, 30:170])
    assert np.array_equal(seen[1], frame)


def test_the_real_model_class_answers_every_frame(tiny: Callable[[str], Path]) -> None:
    made = captions.caption(Qwen(tiny("qwen")), FRAMES[:3], batch_size=2, max_new_tokens=8)
    assert [(one.attributes, one.asked) for one in made] == [(Attributes(), 2)] * 3
    assert all(one.reply for one in made)
