"""Addresses without their secrets: no login, token or signature of a URL reaches a log, a record or a job's parameters.

A URL's user information (`user:password@`) and query (`?token=...`) may be secrets. What is written anywhere is
`redact`ed. Where a job must still fetch the address, planning `hide`s it: the whole address goes into the environment,
which jobs inherit and nobody writes down, under a name that follows from the hidden one, and `reveal` finds it there.
Standard library only, because the Snakefile calls this at every planning.
"""

import hashlib
import os
import re
from typing import Any

# Kinds of sources of our own, whose `?options` and `@revision` are no secrets.
_OWN = ("pai", "hf", "chunks", "file")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<host>[^\s/?#'\"<>]*)(?P<path>[^\s?#'\"<>]*)"
                  r"(?P<query>[?#][^\s'\"<>]*?)?(?P<end>[:;,.)\]}]*(?=[\s'\"<>]|$))")  # fmt: skip
_HIDDEN = re.compile(r"\?hidden=[0-9a-f]{12}")
_VARIABLE = "RELANE_ADDRESS_"


def redact(text: str) -> str:
    """A text in which every URL's user information and query are `***`. Addresses of `hide` stay as they are."""
    return _URL.sub(lambda url: _without_secrets(url, "?***"), text)


def _without_secrets(url: re.Match, instead: str) -> str:
    if url["scheme"].lower() in _OWN:
        return url[0]
    login, at, host = url["host"].rpartition("@")
    query = url["query"] or ""
    if query and not _HIDDEN.fullmatch(query):
        query = instead
    return f"{url['scheme']}://{'***@' if at and login else ''}{host}{url['path']}{query}{url['end']}"


def path_of(address: str) -> str:
    """An address without its query and fragment, by which a file's name and suffix are told; any other text as it is.

    That is also for hidden addresses. A local file may have `?` in its name.
    """
    url = _URL.fullmatch(address)
    if not url or url["scheme"].lower() in _OWN:
        return address
    return address[: url.start("query")] if url["query"] else address


def hide(address: str) -> str:
    """The address with `***` for user information and a digest for its query; kept whole in this environment.

    One without secrets comes back as it is. The digest tells two addresses of one path apart; it leaves the login out.
    """
    url = _URL.fullmatch(address)
    if not url:
        return address
    digest = hashlib.sha256((url["query"] or "").encode()).hexdigest()[:12]
    hidden = _without_secrets(url, f"?hidden={digest}")
    if hidden != address:
        os.environ[_variable(hidden)] = address
    return hidden


def hide_all(value: Any) -> Any:
    """A copy of a configuration, or of any part of it, with every address in it hidden."""
    if isinstance(value, dict):
        return {key: hide_all(item) for key, item in value.items()}
    if isinstance(value, list):
        return [hide_all(item) for item in value]
    return hide(value) if isinstance(value, str) else value


def reveal(address: str) -> str:
    """The whole address of a hidden one, to fetch it by and for nothing else; any other as it is."""
    return os.environ.get(_variable(address), address)


def _variable(hidden: str) -> str:
    return _VARIABLE + hashlib.sha256(hidden.encode()).hexdigest()[:16].upper()
