"""JSON objects out of a language model's reply: in fences, between words, loosely spelt, or cut off at the end.

What is strict JSON is read as JSON. Else the object is read key by key: single or curly quotes, bare words, missing or
trailing commas and unescaped quotes are taken as they were meant. Of a reply that was cut, every value that had ended
is kept and the one that was cut is left out, so that no half word is taken for a whole one.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

DEEPEST = 20  # objects within objects; a reply that nests deeper says nothing
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u201e": "\u201c"}
_KEY = re.compile(r"[\s,]*([\"'\u201c\u2018]?)([\w][\w \-/]{0,60}?)[\"'\u201d\u2019]?\s*:")
_NEXT_KEY = re.compile(r"\s*[\"'\u201c\u2018][\w \-/]{1,60}[\"'\u201d\u2019]\s*:")
_BARE_END = re.compile(r"[,}\]\n]")
_BARE = {"true": True, "false": False, "null": None, "none": None, "nan": None}


def objects(reply: str) -> list[dict[str, Any]]:
    """The objects of a reply that have at least one key, in order; those inside another one are not listed again.

    A key that an object gives several different values has all of them, as a list.
    """
    found, at = [], reply.find("{")
    while at >= 0:
        value, end = _object_at(reply, at)
        found += [value] if value else []
        at = reply.find("{", end if value else at + 1)
    return found


def inner(value: Any) -> Iterator[dict[str, Any]]:
    """A value's objects, the outer ones first."""
    level = [value]
    for _ in range(DEEPEST):
        yield from (one for one in level if isinstance(one, dict))
        level = [part for one in level for part in _parts(one)]


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _object_at(text: str, start: int) -> tuple[dict[str, Any], int]:
    try:
        return json.JSONDecoder(object_pairs_hook=_joined, strict=False).raw_decode(text, start)
    except (ValueError, RecursionError):
        reader = _Loose(text, start)
        return reader.mapping(0), max(reader.at, start + 1)


def _joined(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, list] = {}
    for key, value in pairs:
        mine = values.setdefault(key, [])
        mine += [value] if value not in mine else []
    return {key: mine[0] if len(mine) == 1 else mine for key, mine in values.items()}


class _Cut(Exception):
    """The text ended within a value."""


class _Loose:
    """Reads one object from a place in a text as well as it can be read; `at` is where it has come to."""

    def __init__(self, text: str, at: int) -> None:
        self.text, self.at = text, at
        self.ended = False  # the text was cut: nothing more is read

    def mapping(self, depth: int) -> dict[str, Any]:
        pairs = []
        self.at += 1
        while not self.ended and self._more("}"):
            key = _KEY.match(self.text, self.at)
            if not key:
                self._skip()
                continue
            self.at = key.end()
            try:
                pairs.append((key[2].strip(), self._value(depth)))
            except _Cut:
                self.ended = True
        return _joined(pairs)

    def _sequence(self, depth: int) -> list[Any]:
        items = []
        self.at += 1
        while not self.ended and self._more("]"):
            try:
                items.append(self._value(depth))
            except _Cut:
                self.ended = True
        return items

    def _more(self, closing: str) -> bool:
        """Whether something stands before the closing bracket, which is passed over."""
        while self.at < len(self.text) and (self.text[self.at].isspace() or self.text[self.at] == ","):
            self.at += 1
        if self.at >= len(self.text):
            self.ended = True
            return False
        if self.text[self.at] in "}]":
            # Another bracket than the one that was opened closes it too.
            self.at += 1
            return False
        return True

    def _skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] not in ",}":
            self.at += 1

    def _value(self, depth: int) -> Any:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        if self.at >= len(self.text):
            raise _Cut
        first = self.text[self.at]
        if first in "{[":
            if depth == DEEPEST:
                raise _Cut
            return self.mapping(depth + 1) if first == "{" else self._sequence(depth + 1)
        return self._quoted(_QUOTES[first]) if first in _QUOTES else self._bare()

    def _quoted(self, closing: str) -> str:
        """A string: it ends at the quote after which the object goes on, or ends. Others in it are its own."""
        start = at = self.at + 1
        while at < len(self.text):
            if self.text[at] == "\\":
                at += 2
                continue
            if self.text[at] == closing and self._goes_on(at + 1):
                self.at = at + 1
                return _unescaped(self.text[start:at])
            at += 1
        raise _Cut

    def _goes_on(self, at: int) -> bool:
        rest = self.text[at : at + 80]
        return not rest.strip() or rest.lstrip()[0] in ",}]" or bool(_NEXT_KEY.match(rest))

    def _bare(self) -> Any:
        end = _BARE_END.search(self.text, self.at)
        if not end:
            raise _Cut
        word = self.text[self.at : end.start()].strip()
        # In a list, what cannot be read must still be passed over.
        self.at = end.start() + (end[0] == "\n" or end.start() == self.at)
        if word.lower() in _BARE:
            return _BARE[word.lower()]
        try:
            return json.loads(word)
        except ValueError:
            return word


def _unescaped(text: str) -> str:
    try:
        return json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text.replace('\\"', '"').replace("\\'", "'").replace("\\n", " ")
