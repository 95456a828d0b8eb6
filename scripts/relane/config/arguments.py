"""A section's options as a script's flags, and back."""

import json
import shlex
from argparse import ArgumentParser, _ArgumentGroup
from collections.abc import Callable, Collection, Mapping
from typing import Any

from relane.config.option import Section
from relane.errors import InputError

_TRUTHS = {"yes": True, "on": True, "true": True, "1": True, "no": False, "off": False, "false": False, "0": False}


def kinds(sub: Mapping[str, Any]) -> set[str]:
    """The types that a JSON schema of one key allows."""
    several = [kind for one in (*sub.get("oneOf", ()), *sub.get("anyOf", ())) for kind in kinds(one)]
    return {*several, *([sub["type"]] if "type" in sub else [])}


def coerced(value: Any, sub: Mapping[str, Any]) -> Any:
    """The value as the schema wants it, in its settled form; mappings and lists are changed in place.

    Words become numbers and truth values where those are asked for. What is none stays, for validation to name.
    """
    if isinstance(value, dict):
        others = sub.get("additionalProperties") or {}
        for name, item in value.items():
            value[name] = coerced(item, sub.get("properties", {}).get(name, others))
    elif isinstance(value, list):
        inner = next((one for one in (sub, *sub.get("oneOf", ())) if "items" in one), {})
        value[:] = [coerced(item, inner.get("items", {})) for item in value]
    elif not isinstance(value, str):
        return settled(value)
    elif "enum" in sub:
        meant = [choice for choice in sub["enum"] if choice == _number(value) or choice is _TRUTHS.get(value.lower())]
        return meant[0] if meant and value not in sub["enum"] else value
    elif "boolean" in kinds(sub):
        return _TRUTHS.get(value.lower(), value)
    elif {"integer", "number"} & kinds(sub):
        return settled(_number(value))
    return value


def _number(word: str) -> Any:
    """A number that a word stands for; any other stays."""
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word


def settled(value: Any) -> Any:
    """A value as it is written once and for all: 10.0 is 10, a mapping's keys are sorted, also inside of lists."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: settled(value[key]) for key in sorted(value, key=str)}
    return [settled(item) for item in value] if isinstance(value, list | tuple) else value


def add_options(
    parser: ArgumentParser | _ArgumentGroup,
    section: type[Section],
    only: Collection[str] = (),
    leave_out: Collection[str] = (),
) -> None:
    """Give a script the flags of a section's options: `--key-with-dashes`, with default, choices, bounds and help.

    only: these keys; else all but those of leave_out. A wrong value raises InputError that names the key. Truth values
    are `true` or `false`; lists are one JSON string, and lists when they are read.
    """
    for name, sub in section.model_json_schema()["properties"].items():
        # A section in a section is one for `add_options` to be called with.
        if name in leave_out or (only and name not in only) or "$ref" in sub:
            continue
        default = section.model_fields[name].get_default()
        preset = f"{_written(default) or 'blank'} {sub.get('unit', '')}".rstrip()
        choices = "{" + ",".join(map(_written, sub["enum"])) + "}" if "enum" in sub else None
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=_reader(section, name, sub),
            default=default,
            metavar="{true,false}" if sub.get("type") == "boolean" else choices,
            help=f"{sub['description'].rstrip('.')} (default: {preset})".replace("%", "%%"),
        )


def _reader(section: type[Section], name: str, sub: Mapping[str, Any]) -> Callable[[str], Any]:
    """Argparse's type of an option: its word, coerced and checked by the section's declaration."""

    def read(word: str) -> Any:
        value: Any = word
        if "array" in kinds(sub):
            try:
                value = json.loads(word)
            except ValueError:
                raise InputError(f"{section.KEY}.{name}: expected a JSON list, got {word!r}") from None
        return getattr(section.read({name: coerced(value, sub)}), name)

    return read


def flags(section: Mapping[str, Any], leave_out: Collection[str] = ()) -> str:
    """A section as command-line flags, quoted for the shell: {"max_frames": 9} -> "--max-frames 9".

    Booleans become true or false; lists and mappings become one JSON string; None is left out. The text is a job's
    identity: neither the keys' order nor the spelling of a number (10.0 for 10) shows in it.
    """
    # `--key=value`, so that a value that starts with a dash is not read as a flag.
    return " ".join(
        shlex.quote(f"--{key.replace('_', '-')}={_written(value)}")
        for key, value in settled(section).items()
        if key not in leave_out and value is not None
    )


def _written(value: Any) -> str:
    """A value as a flag's word."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, separators=(",", ":"), sort_keys=True) if isinstance(value, list | dict) else str(value)
