"""The critic loop: a vision-language model judges each painted frame and rewrites its caption until one passes."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from relane.errors import InputError
from relane.io import files
from relane.models.qwen import Ask
from relane.prompts import lanes, replies
from relane.prompts.lanes import Attributes, Reading

NOTES = ("texture", "perspective", "lighting", "background")
LONGEST_CAPTION = 300  # characters; CLIP reads 77 tokens of it, T5 all

QUESTION = """\
You check a repainted driving picture. It has three panels, from left to right: SOURCE (before), MASK (white: the part \
that could be repainted), RESULT (after). The instruction was: "{instruction}". The painter got the caption: \
"{caption}".
Answer with one JSON object and nothing else:
{{"verdict": "PASS" or "FAIL", "seen": {{"count": "single", "double" or "unknown", "color": "white", "yellow", "mixed" \
or "unknown", "pattern": "solid", "dashed", "mixed" or "unknown"}}, "notes": {{"texture": "...", "perspective": "...", \
"lighting": "...", "background": "..."}}, "score": a number from 0 (useless) to 10 (perfect), "caption": "..."}}
seen is what the lane markings in RESULT look like. Each note is one short sentence: does the road look real, \
do the markings follow the perspective and the positions of SOURCE, do light and shadows match, is everything outside \
the mask unchanged? The verdict is PASS only if RESULT shows what the instruction asks for and no note is a serious \
fault. On FAIL, caption is a better caption for the painter: one sentence that describes the road as it should look."""
UNREADABLE = "the reply could not be read"
UNVOUCHED = "said PASS, but not what the markings look like"
# "PASS", "**Failed**", "FAIL: the line is white"; not "PASS or FAIL".
_VERDICT = re.compile(r"\W*(PASS|FAIL)(?:ED|S)?\W*(?:$|(?<=[^\w\s])|[:;,.(-])")
# A caption that only fills the place of one.
_NO_CAPTION = re.compile(r"\W*(?:none|null|n/?a|unchanged|same|no change\w*|unknown)?\W*", re.IGNORECASE)
AGAIN_SEEN = (
    "\nYour last answer did not say what the lane markings in RESULT look like. Answer with the whole JSON object, "
    "seen included."
)
AGAIN = '\nYour last answer could not be read. Answer with the JSON object alone; its verdict is "PASS" or "FAIL".'


@dataclass(frozen=True)
class Verdict:
    """What the critic said of one try.

    score: 0 to 10, None where it gave none. caption: the revised one as given, may be empty. reply: its last text.
    asked: how often it was asked (1 or 2). reason: why a try fails that the reply itself did not fail, else empty.
    seen: what could be read of the markings, each attribute for itself.
    """

    passed: bool
    seen: Attributes
    score: float | None
    notes: dict[str, str]
    caption: str
    reply: str
    asked: int
    reason: str = ""


@dataclass(frozen=True)
class Try:
    """One painting: its number (from 1), the caption used, the picture (H, W, 3) uint8, what the critic saw and said.

    panels and verdict are None where the critic is off.
    """

    number: int
    caption: str
    output: np.ndarray
    panels: np.ndarray | None
    verdict: Verdict | None
    seconds: dict[str, float]

    def record(self) -> dict[str, Any]:
        """The try as JSON, without its pictures."""
        verdict = asdict(self.verdict) if self.verdict else None
        return {"try": self.number, "caption": self.caption, "verdict": verdict, "seconds": self.seconds}


@dataclass(frozen=True)
class Refinement:
    """All tries in order and the one to use. passed is None where the critic is off."""

    tries: list[Try]
    chosen: Try
    passed: bool | None


def first_caption(instruction: str, wanted: Attributes) -> str:
    """The caption of the first try: the dataset's grammar with what is known, or the instruction's own words."""
    known = wanted.known()
    if len(known) == len(lanes.ALLOWED):
        return wanted.prompt()
    if known:
        return f"road with {' '.join(known.values())} lane markings"
    return _one_line(lanes.what_is_asked(instruction))


def three_panels(source: np.ndarray, mask: np.ndarray, result: np.ndarray, panel_width: int = 640) -> np.ndarray:
    """The picture that the critic sees: source, mask (H, W) bool and result side by side under their names, uint8 RGB.

    Panels wider than `panel_width` are scaled down to it.
    """
    height, width = source.shape[:2]
    scale = min(1.0, panel_width / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    white = np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    columns = []
    for name, picture in (("SOURCE", source), ("MASK", white), ("RESULT", result)):
        small = picture if scale == 1.0 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        bar = np.full((20, size[0], 3), 255, np.uint8)
        cv2.putText(bar, name, (4, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
        columns += [np.vstack([bar, small]), np.full((20 + size[1], 6, 3), 255, np.uint8)]
    return np.hstack(columns[:-1])


def parse_verdict(reply: str, wanted: Attributes, asked: int = 1) -> Verdict | None:
    """A verdict out of a reply, also of one that was cut; None when it holds no JSON object that says PASS or FAIL.

    A PASS whose own reading of the markings contradicts what was wanted counts as FAIL, and so does one (`UNVOUCHED`)
    whose reading says nothing of it. Each attribute is judged alone. Objects that disagree are no verdict.
    """
    found = [one for value in replies.objects(reply) if (one := _verdict_object(value))]
    if not found or len({said for said, _ in found}) > 1:
        return None
    said, values = found[0]
    reading = _reading(values)
    wrong = reading.contradicted(wanted)
    reason = ""
    if said == "PASS" and wrong:
        reason = "said PASS, but sees another " + ", another ".join(wrong)
    elif said == "PASS" and not reading.vouches(wanted):
        reason = UNVOUCHED
    return Verdict(
        passed=said == "PASS" and not reason,
        seen=reading.attributes,
        score=_score(values.get("score")),
        notes=_notes(values.get("notes")),
        caption=_caption(values.get("caption")),
        reply=reply,
        asked=asked,
        reason=reason,
    )


def _verdict_object(value: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """PASS or FAIL and the object that says so, keys in lower case: the outermost that does, in one of a reply's."""
    for one in replies.inner(value):
        folded = {str(key).strip().lower(): part for key, part in one.items()}
        words = str(folded.get("verdict", "")).upper()
        said = _VERDICT.match(words)
        if said and not ("PASS" in words and "FAIL" in words):
            return said[1], folded
    return None


