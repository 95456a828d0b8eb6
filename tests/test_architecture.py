"""docs/architecture.md is true: every module stands in a room, and no room imports from its own floor or from above."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ROOT / "scripts" / "relane"


def floors() -> dict[str, int]:
    """The floor of each room and of each module on the ground (-1), from the page's picture."""
    picture = (ROOT / "docs" / "architecture.md").read_text().partition("```\n")[2].partition("```")[0]
    found = {}
    for line in picture.strip().splitlines():
        head, names = re.fullmatch(r"(floor \d+|ground) +(.*)", line).groups()
        found |= dict.fromkeys(names.split(), -1 if head == "ground" else int(head.split()[1]))
    return found


FLOORS = floors()


def imports(path: Path, late: bool = True) -> set[tuple[str, ...]]:
    """What a module may import of ours, as parts of dotted names; `late`: inside functions and for types too."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if late else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {tuple(name.split(".")) for name in found if name.startswith("relane.")}


def room(path: Path) -> str:
    """The room of a module, or its name on the ground."""
    return path.relative_to(LIBRARY).with_suffix("").parts[0]


def modules() -> list[Path]:
    return [path for path in sorted(LIBRARY.rglob("*.py")) if path != LIBRARY / "__init__.py"]


def test_every_room_of_the_picture_is_there_and_every_module_stands_in_one():
    assert {room(path) for path in modules()} == set(FLOORS)


def allowed(importer: str, imported: str) -> bool:
    """Whether a room may import from another: from below, or, on the ground, from beside."""
    return FLOORS[imported] < FLOORS[importer] or FLOORS[importer] == FLOORS[imported] == -1


@pytest.mark.parametrize("name", FLOORS)
def test_a_room_imports_from_below_only(name):
    own = [path for path in modules() if room(path) == name]
    others = [(path, parts) for path in own for parts in imports(path) if parts[1] in FLOORS and parts[1] != name]
    assert [(str(path), ".".join(parts)) for path, parts in others if not allowed(name, parts[1])] == []


def test_no_import_leads_back_to_where_it_began():
    """Within rooms too; a circle raises. A backend's package loads its own modules late, which is meant."""
    names = {path.relative_to(LIBRARY.parent).with_suffix("").parts: path for path in modules()}
    graph = {}
    for name, path in names.items():
        # `from relane.io.files import read_json` names a module or what stands in one.
        wanted = {part for parts in imports(path, late=False) for part in (parts, parts[:-1], (*parts, "__init__"))}
        graph[name] = {other for other in wanted if other in names and other != name}
    list(TopologicalSorter(graph).static_order())
