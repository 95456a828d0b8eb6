"""Content digests for `params:`, so that a change of code or weights invalidates exactly its own outputs.

Snakemake watches a `script:`'s modification time and nothing that it imports. These digests watch content: of a script
and of every module of ours that it imports, directly or not, and of a checkpoint folder.
"""

import ast
import functools
import hashlib
from pathlib import Path

PACKAGE = "relane"
# Up to this size a weight file is hashed whole; above it, its name and size stand for it, because hashing tens of
# gigabytes at every planning would cost more than the planning. A `.revision` file, which
# scripts/fetch_checkpoints.py writes, tells two releases of the same size apart.
HASH_WHOLE_BYTES = 8 << 20


def _module_file(scripts: Path, module: str) -> Path | None:
    base = scripts.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imported(path: Path, scripts: Path) -> set[str]:
    """Names of our modules that the file imports, anywhere in it (late imports inside functions too)."""
    package = ".".join(path.relative_to(scripts).with_suffix("").parts[:-1])
    names = _names(path.read_text(encoding="utf-8"), package)
    return {name for name in names if name.split(".")[0] == PACKAGE and _module_file(scripts, name)}


@functools.cache
def _names(text: str, package: str) -> set[str]:
    """What a module's text may import; every script asks for the same few modules, and parsing is what takes time."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parts, node.module] if node.module else parts)
            names.add(base)
            # `from relane import clips` names a module, `from relane.clips import prepare` does not: try both.
            names.update(f"{base}.{alias.name}" for alias in node.names)
    return names


def code_files(script: str | Path) -> list[Path]:
    """The script and every file of ours that it imports, directly or not, sorted.

    Packages' `__init__.py` count too, because importing a submodule runs them.
    """
    script = Path(script).resolve()
    scripts = script.parent
    found = {script}
    queue = [script]
    while queue:
        for name in _imported(queue.pop(), scripts):
            parts = name.split(".")
            for depth in range(1, len(parts) + 1):
                path = _module_file(scripts, ".".join(parts[:depth]))
                if path and path not in found:
                    found.add(path)
                    queue.append(path)
    return sorted(found)


@functools.cache
def code_digest(script: str | Path) -> str:
    """16 hex digits over the content and relative names of `code_files(script)`.

    Line ends and trailing blanks do not count; comments do: telling code from comment is not worth a tokenizer.
    """
    digest = hashlib.sha256()
    scripts = Path(script).resolve().parent
    for path in code_files(script):
        lines = (line.rstrip() for line in path.read_text(encoding="utf-8").splitlines())
        digest.update(f"{path.relative_to(scripts)}\0".encode() + "\n".join(lines).encode() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def weights_digest(folder: str | Path) -> str:
    """16 hex digits that stand for a checkpoint folder; "absent" where there is none (planning works without).

    Model cards and other texts for people (`*.md`) do not count.
    """
    folder = Path(folder)
    if not folder.exists():
        return "absent"
    digest = hashlib.sha256()
    for path in sorted(p for p in ([folder] if folder.is_file() else folder.rglob("*")) if p.is_file()):
        if path.suffix == ".md":
            continue
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
        if size <= HASH_WHOLE_BYTES:
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
