"""The run's configuration: check it against config/schema.yaml, and turn a section into a script's flags."""

import difflib
import functools
import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from relane.errors import InputError

SCHEMA = Path(__file__).parents[2] / "config" / "schema.yaml"


@functools.cache
def load_schema(path: Path = SCHEMA) -> dict:
    """The JSON schema of the configuration, kept as YAML so that it can be read by people."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def words_given(arguments: Iterable[str]) -> dict[str, str]:
    """What `--config key=value ...` said of each key of the top level, to the letter but for quotes around it.

    Snakemake hands on a number for whatever looks like one: of run="003" only 3 would be left.
    """
    pairs = (argument.partition("=") for argument in arguments)
    return {key: value.strip("'\"") for key, sign, value in pairs if sign}


def take_words(config: dict[str, Any], schema: dict | None = None, given: Mapping[str, str] | None = None) -> None:
    """Make numbers and truth values of words where the schema asks for them, and words of numbers, in place.

    Snakemake hands on words for what stands inside a section or a list, --config 'video={stride: 8, compile: true}',
    and a number for a name that looks like one; `given` says how it was written (`words_given`).
    """
    schema = load_schema() if schema is None else schema
    for name, word in (given or {}).items():
        kinds = _types(schema.get("properties", {}).get(name, {}))
        if "string" in kinds and isinstance(config.get(name), bool | int | float):
            config[name] = word
    _take(config, schema, schema.get("$defs", {}))


def _take(value: Any, sub: dict, defs: dict) -> Any:
    """The value as the schema wants it, in its settled form; mappings and lists are changed in place."""
    sub = defs[sub["$ref"].rpartition("/")[2]] if "$ref" in sub else sub
    if isinstance(value, dict):
        others = sub.get("additionalProperties")
        for name, item in value.items():
            about = sub.get("properties", {}).get(name, others if isinstance(others, dict) else {})
            value[name] = _take(item, about, defs)
    elif isinstance(value, list):
        value[:] = [_take(item, sub.get("items", {}), defs) for item in value]
    elif isinstance(value, str):
        # What is no number and no truth value stays, for `validate` to name.
        taken = _word(value)
        if "enum" in sub:
            return taken if value not in sub["enum"] and taken in sub["enum"] else value
        return settled(taken) if {"boolean", "integer", "number"} & set(_types(sub)) else value
    else:
        return settled(value)
    return value


def _word(text: str) -> Any:
    """A word as JSON reads it, or as people write truth values; any other stays."""
    plain = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(text.lower(), text.lower())
    try:
        return json.loads(plain)
    except ValueError:
        return text


def settled(value: Any) -> Any:
    """A value as it is written once and for all: 10.0 is 10, a mapping's keys are sorted, also inside of lists."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: settled(value[key]) for key in sorted(value, key=str)}
    return [settled(item) for item in value] if isinstance(value, list | tuple) else value


def _types(sub: dict) -> list[str]:
    kinds = sub.get("type", [])
    return [kinds] if isinstance(kinds, str) else kinds


def validate(config: Mapping[str, Any], schema: dict | None = None) -> None:
    """Raise InputError for the first wrong key or value: its full name, what is wrong, and the nearest right name."""
    import jsonschema

    schema = schema or load_schema()
    validator = jsonschema.Draft202012Validator(schema)
    _refuse_dropped(config)
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.path), list(map(str, error.path))))
    if not errors:
        _refuse_endless(config)
        return
    error = errors[0]
    key = ".".join(map(str, error.absolute_path)) or "the top level"
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(known))
        raise InputError(f"config: unknown key {unknown[0]!r} in {key}{nearest(unknown[0], known, schema)}")
    if error.validator == "type":
        hint = ' (quote it: run: "003")' if key == "run" else ""
        found = type(error.instance).__name__
        raise InputError(
            f"config: {key} must be of type {error.validator_value}, not {found}: {error.instance!r}{hint}"
        )
    raise InputError(f"config: {key}: {error.message}")


# Keys of earlier versions, and what became of them.
DROPPED = {
    "sam2.max_frames": "a clip has one length, clip.max_frames, and all of it is segmented; delete the line",
}


def _refuse_dropped(config: Mapping[str, Any]) -> None:
    for name, why in DROPPED.items():
        section, _, key = name.partition(".")
        if isinstance(config.get(section), Mapping) and key in config[section]:
            raise InputError(f"config: there is no key {name} any more: {why}")


def _refuse_endless(value: Any, name: str = "") -> None:
    """No number of the configuration may be NaN or infinite: every comparison with one says nothing."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            _refuse_endless(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            _refuse_endless(item, f"{name}.{number}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"config: {name} is {value}: give a number")


def keys(schema: dict, prefix: str = "") -> Iterator[tuple[str, dict]]:
    """Every key of the schema as (dotted name, its sub-schema), sections before their keys."""
    for name, sub in schema.get("properties", {}).items():
        yield f"{prefix}{name}", sub
        yield from keys(sub, f"{prefix}{name}.")


def canonical(config: Mapping[str, Any]) -> str:
    """The resolved configuration as one JSON text: equal configurations have equal texts, however they are spelled."""
    return json.dumps(settled(config), sort_keys=True)


def identity(config: Mapping[str, Any], schema: dict | None = None) -> dict[str, Any]:
    """The configuration without what the schema marks `rerun: false`: where things lie and run changes no result."""
    schema = load_schema() if schema is None else schema
    known = schema.get("properties", {})
    reasons = {key: value for key, value in config.items() if known.get(key, {}).get("rerun", True)}
    return {
        key: identity(value, known.get(key, {})) if isinstance(value, Mapping) else value
        for key, value in reasons.items()
    }


def nearest(unknown: str, known: Iterable[str], schema: dict | None = None) -> str:
    """The end of a sentence about a name that is not known: the nearest that is, or all of them."""
    known = list(known)
    close = difflib.get_close_matches(unknown, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    elsewhere = [name for name, _ in keys(schema or {}) if name.rsplit(".", 1)[-1] == unknown]
    if elsewhere:
        return f"; {unknown!r} belongs at {elsewhere[0]!r}"
    what = "known keys" if schema else "there are"
    return f"; {what}: {', '.join(known) or 'none'}"


def flags(section: Mapping[str, Any], leave_out: tuple[str, ...] = ()) -> str:
    """A section as command-line flags, quoted for the shell: {"max_frames": 9} -> "--max-frames 9".

    Booleans become true or false; lists and mappings become one JSON string; None is left out. The text is a job's
    identity: neither the keys' order nor the spelling of a number (10.0 for 10) shows in it.
    """
    words = []
    for key, value in settled(section).items():
        if key in leave_out or value is None:
            continue
        if isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, (list, dict)):
            text = json.dumps(value, separators=(",", ":"), sort_keys=True)
        else:
            text = str(value)
        # `--key=value`, so that a value that starts with a dash is not read as a flag.
        words.append(shlex.quote(f"--{key.replace('_', '-')}={text}"))
    return " ".join(words)
