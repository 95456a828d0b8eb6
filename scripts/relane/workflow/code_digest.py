"""Digests of code for `params:`, so that a change of code invalidates exactly its own outputs.

Snakemake watches a `script:`'s modification time and nothing that it imports. These digests watch content: of a script
and of every module of ours that it imports, directly or not.
"""

import ast
import functools
import hashlib
from pathlib import Path

from relane.io.content import digest_of

PACKAGES = ("relane", "simworld")


@functools.cache
def _homes(folder: Path) -> dict[str, Path]:
    """The folder in which each package of ours lies, seen from a script's folder.

    That folder itself; for programs inside a package, what they put on the path: the repository's root and `scripts`.
    """
    places = [folder, *(above / name for above in folder.parents[:2] for name in ("", "scripts"))]
    return {package: place for package in PACKAGES for place in reversed(places) if (place / package).is_dir()}


def _module_file(home: Path, module: str) -> Path | None:
    base = home.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _name(path: Path, script: Path) -> Path:
    """The file's path from where its package, or the script, lies: `relane/io/files.py`, `edit_video.py`."""
    homes = [*_homes(script.parent).values(), script.parent]
    return next(path.relative_to(home) for home in homes if path.is_relative_to(home))


def _scan(path: Path, script: Path) -> tuple[set[str], str]:
    return _scan_text(path.read_text(encoding="utf-8"), ".".join(_name(path, script).parts[:-1]))


@functools.cache
def _scan_text(text: str, package: str) -> tuple[set[str], str]:
    """What a module's text may import, and the digest of its tree.

    Every script asks for the same few modules, and parsing takes time. The tree itself is not kept: it is large.
    """
    tree = ast.parse(text)
    words: list[str] = []
    _write_node(tree, words)
    return _names(tree, package), hashlib.sha256("\0".join(words).encode("utf-8", "surrogatepass")).hexdigest()


def _names(tree: ast.Module, package: str) -> set[str]:
    names: set[str] = set()
    # Only statements import: expressions, most of a tree, need not be looked into.
    statements: list[ast.AST] = [tree]
    while statements:
        node = statements.pop()
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            statements += inner if isinstance(inner := getattr(node, part, None), list) else []
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, node.module] if node.module else parts)
            names.add(base)
            # `from relane import clips` names a module, `from relane.data.clips import prepare` does not: try both.
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def code_files(script: str | Path, *modules: str) -> list[Path]:
    """The script and every file of ours that it imports, directly or not, sorted.

    Packages' `__init__.py` count too, because importing a submodule runs them. modules: names of those that it imports
    by a name which only a run knows (a driver, an editor).
    """
    script = Path(script).resolve()
    homes = _homes(script.parent)
    found, queue, names = set(), [script], set(modules)
    while queue or names:
        if queue:
            found.add(path := queue.pop())
            names |= _scan(path, script)[0]  # late imports, inside functions, too
        for name in names:
            parts = name.split(".")
            home = homes.get(parts[0])
            if home and _module_file(home, name):
                files = {_module_file(home, ".".join(parts[: depth + 1])) for depth in range(len(parts))}
                queue += files - found - {None, *queue}
        names = set()
    return sorted(found)


@functools.cache
def code_digest(script: str | Path, *modules: str) -> str:
    """16 hex digits over the syntax trees and relative names of `code_files(script, *modules)`.

    Comments, docstrings, what options mean, blanks and line numbers do not count, and the digits are the same for every
    Python.
    """
    script = Path(script).resolve()
    files = code_files(script, *modules)
    return digest_of((_name(path, script).as_posix(), _scan(path, script)[1]) for path in files)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _write_node(node: ast.AST, words: list[str]) -> None:
    """A syntax tree as words, in order: kinds of nodes, names of the fields that hold something, constants.

    `ast.dump` would do, if it were quicker and wrote the same for the fields that a newer Python adds.
    """
    words.append(f"({type(node).__name__}")
    for name in node._fields:
        part = getattr(node, name, None)
        if name == "body" and isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            part = part[1:]
        if part is None or part == [] or name == "ctx":
            continue
        if name == "args" and getattr(getattr(node, "func", None), "id", "") == "option":
            part = part[:1]  # without an option's meaning, which is for people (relane.config.option)
        words.append(name)
        if isinstance(part, list):
            words.append(f"[{len(part)}")
            for item in part:
                if isinstance(item, ast.AST):
                    _write_node(item, words)
                else:
                    words.append(f"{type(item).__name__} {item!r}")
        elif isinstance(part, ast.AST):
            _write_node(part, words)
        else:
            words.append(f"{type(part).__name__} {part!r}")
    words.append(")")
