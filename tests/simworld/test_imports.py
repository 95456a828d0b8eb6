"""The simulated world stands beside the product: it imports `relane`, and neither the product nor its benchmarks it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from relane.workflow.code_digest import code_files

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "simworld" / "programs").glob("*.py"))


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of every module that the file imports, late imports inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


@pytest.mark.parametrize("folder", ["scripts", "benchmarks"])
def test_the_product_and_its_benchmarks_import_nothing_of_simworld(folder):
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for line, name in imported(path)
        if name.split(".")[0] == "simworld"
    ]
    assert not found


def test_the_products_rules_call_nothing_of_simworld():
    assert [path.name for path in (ROOT / "rules").glob("*.smk") if "simworld" in path.read_text()] == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_programs_digest_covers_what_it_takes_of_both_packages(program):
    """So that a trained checkpoint is made anew when the world, the training or the product's loss has changed."""
    names = {path.relative_to(ROOT).as_posix() for path in code_files(program)}
    assert "scripts/relane/cli.py" in names
    assert "simworld/__init__.py" in names
    if program.name.startswith("train_"):
        assert "simworld/learning/loop.py" in names
    if program.name == "train_tiny_sam2.py":
        assert {"simworld/world/scene.py", "scripts/relane/road/sam2_video.py"} <= names
