"""The rooms of the house lie on floors, and imports go down: what a board needs never reaches for the host."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import rkdeploy

PACKAGE = Path(rkdeploy.__file__).parent
FLOORS = (
    {"errors", "version"},
    {"option"},
    {"contract", "system"},
    {"images"},
    {"datasets", "device", "push"},
    {"accuracy"},
    {"host"},
    {"analysis"},
    {"api"},
    {"__init__"},
    {"doctor", "schema"},
    {"cli"},
    {"__main__"},
)
"""From the ground up.  A room imports from floors below its own only."""
FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def imports() -> Iterator[tuple[str, str, str]]:
    """(file and line, room that imports, room that is imported) of every import between rooms, late ones included."""
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(path.read_text())):
            for name in imported(node):
                room = name.split(".")[1] if "." in name else "__init__"
                if room != own:
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


def test_no_file_imports_in_a_circle() -> None:
    """Files form no circle either, imports for type checkers and late ones included."""
    files = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    known = {name.removesuffix(".__init__"): path for name, path in files.items()}
    graph = {name: targets(path, known) - {name} for name, path in known.items()}
    try:
        tuple(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def targets(path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of the package that a file imports; of `from package import name` the module `name`, if it is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & known.keys()) or {node.module}
    return found & known.keys()


HOST_FLOORS = ({"graph", "checkpoint"}, {"export", "toolkit"}, {"families"}, {"building"})
"""The folders of the host, from the ground up: a family uses exporters, and no exporter knows a family."""


def test_imports_inside_the_host_go_down() -> None:
    """A build's way through the host goes forward only."""
    floor_of = {folder: number for number, folders in enumerate(HOST_FLOORS) for folder in folders}
    found: list[str] = []
    for path in sorted((PACKAGE / "host").rglob("*.py")):
        own = path.relative_to(PACKAGE / "host").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            for name in imported(node):
                folder = ".".join(name.split(".")[2:3])
                if name.startswith("rkdeploy.host.") and folder != own and floor_of[folder] >= floor_of[own]:
                    found.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert found == []
