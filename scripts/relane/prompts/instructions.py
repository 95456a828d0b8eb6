"""The instructions of a run: from a sheet, a string or a shorthand to an ordered list with safe folder names.

Imported while Snakemake plans, so it needs the standard library alone.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from relane.arms import RESERVED
from relane.errors import InputError
from relane.io.csvfile import read_csv
from relane.prompts.lanes import ALLOWED, Attributes, instruction_of, parse_instruction, what_is_asked

# Arms that every run has beside its instructions; their folders stand next to the instructions' folders.
LONGEST_SLUG = 60

_MARKING = re.compile(r"\b(lanes?|lines?|markings?|stripes?|striping|dash(?:es)?|crosswalks?|arrows?)\b")


@dataclass(frozen=True)
class Instruction:
    """One edit: folder name (`[a-z0-9-]+`), full text, and what it asks for (None when it names no attribute)."""

    slug: str
    text: str
    attributes: Attributes | None


def slugify(text: str) -> str:
    """Lower-case ASCII letters, digits and single dashes: `double yellow solid` -> `double-yellow-solid`."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def load(source: str | Path | Iterable[str]) -> list[Instruction]:
    """Instructions from a `.csv` sheet's path, a text (`||` or newlines between), or a list of texts.

    Raises InputError that names the row and says what to do; see `read_sheet` and `read_texts`.
    """
    if isinstance(source, Path) or (isinstance(source, str) and source.strip().lower().endswith(".csv")):
        return read_sheet(source)
    if isinstance(source, str):
        source = re.split(r"\|\||\r?\n", source)
    return read_texts(source)


def read_sheet(path: str | Path) -> list[Instruction]:
    """Instructions from a CSV sheet with the columns slug and instruction; a blank slug is derived from the text.

    Raises InputError for a missing file, a missing column, an empty sheet, a row with a stray comma, and whatever
    is wrong with one instruction or with two of the same folder name.
    """
    wanted = []
    for row in read_csv(path, ("slug", "instruction"), "config key 'instructions' names a sheet with slug,instruction"):
        where, text, slug = f"{path} line {row.number}", row.cells["instruction"], row.cells["slug"]
        if not text and slug:
            raise InputError(f"{where}: slug {slug!r} has no instruction; write one or delete the row")
        if text:
            wanted.append((where, slug, text))
    if not wanted:
        raise InputError(f"{path}: the sheet has no instructions; add a row such as ',lane double yellow solid'")
    return _all_different(wanted)


def read_texts(texts: Iterable[str]) -> list[Instruction]:
    """Instructions from texts, blank ones left out; their folder names are derived. Raises InputError as the sheet."""
    wanted = [
        (f"instructions, number {number}", "", text.strip()) for number, text in enumerate(texts, 1) if text.strip()
    ]
    if not wanted:
        raise InputError("instructions: the text is empty; write at least one, such as 'lane double yellow solid'")
    return _all_different(wanted)


def expand_shorthand(text: str) -> Attributes | None:
    """Attributes of `lane <count> <color> <pattern>`, or None when the text is no shorthand.

    A text of at most four words that begins with "lane" is taken as meant to be one. Raises InputError that names
    the allowed words.
    """
    words = text.lower().split()
    if not words or words[0] != "lane" or len(words) > 4:
        return None
    if len(words) < 4:
        raise InputError(f"{text!r} is too short: the shorthand is 'lane <count> <color> <pattern>'")
    for (name, allowed), word in zip(ALLOWED.items(), words[1:], strict=True):
        paintable = [value for value in allowed if value != "unknown"]
        if word not in paintable:
            raise InputError(f"unknown {name} {word!r} in {text!r}: use one of {', '.join(paintable)}")
    return Attributes(*words[1:])


def make(text: str, slug: str = "") -> Instruction:
    """One instruction from its text (a sentence or the shorthand) and, if given, its folder name.

    Raises InputError for a foreign word in the shorthand, an instruction that asks for nothing paintable, and a
    folder name that is reserved, unsafe or cannot be derived.
    """
    attributes = expand_shorthand(text)
    if attributes:
        text = instruction_of(attributes)
    else:
        attributes = parse_instruction(text)
        # A text of two attributes ("double yellow") needs no noun; "a white car" is not ours to paint.
        if not _MARKING.search(what_is_asked(text)) and len(attributes.known()) < 2:
            raise InputError(
                f"{text!r} asks for nothing paintable: name the lane markings and what they should become, "
                "such as 'lane single yellow dashed'"
            )
    return Instruction(_slug(slug, text, attributes), text, attributes if attributes.known() else None)


def _slug(given: str, text: str, attributes: Attributes) -> str:
    if given:
        slug = re.sub(r"[\s_]+", "-", given.strip().lower())
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", slug) or len(slug) > LONGEST_SLUG:
            raise InputError(
                f"slug {given!r} is no safe folder name: use at most {LONGEST_SLUG} of a-z, 0-9 and '-', "
                "beginning with a letter or digit"
            )
    else:
        complete = len(attributes.known()) == len(ALLOWED)
        slug = attributes.slug() if complete else slugify(what_is_asked(text))[:LONGEST_SLUG].strip("-")
        if not slug:
            raise InputError(f"no folder name can be made from {text!r}: give the row a slug of a-z, 0-9 and '-'")
    if slug in RESERVED:
        raise InputError(f"slug {slug!r} is reserved for the arm of that name: choose another")
    return slug


def _all_different(wanted: list[tuple[str, str, str]]) -> list[Instruction]:
    made: dict[str, tuple[str, Instruction]] = {}
    for where, slug, text in wanted:
        try:
            instruction = make(text, slug)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        if instruction.slug in made:
            raise InputError(
                f"{where}: makes the same folder name {instruction.slug!r} as {made[instruction.slug][0]}; "
                "delete one, or give them different slugs in a sheet"
            )
        made[instruction.slug] = (where, instruction)
    return [instruction for _, instruction in made.values()]