def _reading(values: dict[str, Any]) -> Reading:
    """What a verdict's object says of the markings: under `seen`, or beside it where that says nothing."""
    seen = lanes.read_values(values.get("seen"))
    beside = {key: values[key] for key in lanes.ALLOWED if key in values}
    return seen if seen.readable or seen.denied else lanes.read_values(beside)


def _notes(notes: Any) -> dict[str, str]:
    notes = {str(key).strip().lower(): note for key, note in notes.items()} if isinstance(notes, dict) else {}
    return {name: _one_line(str(notes.get(name, ""))) for name in NOTES}


def _caption(caption: Any) -> str:
    """A revised caption in words; empty where there is none."""
    if isinstance(caption, list) and len(caption) == 1:
        caption = caption[0]
    return "" if not isinstance(caption, str) or _NO_CAPTION.fullmatch(caption) else _one_line(caption)


def judge(
    ask: Ask,
    panels: list[np.ndarray],
    instruction: str,
    caption: str,
    wanted: Attributes,
    *,
    temperature: float,
    max_tokens: int,
    keys: list[tuple],
) -> list[Verdict]:
    """Ask the critic about three-panel pictures of one caption, all in one batch, each with the noise of its key.

    Replies that cannot be read, and a PASS that does not say what it sees, are asked for once more; then they fail.
    """
    prompt = QUESTION.format(instruction=instruction, caption=caption)
    verdicts: dict[int, Verdict] = {}
    texts = dict.fromkeys(range(len(panels)), prompt)
    for asked in (1, 2):
        if not texts:
            break
        replies_now = ask(
            [([panels[number]], text) for number, text in texts.items()],
            max_new_tokens=max_tokens,
            temperature=temperature,
            keys=[(*keys[number], "judge", asked) for number in texts],
        )
        again = {}
        for number, reply in zip(texts, replies_now, strict=True):
            verdict = parse_verdict(reply, wanted, asked)
            if verdict is None:
                again[number] = prompt + AGAIN
                before = verdicts.get(number)
                worth = before is not None and before.reason == UNVOUCHED
                verdicts[number] = replace(before, asked=asked) if worth else _unreadable(reply, asked)
            elif verdict.reason == UNVOUCHED:
                again[number] = prompt + AGAIN_SEEN
                verdicts[number] = verdict
            else:
                verdicts[number] = verdict
        texts = again
    return [verdicts[number] for number in range(len(panels))]


def _unreadable(reply: str, asked: int) -> Verdict:
    return Verdict(False, Attributes(), None, dict.fromkeys(NOTES, ""), "", reply, asked, UNREADABLE)


def next_caption(verdict: Verdict, current: str, wanted: Attributes) -> str:
    """The caption of the next try: the critic's, unless it gave none or its words ask for other markings."""
    revised = verdict.caption
    if not revised or lanes.read_sentence(revised).contradicted(wanted):
        return current
    return revised


