"""What words say of a lane marking: each word that names a count, a color or a pattern, and what it belongs to.

A word is asserted, denied ("not yellow", "instead of white"), or said of something else: of the edge line, of what the
marking lies next to, of a car. Sentences are cut at punctuation, because a negation does not reach beyond it.

Read while Snakemake plans, so it needs the standard library alone.
"""

import re
from dataclasses import dataclass
from enum import Enum


def _words(text: str) -> set[str]:
    return set(text.split())


_VALUES = {
    "count": {"single": "single", "double doubled": "double"},
    "color": {
        "white whites whitish off-white": "white",
        "yellow yellows yellowish amber golden": "yellow",
        "mixed-color": "mixed",
    },
    "pattern": {
        "solid continuous unbroken uninterrupted": "solid",
        "dashed dash dashes broken dotted discontinuous intermittent segmented": "dashed",
        "mixed-pattern": "mixed",
    },
}
_WORDS = {
    word: (name, value) for name, values in _VALUES.items() for words, value in values.items() for word in _words(words)
}
# In running text "one" is a pronoun more often than a count: these count only where a count is asked for.
NUMERALS = {"one": "single", "1": "single", "two": "double", "2": "double", "pair": "double", "twin": "double"}

_LINES = re.compile(r"lines?|markings?|stripes?|striping|paint|ones?|dividers?|cent(?:er|re)lines?")
# What may stand between a word and its noun.
_FILLERS = _words(
    "a an the of lane lanes road roads highway street center centre central middle left right main painted bright "
    "clear clean crisp fresh freshly new thin thick wide parallel reflective color colour colored coloured pattern "
    "patterned type style"
)
_EDGES = _words("edge edges shoulder border kerb curb kerbside curbside roadside fog")
_OTHERS = _words(
    "car cars vehicle vehicles truck trucks van vans bus buses lorry lorries trailer trailers motorcycle motorcycles "
    "bike bikes bicycle bicycles taxi suv sedan sky clouds cloud arrow arrows crosswalk crosswalks crossing zebra sign "
    "signs wall walls barrier barriers guardrail rail fence building buildings house houses light lights headlights "
    "lamp sun sunlight snow reflector reflectors stud studs post posts pole cone cones asphalt pavement tarmac "
    "concrete ground surface background texture shadow shadows tree trees grass pedestrian letters text"
)
_ROADS = {"road", "roads", "highway", "street"}

# Phrases of several words, as one sign each: what follows is denied, or said of something beside the marking.
_DENIES, _ASIDE = "\u00ac", "\u2225"
_PHRASES = [
    (r"\bmixed[- ]colou?r(?:s|ed)?\b", "mixed-color"),
    (r"\bmixed[- ]patterns?\b", "mixed-pattern"),
    (r"\boff[- ]white\b", "off-white"),
    (r"\b(?:and|then) (?:re)?(?:paint|add|draw|make|use|put)\b", ","),
    (r"\b(?:instead of|rather than|other than|as opposed to|in place of|no longer|nothing)\b", _DENIES),
    (r"\b(?:not|no|non|never|without|neither|nor|cannot|isnt|arent|lacks?|lacking|removed?|erased?|except)\b", _DENIES),
    (r"n['\u2019]t\b", f" {_DENIES}"),
    (r"\b(?:next|adjacent|closer?|parallel|opposite|relative|compared|similar|identical|perpendicular) to\b", _ASIDE),
    (r"\breplac(?:e|es|ed|ing)\b", _ASIDE),
    (r"\b(?:attached|belong\w*|according|leading|related|up|due|thanks|in addition|in contrast|relation) to\b", _ASIDE),
    (r"\bto (?:match|replace|keep|separate|mark|follow|fit|blend|resemble|avoid|cover|hide|divide)\b", _ASIDE),
    (r"\bto (?:the|its|their|either|each) (?:\w+ )?(?:left|right|sides?|edges?|rear|front|outside|inside)\b", _ASIDE),
    (r"\b(?:left|right|inside|outside|front|ahead) of\b", _ASIDE),
    (r"\b(?:besides?|near|nearby|along|alongside|against|between|behind|under|above|over|where|like|unlike)\b", _ASIDE),
    (r"\b(?:from|was|were|formerly|previously|originally)\b", _ASIDE),
]
# "Lines by the kerb" lie beside it, "replaced by the kerb's color" do not.
_BY, _REPLACED = r"\bby (?:the|its|their)\b", re.compile(r"\b(?:replac|swap|exchang|substitut)")
_SWAPPED = re.compile(r"\b(?:swap|exchang)")
_TOKEN = re.compile(rf"mixed-\w+|off-white|[a-z0-9]+|[,;.:()|{_DENIES}{_ASIDE}]")
_ENDS = set(",;.:()|")
_NEW_CLAUSE = {"but", "now", "while", "whereas", "to", "into"}
# After a value: "yellow lines are not visible" denies yellow, "yellow lines are not dashed" does not.
_SEEN = "visible|present|seen|there|shown|used|found|painted|$"
_GONE = re.compile(rf"(?:\w+ ){{0,3}}?(?:is|are) ?(?:{_DENIES} ?(?:{_SEEN})|absent|missing)")


