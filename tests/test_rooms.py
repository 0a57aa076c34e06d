"""The rooms of the house lie on floors, and imports go down: what a board needs never reaches for the host."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import rkdeploy

PACKAGE = Path(rkdeploy.__file__).parent
FLOORS = (
    {"errors", "__init__"},
    {"option"},
    {"contract", "system"},
    {"images"},
    {"datasets", "device", "push"},
    {"accuracy"},
    {"host"},
    {"analysis"},
    {"api"},
    {"doctor", "schema"},
    {"cli"},
    {"__main__"},
)
"""From the ground up.  A room imports from floors below its own only.  The package's own `__init__` has the version for
all of them, and names what `api` offers: it imports that when it is used."""
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports() -> Iterator[tuple[str, str, str]]:
    """(file and line, room that imports, room that is imported) of every import between rooms, late ones included."""
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            for name in imported(node):
                room = name.split(".")[1] if "." in name else "__init__"
                if room != own and own != "__init__":
                    yield f"{path.relative_to(PACKAGE)}:{node.lineno}", own, room  # type: ignore[attr-defined]  # a statement


def imported(node: ast.AST) -> list[str]:
    """Names below `rkdeploy` that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if alias.name.startswith("rkdeploy.")]
    if not isinstance(node, ast.ImportFrom) or node.module is None or node.module.partition(".")[0] != "rkdeploy":
        return []
    if node.module != "rkdeploy":
        return [node.module]
    rooms = {path.stem for path in PACKAGE.iterdir()}
    return [f"rkdeploy.{a.name}" if a.name in rooms else "rkdeploy" for a in node.names]


def test_every_room_has_a_floor() -> None:
    """A new folder or module at the top is put on a floor, in the table above."""
    rooms = {p.stem for p in PACKAGE.iterdir() if (p.suffix == ".py" or (p / "__init__.py").exists())}
    assert rooms == set(FLOOR_OF)


def test_imports_go_down() -> None:
    """No import from a lower floor to a higher one, nor between rooms of one floor."""
    up = [f"{where}: {own} imports {room}" for where, own, room in imports() if FLOOR_OF[room] >= FLOOR_OF[own]]
    assert not up, "\n".join(up)


def test_the_contract_needs_nothing() -> None:
    """The contract depends on neither side."""
    assert {room for _, own, room in imports() if own == "contract"} == {"errors"}
