"""Lane-marking attributes and the sentences that carry them: prompt grammar, instructions, model replies.

One module for every stage: the dataset's captions, the LoRA's prompts, the editor's instructions and the critic's
readings all speak of markings as (count, color, pattern), and each way there has its way back here.
"""

import re
from dataclasses import asdict, dataclass
from typing import Any

from relane.errors import InputError
from relane.prompts import replies
from relane.prompts.phrases import Mention, Said, joined, mentions, undecided

COUNTS = ("single", "double", "unknown")
COLORS = ("white", "yellow", "mixed", "unknown")
PATTERNS = ("solid", "dashed", "mixed", "unknown")
ALLOWED = {"count": COUNTS, "color": COLORS, "pattern": PATTERNS}

# What every instruction ends in: the edit may change paint and nothing else.
KEEP_THE_REST = (
    "aligned exactly to the original lane positions and perspective; keep road texture, lighting, and shadows unchanged"
)

# What a reply says where it can tell nothing.
_UNKNOWN = re.compile(
    r"\W*(?:unknown|none|unclear|unsure|uncertain|undetermined|indeterminate|unidentifiable|nothing|invisible|n/?a|"
    r"(?:not|cannot|can't|can not|hard to|no)\b.*)\W*"
)
_MIXED_COLOR, _MIXED_PATTERN = "mixed-color", "mixed-pattern"
# Words after which the new marking stands; `joined` has taken out those of "next to" and the like.
_CHANGES = re.compile(r"\b(?:to|with|into|by|becom(?:es?|ing)|(?:should|shall|must) be)\b")
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


@dataclass(frozen=True)
class Reading:
    """What words say of a marking: its attributes, which of them were readable, and (name, value) that were denied.

    An attribute is readable where its words are of the grammar; "unknown" is, a foreign word is not.
    """

    attributes: Attributes = Attributes()
    readable: frozenset[str] = frozenset()
    denied: frozenset[tuple[str, str]] = frozenset()

    def contradicted(self, wanted: Attributes) -> list[str]:
        """Names of the attributes of `wanted` that are seen differently, or denied, in the order of `ALLOWED`."""
        other = wanted.contradicts(self.attributes)
        return [name for name, value in wanted.known().items() if name in other or (name, value) in self.denied]

    def vouches(self, wanted: Attributes) -> bool:
        """Whether it says anything of what is wanted; where nothing definite is, whether it says anything."""
        known = wanted.known()
        return any(name in self.attributes.known() for name in known) if known else bool(self.readable)


# Keys of a reply that mean the attribute, keys of words about a whole line, and keys within which a value may stand.
_KEYS = {
    "count": ("count", "number", "quantity", "lines"),
    "color": ("color", "colour", "colors", "colours"),
    "pattern": ("pattern", "style", "type"),
}
_WHOLE_KEYS = {"marking", "markings", "line", "lines", "lane", "lanes", "left", "right", "description", "result"}
_VALUE_KEYS = ("value", "label", "name", "answer")


def read_values(seen: Any) -> Reading:
    """What a reply's value says: an object by attribute, a list of these (several lines), or words.

    Each attribute is read alone. Lines of several colors or patterns are `mixed`; several counts are no reading.
    """
    found = {name: _gathered(name, seen) for name in ALLOWED}
    values = {name: _one_value(name, said) for name, (said, _) in found.items()}
    return Reading(
        Attributes(**{name: value or "unknown" for name, value in values.items()}),
        frozenset(name for name, value in values.items() if value),
        frozenset((name, value) for name, (said, denied) in found.items() for value in denied - said),
    )