class Said(Enum):
    """How a word is meant: of the marking, of the line at the road's edge, of what it lies beside, or denied."""

    OF_IT = 1
    OF_THE_EDGE = 2
    ASIDE = 3
    DENIED = 4


@dataclass(frozen=True)
class Mention:
    """A word that names a value of an attribute.

    numeral: whether it is a number. predicate: whether it stands after the line that it speaks of, as in "paint the
    white line yellow".
    """

    name: str
    value: str
    said: Said
    numeral: bool = False
    predicate: bool = False


def joined(text: str) -> str:
    """A text in lower case with each phrase that reverses or turns aside what follows as one sign."""
    text = text.lower()
    phrases = [(r"\bfor\b", "to")] if _SWAPPED.search(text) else []
    phrases += _PHRASES if _REPLACED.search(text) else [*_PHRASES, (_BY, _ASIDE)]
    for phrase, sign in phrases:
        text = re.sub(phrase, f" {sign} " if sign in (_DENIES, _ASIDE) else sign, text)
    return text


def tokens(text: str) -> list[str]:
    """Words and signs of a text, lower case; hyphens part words."""
    return _TOKEN.findall(joined(text))


def mentions(text: str) -> list[Mention]:
    """What a text says of a lane marking, in the order of its words; what it says of other things is left out."""
    words = tokens(text)
    found, denied, aside = [], False, False
    for place, word in enumerate(words):
        if word in _ENDS or word in _NEW_CLAUSE:
            denied = aside = False
        elif word == _DENIES:
            denied = True
        elif word == _ASIDE:
            aside = True
        elif word in _WORDS or word in NUMERALS:
            name, value = _WORDS.get(word) or ("count", NUMERALS[word])
            said = _belongs(words[place + 1 :])
            if aside:
                said = Said.ASIDE if said is Said.OF_IT else None
            elif said and (denied or _GONE.match(" ".join(words[place + 1 : place + 9]))):
                said = Said.DENIED
            if said:
                predicate = place > 0 and words[place - 1] != "paint" and bool(_LINES.fullmatch(words[place - 1]))
                found.append(Mention(name, value, said, word in NUMERALS, predicate))
    return found


def undecided(text: str) -> bool:
    """Whether a text leaves a choice: "single or double", "white/yellow or unknown"."""
    return bool(re.search(r"\bor\b", text.lower()))


def _belongs(following: list[str]) -> Said | None:
    """Whom a word describes, by the noun that follows it: the marking, the edge line, or (None) something else."""
    last = ""
    for word in following:
        if word in _EDGES:
            return Said.OF_THE_EDGE
        if word in _OTHERS:
            return None
        if _LINES.fullmatch(word):
            return Said.OF_IT
        if word not in _FILLERS and word not in _WORDS and word not in NUMERALS:
            break
        last = word
    return None if last in _ROADS else Said.OF_IT
