"""Imports of test files: every worker imports all files, so slow packages are imported where they are used."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
SLOW = ("torch", "onnxruntime.quantization", "sympy", "dask", "distributed", "matplotlib", "ultralytics", "pandas")


def imported(source: str) -> set[str]:
    """Modules that a file imports when it is imported, `from a import b` also as a.b."""
    found: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def is_slow(name: str) -> bool:
    return any(name == slow or name.startswith(f"{slow}.") for slow in SLOW)


def test_test_files_import_no_slow_package() -> None:
    found = {
        str(file.relative_to(TESTS)): slow
        for file in sorted(TESTS.rglob("test_*.py"))
        if (slow := sorted(filter(is_slow, imported(file.read_text(encoding="utf-8")))))
    }
    assert not found


def test_the_check_by_hand() -> None:
    source = "import torch.nn\nfrom onnxruntime import quantization\nimport onnx\ndef f():\n    import sympy\n"
    assert sorted(filter(is_slow, imported(source))) == ["onnxruntime.quantization", "torch.nn"]
