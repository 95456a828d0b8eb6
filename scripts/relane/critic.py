"""The critic loop: a vision-language model judges each painted frame and rewrites its caption until one passes."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from relane import files, lanes
from relane.lanes import Attributes
from relane.qwen import Ask

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
AGAIN = '\nYour last answer could not be read. Answer with the JSON object alone; its verdict is "PASS" or "FAIL".'


@dataclass(frozen=True)
class Verdict:
    """What the critic said of one try.

    score: 0 to 10, None where it gave none. caption: the revised one as given, may be empty. reply: its last text.
    asked: how often it was asked (1 or 2). reason: why a try fails that the reply itself did not fail, else empty.
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
    """A verdict out of a reply; None when it holds no JSON object with a verdict of PASS or FAIL.

    A PASS whose own reading of the markings contradicts what was wanted counts as FAIL.
    """
    values = lanes.find_json(reply)
    said = str((values or {}).get("verdict", "")).strip().upper()
    if values is None or said not in ("PASS", "FAIL"):
        return None
    seen = values.get("seen")
    seen = (lanes.from_mapping(seen) if isinstance(seen, dict) else None) or Attributes()
    notes = values.get("notes")
    notes = notes if isinstance(notes, dict) else {}
    wrong = wanted.contradicts(seen)
    reason = ""
    if said == "PASS" and wrong:
        reason = "said PASS, but sees another " + ", another ".join(wrong)
    return Verdict(
        passed=said == "PASS" and not wrong,
        seen=seen,
        score=_score(values.get("score")),
        notes={name: _one_line(str(notes.get(name, ""))) for name in NOTES},
        caption=_one_line(str(values.get("caption") or "")),
        reply=reply,
        asked=asked,
        reason=reason,
    )


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

    Replies that cannot be read are asked for once more, then they are a fail.
    """
    prompt = QUESTION.format(instruction=instruction, caption=caption)
    verdicts: dict[int, Verdict] = {}
    for asked, text in ((1, prompt), (2, prompt + AGAIN)):
        left = [number for number in range(len(panels)) if number not in verdicts]
        if not left:
            break
        replies = ask(
            [([panels[number]], text) for number in left],
            max_new_tokens=max_tokens,
            temperature=temperature,
            keys=[(*keys[number], "judge", asked) for number in left],
        )
        for number, reply in zip(left, replies, strict=True):
            verdict = parse_verdict(reply, wanted, asked)
            if verdict is None and asked == 2:
                verdict = _unreadable(reply)
            if verdict:
                verdicts[number] = verdict
    return [verdicts[number] for number in range(len(panels))]


def _unreadable(reply: str) -> Verdict:
    return Verdict(False, Attributes(), None, dict.fromkeys(NOTES, ""), "", reply, 2, "the reply could not be read")


def next_caption(verdict: Verdict, current: str, wanted: Attributes) -> str:
    """The caption of the next try: the critic's, unless it gave none or its words ask for other markings."""
    revised = verdict.caption
    if not revised or wanted.contradicts(lanes.parse_instruction(revised)):
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
) -> Refinement:
    """Paint and judge until a try passes, at most `iters` times; `iters` 0 paints once and asks nobody.

    `together` tries of the same caption are painted before they are judged in one batch; of those that pass the first
    is taken, and if none does, the caption of the one with the highest score is revised.

    paint: (caption, number of the try from 1) -> picture of the source's size. source (H, W, 3) uint8, mask (H, W)
    bool. If none passes, the chosen try is the one with the critic's highest score, the earliest of equals.
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
    """A number, or a text such as "7/10", held within 0 to 10; None for anything else."""
    try:
        number = float(str(value).split("/")[0])
    except ValueError:
        return None
    return min(max(number, 0.0), 10.0) if number == number else None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:LONGEST_CAPTION].strip()
