"""The critic loop, by scripted replies."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relane.errors import InputError
from relane.prompts import critic, lanes
from relane.prompts.lanes import Attributes

SOURCE = np.full((30, 50, 3), 90, np.uint8)
MASK = np.zeros((30, 50), bool)
MASK[15:] = True
WANTED = Attributes("double", "yellow", "solid")
INSTRUCTION = lanes.instruction_of(WANTED)


def reply(verdict: str, seen: Attributes = WANTED, **more: object) -> str:
    values = {"count": seen.count, "color": seen.color, "pattern": seen.pattern}
    return json.dumps({"verdict": verdict, "seen": values, "notes": {"texture": "fine"}, "score": 5, **more})


class Loop:
    """Runs `critic.refine` with a painter that paints the number of the try and a critic that reads from a list."""

    def __init__(self, replies: list[str], iters: int = 10, wanted: Attributes = WANTED, together: int = 1) -> None:
        self.replies, self.captions, self.questions, self.batches = list(replies), [], [], []
        how = {"iters": iters, "together": together, "temperature": 0.1, "key": ("clip",)}
        self.done = critic.refine(self.paint, self.ask, SOURCE, MASK, INSTRUCTION, wanted, **how)

    def paint(self, caption: str, number: int) -> np.ndarray:
        self.captions.append(caption)
        return np.full_like(SOURCE, number)

    def ask(self, questions, *, max_new_tokens, temperature, keys):
        self.questions += [(prompt, temperature, key) for (_, prompt), key in zip(questions, keys, strict=True)]
        self.batches.append(len(questions))
        return [self.replies.pop(0) for _ in questions]


def test_the_loop_stops_at_the_first_pass_and_paints_each_revised_caption() -> None:
    loop = Loop([reply("FAIL", caption=" a road with\ntwo solid yellow lines "), reply("FAIL"), reply("pass"), "never"])
    assert (loop.done.passed, loop.done.chosen.number, len(loop.done.tries)) == (True, 3, 3)
    assert loop.captions == [
        WANTED.prompt(),
        "a road with two solid yellow lines",
        "a road with two solid yellow lines",
    ]
    assert loop.done.chosen.caption == loop.captions[-1]
    assert (loop.done.chosen.output == 3).all()
    assert all(
        INSTRUCTION in prompt and caption in prompt
        for (prompt, *_), caption in zip(loop.questions, loop.captions, strict=True)
    )
    assert [temperature for _, temperature, _ in loop.questions] == [0.1] * 3
    assert len({key for *_, key in loop.questions}) == 3


def test_none_passes_and_the_best_score_is_taken_the_earliest_of_equals() -> None:
    loop = Loop([reply("FAIL", score=s) for s in (3, "7/10", 7, None)], iters=4)
    assert (loop.done.passed, loop.done.chosen.number) == (False, 2)
    assert [one.verdict.score for one in loop.done.tries] == [3.0, 7.0, 7.0, None]


def test_tries_of_one_caption_are_judged_in_one_batch_and_the_best_one_s_is_revised() -> None:
    replies = [reply("FAIL", score=s, caption=f"road number {s}") for s in (3, 8, 5)]
    loop = Loop([*replies, reply("FAIL"), reply("PASS"), reply("PASS")], iters=8, together=3)
    assert loop.batches == [3, 3]
    assert loop.captions == [WANTED.prompt()] * 3 + ["road number 8"] * 3
    assert (loop.done.passed, loop.done.chosen.number, len(loop.done.tries)) == (True, 5, 6)
    assert len({key for *_, key in loop.questions}) == 6
    few = Loop([reply("FAIL")] * 8, iters=8, together=3)
    assert few.batches == [3, 3, 2]


def test_only_the_unreadable_replies_of_a_batch_are_asked_again() -> None:
    loop = Loop([reply("FAIL"), "what?", reply("FAIL"), reply("PASS")], iters=3, together=3)
    assert loop.batches == [3, 1]
    assert [one.verdict.asked for one in loop.done.tries] == [1, 2, 1]
    assert loop.done.chosen.number == 2


def test_a_reply_without_json_is_asked_again_once_then_fails_with_its_text() -> None:
    loop = Loop(["Looks good!", reply("PASS")], iters=2)
    assert (loop.done.passed, loop.done.tries[0].verdict.asked) == (True, 2)
    assert loop.questions[1][0].endswith(critic.AGAIN)
    loop = Loop(["Looks good!", "I said PASS.", reply("PASS")], iters=2)
    first = loop.done.tries[0].verdict
    assert (first.passed, first.reply, first.asked, first.score) == (False, "I said PASS.", 2, None)
    assert (loop.done.passed, loop.done.chosen.number) == (True, 2)


def test_a_pass_that_sees_other_markings_is_a_fail() -> None:
    loop = Loop([reply("PASS", Attributes("single", "yellow", "dashed")), reply("PASS", Attributes("double"))], iters=2)
    assert loop.done.tries[0].verdict.reason == "said PASS, but sees another count, another pattern"
    assert (loop.done.passed, loop.done.chosen.number) == (True, 2)


@pytest.mark.parametrize(
    ("seen", "other"),
    [
        ({"count": "double lines", "color": "yellow"}, "count, another color"),
        ({"count": "double", "color": "?", "pattern": "?"}, "count"),
        ({"count": "?", "color": "YELLOW", "pattern": None}, "color"),
        ({"count": "?", "color": "not white"}, "color"),
        ({"color": ["white", "yellow"]}, "color"),
        ({"pattern": {"value": "continuous"}}, "pattern"),
        ("a single white line, solid", "pattern"),
        ([{"pattern": "dashed"}, {"pattern": "solid"}], "pattern"),
    ],
)
def test_a_pass_is_refused_by_any_attribute_that_can_be_read(seen: object, other: str) -> None:
    wanted = Attributes("single", "white", "dashed")
    verdict = critic.parse_verdict(json.dumps({"verdict": "PASS", "seen": seen}), wanted)
    assert (verdict.passed, verdict.reason) == (False, f"said PASS, but sees another {other}")


@pytest.mark.parametrize("seen", [{}, {"count": "?"}, dict.fromkeys(lanes.ALLOWED, "unknown"), None, "lovely"])
def test_a_pass_that_does_not_say_what_it_sees_is_asked_again_and_then_fails(seen: object) -> None:
    bare = json.dumps({"verdict": "PASS", "seen": seen, "score": 9})
    loop = Loop([bare, reply("PASS")])
    assert (loop.done.passed, loop.done.chosen.verdict.asked, len(loop.done.tries)) == (True, 2, 1)
    assert loop.questions[1][0].endswith(critic.AGAIN_SEEN)
    for second in (bare, "what?"):
        loop = Loop([bare, second, reply("PASS")])
        first = loop.done.tries[0].verdict
        assert (first.passed, first.reason, first.asked, first.score) == (False, critic.UNVOUCHED, 2, 9.0)
        assert loop.done.chosen.number == 2


def test_where_nothing_definite_is_asked_a_pass_need_only_answer() -> None:
    for seen, passed in ((dict.fromkeys(lanes.ALLOWED, "unknown"), True), ({"color": "blue"}, False)):
        verdict = critic.parse_verdict(json.dumps({"verdict": "PASS", "seen": seen}), Attributes())
        assert verdict.passed == passed


FULL = reply("PASS", notes={"texture": "real", "lighting": 'a "low" sun'}, caption="road with double yellow lines")


@given(st.integers(0, len(FULL)))
def test_a_cut_reply_keeps_its_verdict_and_whatever_had_ended(end: int) -> None:
    verdict = critic.parse_verdict(FULL[:end], WANTED)
    whole = critic.parse_verdict(FULL, WANTED)
    if end < FULL.index("PASS") + 5:
        assert verdict is None
        return
    assert verdict.caption in ("", whole.caption)
    assert verdict.passed == (end > FULL.index("count") + len('count": "double')), "of it, one attribute was seen"
    assert verdict.score in (None, whole.score)


def test_a_cut_fail_is_a_fail_at_once() -> None:
    loop = Loop(['{"verdict": "FAIL", "seen": {"count": "sin', reply("PASS")])
    assert [one.verdict.asked for one in loop.done.tries] == [1, 1]


@pytest.mark.parametrize(
    ("text", "passed"),
    [
        ('```json\n{"Verdict": "Pass.", "Seen": {"Color": "Yellow"}}\n```', True),
        ('{"result": {"verdict": "**PASSED**", "seen": {"color": "yellow"}}}', True),
        ('{"verdict": "PASS", "count": "double", "color": "yellow"}', True),
        ('{"verdict": "FAIL: the line is white"}', False),
        ('{"verdict": "PASS or FAIL"}', None),
        ('{"verdict": "PASS" or "FAIL", "seen": {"color": "yellow"}}', None),
        ('{"verdict": "PASS", "seen": {"color": "yellow"}} no: {"verdict": "FAIL"}', None),
        ('{"verdict": true}', None),
        ("PASS", None),
    ],
)
def test_a_verdict_is_found_however_it_is_spelt(text: str, passed: bool | None) -> None:
    verdict = critic.parse_verdict(text, WANTED)
    assert (verdict and verdict.passed) == passed


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (5, 5),
        ("7/10", 7),
        ("8 out of 10", 8),
        ("70/100", 7),
        ("70 %", 7),
        ("7,5", 7.5),
        (99, 10),
        (-3, 0),
        (True, None),
    ],
)
def test_a_score_is_of_ten(value: object, score: float | None) -> None:
    assert critic.parse_verdict(reply("FAIL", score=value), WANTED).score == score


@pytest.mark.parametrize(
    ("caption", "taken"),
    [
        ("road with single white dashed lane markings", False),
        ("double solid yellow lines next to the white edge line", True),
        ("double yellow lines parallel to the white kerb line, in low sun", True),
        ("two solid yellow lines, not white ones", True),
        ("solid lines, not yellow", False),
        ("double white lines next to the yellow edge line", False),
        ("", False),
        ("N/A", False),
        (None, False),
        ({"text": "double yellow lines"}, False),
        (["double yellow lines"], True),
    ],
)
def test_a_revised_caption_may_not_ask_for_other_markings(caption: object, taken: bool) -> None:
    loop = Loop([reply("FAIL", caption=caption), reply("PASS")])
    words = caption[0] if isinstance(caption, list) else caption
    assert loop.captions == [WANTED.prompt(), words if taken else WANTED.prompt()]


def test_a_critic_that_nobody_can_read_stops_the_item_and_is_named() -> None:
    with pytest.raises(InputError, match=r"the critic: none of its replies to 2 tries is a verdict, .*'!!!!'"):
        Loop(["!!!!"] * 4, iters=2)


@given(st.integers(1, 6), st.lists(st.sampled_from(["PASS", "FAIL", "?"]), min_size=6, max_size=6))
def test_never_more_tries_than_asked_for_and_none_after_a_pass(iters: int, verdicts: list[str]) -> None:
    replies = [text for said in verdicts for text in (["?", "?"] if said == "?" else [reply(said)])]
    if set(verdicts[:iters]) == {"?"}:
        with pytest.raises(InputError):
            Loop(replies, iters=iters)
        return
    loop = Loop(replies, iters=iters)
    expected = (verdicts.index("PASS") + 1) if "PASS" in verdicts else 99
    assert len(loop.done.tries) == min(iters, expected)
    assert loop.done.passed == (expected <= iters)


def test_no_iterations_switch_the_critic_off() -> None:
    loop = Loop([], iters=0)
    assert (loop.done.passed, len(loop.done.tries), loop.done.chosen.verdict) == (None, 1, None)


@given(st.text())
def test_any_reply_is_a_verdict_or_nothing(text: str) -> None:
    assert critic.parse_verdict(text, WANTED) is None
    wild = {"verdict": "FAIL", "seen": text, "notes": [text], "score": text, "caption": {"a": text}}
    assert critic.parse_verdict(json.dumps(wild), WANTED).passed is False


def test_the_three_panels_stand_side_by_side_and_wide_ones_shrink() -> None:
    result = np.full_like(SOURCE, 200)
    panels = critic.three_panels(SOURCE, MASK, result)
    assert panels.shape == (30 + 20, 3 * 50 + 2 * 6, 3)
    assert (panels[20:, :50] == SOURCE).all()
    assert (panels[20:, 56:106] == MASK[..., None] * 255).all()
    assert (panels[20:, 112:] == result).all()
    assert critic.three_panels(SOURCE, MASK, result, panel_width=25).shape == (15 + 20, 3 * 25 + 2 * 6, 3)


def test_the_first_caption_says_what_is_known_and_nothing_else() -> None:
    assert critic.first_caption("", WANTED) == WANTED.prompt()
    assert critic.first_caption("", Attributes(color="yellow")) == "road with yellow lane markings"
    assert critic.first_caption("Paint faded lines; keep the rest", Attributes()) == "paint faded lines"
