"""The run's configuration: check it against config/schema.yaml, and turn a section into a script's flags."""

import contextlib
import difflib
import functools
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from relane.errors import InputError

SCHEMA = Path(__file__).parents[2] / "config" / "schema.yaml"


@functools.cache
def load_schema(path: Path = SCHEMA) -> dict:
    """The JSON schema of the configuration, kept as YAML so that it can be read by people."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def take_words(config: dict[str, Any], schema: dict | None = None) -> None:
    """Make numbers and truth values of words where the schema asks for them, in place; `settled` writes every value.

    Snakemake hands on words for what stands inside a section: --config 'video={stride: 8, compile: true}'.
    """
    schema = load_schema() if schema is None else schema
    for name, sub in schema.get("properties", {}).items():
        value = config.get(name)
        if isinstance(value, dict):
            # Names of one's own (datasets, loras) all have the same keys.
            take_words(
                value,
                sub
                if "properties" in sub
                else {"properties": dict.fromkeys(value, sub.get("additionalProperties", {}))},
            )
        elif isinstance(value, str) and {"boolean", "integer", "number"} & set(_types(sub)):
            # What is no number and no truth value stays, for `validate` to name.
            with contextlib.suppress(ValueError):
                config[name] = settled(json.loads(value.lower()))
        elif name in config:
            config[name] = settled(value)


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
    errors = sorted(validator.iter_errors(config), key=lambda error: (len(error.path), list(map(str, error.path))))
    if not errors:
        return
    error = errors[0]
    key = ".".join(map(str, error.absolute_path)) or "the top level"
    if error.validator == "additionalProperties":
        known = list(error.schema["properties"])
        unknown = sorted(set(error.instance) - set(known))
        raise InputError(f"config: unknown key {unknown[0]!r} in {key}{_nearest(unknown[0], known, schema)}")
    if error.validator == "type":
        hint = ' (quote it: run: "003")' if key == "run" else ""
        found = type(error.instance).__name__
        raise InputError(
            f"config: {key} must be of type {error.validator_value}, not {found}: {error.instance!r}{hint}"
        )
    raise InputError(f"config: {key}: {error.message}")


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


def _nearest(unknown: str, known: list[str], schema: dict) -> str:
    close = difflib.get_close_matches(unknown, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    elsewhere = [name for name, _ in keys(schema) if name.rsplit(".", 1)[-1] == unknown]
    if elsewhere:
        return f"; {unknown!r} belongs at {elsewhere[0]!r}"
    return f"; known keys: {', '.join(known)}"


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
