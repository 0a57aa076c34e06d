"""Names that several rooms share are confused by readers: each file and class has one of its own."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import rkdeploy

PACKAGE = Path(rkdeploy.__file__).parent
SHARED_FILES = {
    "__init__.py": "Python's",
    "estimate.py": "a command, and what it does",
    "explain.py": "a command, and what it does",
    "inspect.py": "a command, and what it does",
    "tune.py": "a command, and what it does",
    "nms.py": "numpy's code, and the same in C",
    "row_fields.py": "numpy's code, and the same in C",
}
"""Names that two files may have, each with the reason."""
SHARED_CLASSES = {"Module": "a checkpoint's, and the stand-in for torch's, which has torch's name"}


def shared(names: dict[str, list[str]], allowed: dict[str, str]) -> list[str]:
    """The names that several places have."""
    return [f"{name}: {', '.join(places)}" for name, places in names.items() if len(places) > 1 and name not in allowed]


def test_no_two_files_have_one_name() -> None:
    """Of files, but for those on the list."""
    names: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        names[path.name].append(str(path.relative_to(PACKAGE)))
    assert shared(names, SHARED_FILES) == []


def test_no_two_classes_have_one_name() -> None:
    """Of classes that other files may import, but for those on the list."""
    names: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                names[node.name].append(str(path.relative_to(PACKAGE)))
    assert shared(names, SHARED_CLASSES) == []