def refine(
    paint: Callable[[str, int], np.ndarray],
    ask: Ask | None,
    source: np.ndarray,
    mask: np.ndarray,
    instruction: str,
    wanted: Attributes,
    *,
    iters: int,
    together: int = 1,
    temperature: float = 0.1,
    max_tokens: int = 512,
    key: tuple = (),
    checkpoint: str | Path = "the critic",
) -> Refinement:
    """Paint and judge until a try passes, at most `iters` times; `iters` 0 paints once and asks nobody.

    `together` tries of the same caption are painted before they are judged in one batch; of those that pass the first
    is taken, and if none does, the caption of the one with the highest score is revised.

    paint: (caption, number of the try from 1) -> picture of the source's size. source (H, W, 3) uint8, mask (H, W)
    bool. If none passes, the chosen try is the one with the critic's highest score, the earliest of equals. Raises
    InputError, naming the critic's `checkpoint`, when no reply to any try could be read: then nobody has judged.
    """
    caption = first_caption(instruction, wanted)
    tries: list[Try] = []
    if iters == 0 or ask is None:
        started = time.perf_counter()
        output = paint(caption, 1)
        only = Try(1, caption, output, None, None, {"paint": time.perf_counter() - started})
        return Refinement([only], only, None)
    while len(tries) < iters:
        painted = []
        for number in range(len(tries) + 1, min(len(tries) + together, iters) + 1):
            started = time.perf_counter()
            output = paint(caption, number)
            painted.append((number, output, time.perf_counter() - started))
        panels = [three_panels(source, mask, output) for _, output, _ in painted]
        started = time.perf_counter()
        how = {"temperature": temperature, "max_tokens": max_tokens}
        keys = [(*key, number) for number, _, _ in painted]
        verdicts = judge(ask, panels, instruction, caption, wanted, keys=keys, **how)
        judged = (time.perf_counter() - started) / len(painted)
        made = [
            Try(number, caption, output, panel, verdict, {"paint": seconds, "judge": judged})
            for (number, output, seconds), panel, verdict in zip(painted, panels, verdicts, strict=True)
        ]
        tries += made
        passed = [one for one in made if one.verdict.passed]
        if passed:
            return Refinement(tries, passed[0], True)
        caption = next_caption(_best(made).verdict, caption, wanted)
    if all(one.verdict.reason == UNREADABLE for one in tries):
        raise InputError(
            f"{checkpoint}: none of its replies to {len(tries)} tries is a verdict, the last is "
            f"{tries[-1].verdict.reply[:200]!r}; check the checkpoint and its dtype, raise "
            "first_frame.caption_max_tokens, or set first_frame.caption_refine_iters: 0 for no critic"
        )
    return Refinement(tries, _best(tries), False)


def _best(tries: list[Try]) -> Try:
    """The one with the highest score, the earliest of equals."""
    return max(tries, key=lambda one: -1.0 if one.verdict.score is None else one.verdict.score)


def write_tries(path: str | Path, seen: np.ndarray, refinement: Refinement, record: dict[str, Any]) -> None:
    """Write the folder of a refinement, whole or not at all.

    For each try `try_NN_input.png` (`seen`, the picture (H, W, 3) uint8 that the painter was shown), `_output.png`,
    `_panels.png` (where the critic is on) and `_verdict.json`; and `qwen_eval.json` with all of them. `record` is
    the sidecar's content, of which the latter repeats what a reader needs.
    """
    with files.atomic_folder(path) as folder:
        for one in refinement.tries:
            pictures = {"input": seen, "output": one.output, "panels": one.panels}
            for name, picture in pictures.items():
                if picture is not None:
                    write_picture(folder / f"try_{one.number:02d}_{name}.png", picture)
            files.write_json(folder / f"try_{one.number:02d}_verdict.json", one.record())
        kept = ("video", "instruction", "attributes", "critic", "passed", "best_of_failed", "chosen_try", "tries")
        files.write_json(folder / "qwen_eval.json", {name: record[name] for name in kept})


def write_picture(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8 RGB as PNG, whole or not at all."""
    with files.atomic_file(path) as partial:
        cv2.imwrite(str(partial), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _score(value: Any) -> float | None:
    """A number, or a text such as "7/10", "8 out of 10" or "70 %", held within 0 to 10; None for anything else."""
    found = re.match(r"\s*(-?\d+(?:[.,]\d+)?)\s*(?:(?:/|of|out of)\s*(\d+)|(%))?", str(value))
    if not found or isinstance(value, bool):
        return None
    number, most = float(found[1].replace(",", ".")), float(found[2] or (100 if found[3] else 10))
    return min(max(10 * number / (most or 10), 0.0), 10.0)


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_CAPTION].strip()
