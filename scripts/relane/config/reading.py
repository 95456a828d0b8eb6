"""What a user gave as configuration: coerced, validated, and told apart by what is a reason to run again."""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from relane.config.arguments import coerced, kinds, settled
from relane.config.option import describe, first
from relane.config.schema import DROPPED, Config, every_key, json_schema
from relane.errors import InputError


def words_given(arguments: Iterable[str]) -> dict[str, str]:
    """What `--config key=value ...` said of each key of the top level, to the letter but for quotes around it.

    Snakemake hands on a number for whatever looks like one: of run="003" only 3 would be left.
    """
    pairs = (argument.partition("=") for argument in arguments)
    return {key: value.strip("'\"") for key, sign, value in pairs if sign}


def take_words(config: dict[str, Any], given: Mapping[str, str] | None = None) -> None:
    """Make numbers and truth values of words where they are asked for, and words of numbers, in place.

    Snakemake hands on words for what stands inside a section or a list, --config 'video={stride: 8, compile: true}',
    and a number for a name that looks like one; `given` says how it was written (`words_given`).
    """
    for name, word in (given or {}).items():
        names_text = "string" in kinds(json_schema()["properties"].get(name, {}))
        if names_text and isinstance(config.get(name), bool | int | float):
            config[name] = word
    coerced(config, json_schema())


def validate(config: Mapping[str, Any]) -> None:
    """Raise InputError for the first wrong key or value: its full name, what is wrong, and the nearest right name."""
    _refuse_dropped(config)
    try:
        Config.model_validate(config)
    except ValidationError as error:
        place, one = first(error, config)
        if one["type"] == "extra_forbidden":
            raise InputError(_unknown([str(part) for part in place])) from None
        hint = ' (quote it: run: "003")' if place == ["run"] and one["type"] == "string_type" else ""
        raise InputError(f"config: {describe(error, config)}{hint}") from None


def _unknown(place: list[str]) -> str:
    """What is said of a key that there is not."""
    *section, name = place
    known = json_schema()
    for part in section:
        known = known["properties"][part] if part in known.get("properties", {}) else known["additionalProperties"]
    where = ".".join(section) or "the top level"
    return f"config: unknown key {name!r} in {where}{nearest(name, known['properties'], every_key())}"


def _refuse_dropped(config: Mapping[str, Any]) -> None:
    for name, why in DROPPED.items():
        section, _, key = name.partition(".")
        if isinstance(config.get(section), Mapping) and key in config[section]:
            raise InputError(f"config: there is no key {name} any more: {why}")


def nearest(unknown: str, known: Iterable[str], everywhere: Iterable[tuple[str, Any]] = ()) -> str:
    """The end of a sentence about a name that is not known: the nearest that is, or all of them.

    everywhere: every key of the configuration (`every_key`), where it is one of its keys that is not known.
    """
    known, everywhere = list(known), [name for name, _ in everywhere]
    close = difflib.get_close_matches(unknown, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    elsewhere = [name for name in everywhere if name.rsplit(".", 1)[-1] == unknown]
    if elsewhere:
        return f"; {unknown!r} belongs at {elsewhere[0]!r}"
    what = "known keys" if everywhere else "there are"
    return f"; {what}: {', '.join(known) or 'none'}"


def canonical(config: Mapping[str, Any]) -> str:
    """The resolved configuration as one JSON text: equal configurations have equal texts, however they are spelled."""
    return json.dumps(settled(config), sort_keys=True)


def identity(config: Mapping[str, Any], schema: dict | None = None) -> dict[str, Any]:
    """The configuration without what is declared `rerun=False`: where things lie and run changes no result."""
    known = (json_schema() if schema is None else schema).get("properties", {})
    reasons = {key: value for key, value in config.items() if known.get(key, {}).get("rerun", True)}
    return {
        key: identity(value, known.get(key, {})) if isinstance(value, Mapping) else value
        for key, value in reasons.items()
    }