def _gathered(name: str, seen: Any) -> tuple[set[str | None], set[str]]:
    """All that is said of an attribute (None: what cannot be read), and what is denied of it."""
    if isinstance(seen, list):
        parts = [_gathered(name, one) for one in seen]
    elif isinstance(seen, dict):
        folded = [(re.sub(r"[\W_]+", " ", str(key)).strip().lower(), value) for key, value in seen.items()]
        mine = [value for key, value in folded if set(key.split()) & set(_KEYS[name])]
        if mine:
            parts = [_read_value(name, value) for value in mine]
        else:  # lines that are described one by one
            parts = [
                _gathered(name, value)
                for key, value in folded
                if isinstance(value, (dict, list)) or set(key.split()) & _WHOLE_KEYS
            ]
    else:
        said, denied = _read_value(name, seen) if isinstance(seen, str) else (set(), set())
        # Words that do not speak of an attribute say nothing of it.
        return said - {None}, denied
    return set().union(*(said for said, _ in parts)), set().union(*(denied for _, denied in parts))


def _one_value(name: str, said: set[str | None]) -> str | None:
    """One value of all that were given, None where there is none to be had."""
    known = said - {None, "unknown"}
    if len(known) > 1:
        return None if name == "count" else "mixed"
    if known:
        return known.pop()
    return "unknown" if said == {"unknown"} else None


def _read_value(name: str, value: Any) -> tuple[set[str | None], set[str]]:
    """What one value says of its attribute, and what it denies."""
    if isinstance(value, list):
        parts = [_read_value(name, one) for one in value]
        return set().union(*(said for said, _ in parts)), set().union(*(denied for _, denied in parts))
    if isinstance(value, dict):
        inside = [part for key, part in value.items() if str(key).lower() in (*_VALUE_KEYS, *_KEYS[name])]
        return _read_value(name, inside or [part for part in value.values() if isinstance(part, (str, list, dict))])
    if value is None:
        return {"unknown"}, set()
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{value:g}"
    if not isinstance(value, str):
        return {None}, set()
    text = value.strip().lower()
    if text in ALLOWED[name]:
        return {text}, set()
    here = [one for one in mentions(text) if one.name == name]
    denied = {one.value for one in here if one.said is Said.DENIED}
    said = {one.value for one in here if one.said in (Said.OF_IT, Said.OF_THE_EDGE) and not one.numeral}
    said = said or {one.value for one in here if one.said is Said.OF_IT}
    if name != "count" and re.search(r"\bmixed\b" if said else r"\b(?:mixed|both)\b", text):
        said = {"mixed"}
    if len(said) > 1 and undecided(text):
        return {None}, denied
    if not said and _UNKNOWN.fullmatch(text):
        return {"unknown"}, denied
    return said or {None}, denied


def parse_reply(text: str) -> Reading:
    """What a model's reply says of the markings: the first of its JSON objects of which an attribute is readable."""
    for value in replies.objects(text):
        reading = read_values(value)
        if reading.readable:
            return reading
    return Reading()


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
    """Attributes that an instruction asks for, `unknown` where it names none: those of `read_sentence`."""
    return read_sentence(text).attributes


def read_sentence(text: str) -> Reading:
    """What an instruction or a caption asks for, and what it denies.

    Of "change the white line to a double yellow one" what follows "to", "with", "into" or "by" counts, of an attribute
    that is named after several of them the last. What a marking lies next to, and other things' colors, do not. Two
    colors or two patterns asked for at once are `mixed`.
    """
    parts = [mentions(part) for part in _CHANGES.split(joined(what_is_asked(text)))]
    denied = frozenset((one.name, one.value) for part in parts for one in part if one.said is Said.DENIED)
    for said in (Said.OF_IT, Said.OF_THE_EDGE, Said.ASIDE):
        here = [[one for one in part if one.said is said and not one.numeral] for part in parts]
        here = here[1:] if any(here[1:]) else here[:1]
        if any(here):
            attributes = Attributes(*(_asked(name, here) for name in ALLOWED))
            return Reading(attributes, frozenset(attributes.known()), denied - set(attributes.known().items()))
    return Reading(denied=denied)


def _asked(name: str, parts: list[list[Mention]]) -> str:
    """An attribute's value by the last part of a sentence that names it."""
    said = next((named for part in reversed(parts) if (named := [one for one in part if one.name == name])), [])
    said = [one for one in said if one.predicate] or said
    return _one_value(name, {one.value for one in said}) or "unknown"
