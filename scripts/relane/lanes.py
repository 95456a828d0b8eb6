"""Lane-marking attributes and the sentences that carry them: prompt grammar, instructions, model replies.

One module for every stage: the dataset's captions, the LoRA's prompts, the editor's instructions and the critic's
readings all speak of markings as (count, color, pattern), and each way there has its way back here.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any

from relane.errors import InputError

COUNTS = ("single", "double", "unknown")
COLORS = ("white", "yellow", "mixed", "unknown")
PATTERNS = ("solid", "dashed", "mixed", "unknown")
ALLOWED = {"count": COUNTS, "color": COLORS, "pattern": PATTERNS}

# What every instruction ends in: the edit may change paint and nothing else.
KEEP_THE_REST = (
    "aligned exactly to the original lane positions and perspective; keep road texture, lighting, and shadows unchanged"
)

# Other words for the values above; in running text "one" is a pronoun more often than a count.
_PATTERN_WORDS = {"broken": "dashed", "continuous": "solid"}
_REPLY_WORDS = _PATTERN_WORDS | {
    "one": "single",
    "1": "single",
    "two": "double",
    "2": "double",
    "none": "unknown",
    "unclear": "unknown",
    "n/a": "unknown",
}
_MIXED_COLOR, _MIXED_PATTERN = "mixed-color", "mixed-pattern"
_PROMPT = re.compile(r"road with (\w+) (\w+) (\w+) lane markings")


@dataclass(frozen=True)
class Attributes:
    """What a lane marking looks like; `unknown` where nobody can tell. Raises InputError on any other value."""

    count: str = "unknown"
    color: str = "unknown"
    pattern: str = "unknown"

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"unknown {name} {value!r}: use one of {', '.join(allowed)}")

    def prompt(self) -> str:
        """The caption in the dataset's grammar, such as `road with single white solid lane markings`."""
        return f"road with {self.count} {self.color} {self.pattern} lane markings"

    def slug(self) -> str:
        """A folder name, such as `double-yellow-solid`."""
        return f"{self.count}-{self.color}-{self.pattern}"

    def known(self) -> dict[str, str]:
        """The attributes that are not `unknown`, by name."""
        return {name: value for name, value in asdict(self).items() if value != "unknown"}

    def contradicts(self, other: "Attributes") -> list[str]:
        """Names of the attributes that both know and see differently, in the order count, color, pattern."""
        mine, others = self.known(), other.known()
        return [name for name in mine if name in others and mine[name] != others[name]]


def parse_prompt(text: str) -> Attributes:
    """The attributes of a caption in the grammar of `Attributes.prompt`. Raises InputError outside the grammar."""
    match = _PROMPT.fullmatch(text.strip())
    if not match:
        raise InputError(f"{text!r} is no caption: expected 'road with <count> <color> <pattern> lane markings'")
    return Attributes(*match.groups())


def find_json(text: str) -> dict[str, Any] | None:
    """The first JSON object in a model's reply, whatever stands around it (fences, talk); None if there is none."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return None


def from_mapping(values: dict[str, Any]) -> Attributes | None:
    """Attributes of a JSON object with keys count, color, pattern (any case); None when one is missing or foreign."""
    folded = {str(key).strip().lower(): value for key, value in values.items()}
    found = {}
    for name, allowed in ALLOWED.items():
        value = str(folded.get(name, folded.get("colour", "") if name == "color" else "")).strip().lower()
        value = _REPLY_WORDS.get(value, value)
        if value not in allowed:
            return None
        found[name] = value
    return Attributes(**found)


def parse_reply(text: str) -> Attributes | None:
    """Attributes out of a model's reply that should be a JSON object; None when the reply does not parse."""
    values = find_json(text)
    return None if values is None else from_mapping(values)


def instruction_of(attributes: Attributes) -> str:
    """The full editing sentence for these attributes; `parse_instruction` reads them back.

    An `unknown` attribute is left out. With none known the sentence asks to repaint the markings as they are.
    """
    known = attributes.known()
    if not known:
        return f"Repaint the lane markings as they are, {KEEP_THE_REST}"
    if known.get("color") == "mixed":
        known["color"] = _MIXED_COLOR
    if known.get("pattern") == "mixed":
        known["pattern"] = _MIXED_PATTERN
    words = " ".join(known[name] for name in ("count", "pattern", "color") if name in known)
    noun = f"a {words} line" if attributes.count == "single" else f"{words} lines"
    return f"Change the lane markings to {noun}, {KEEP_THE_REST}"


def what_is_asked(text: str) -> str:
    """The part of an instruction that says what to paint, lower case: without what it says to leave alone."""
    return re.split(r",?\s*\b(?:aligned|keep|keeping|without)\b|;", text.lower(), maxsplit=1)[0].strip()


def parse_instruction(text: str) -> Attributes:
    """Attributes that an instruction asks for, `unknown` where it names none.

    Of "change the white line to a double yellow one" only what follows the last "to", "with", "into" or "by" that
    still names a marking counts. Two colors or two patterns asked for at once are `mixed`.
    """
    parts = re.split(r"\b(?:to|with|into|by)\b", what_is_asked(text))
    for part in reversed(parts):
        words = [_PATTERN_WORDS.get(word, word) for word in re.findall(r"[a-z0-9]+(?:-[a-z]+)?", part)]
        found = {
            "count": {word for word in words if word in ("single", "double")},
            "color": {word for word in words if word in ("white", "yellow", _MIXED_COLOR)},
            "pattern": {word for word in words if word in ("solid", "dashed", _MIXED_PATTERN)},
        }
        if any(found.values()):
            count = found["count"].pop() if len(found["count"]) == 1 else "unknown"
            return Attributes(count, _one_of(found["color"]), _one_of(found["pattern"]))
    return Attributes()


def _one_of(values: set[str]) -> str:
    if not values:
        return "unknown"
    value = "mixed" if len(values) > 1 else next(iter(values))
    return "mixed" if value in (_MIXED_COLOR, _MIXED_PATTERN) else value
