"""The imports of test files, divided among the workers.

In a fresh clone pytest compiles each test file with its asserts rewritten, which is most of what collection takes, and
every worker collects every file.  Here each worker first imports a share of them; the others then read what it has
compiled.
"""

from __future__ import annotations

import contextlib
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def import_share(index: int, count: int) -> None:
    """Import every `count`-th test file from number `index` on.  One that fails is reported when it is collected."""
    for path in sorted(Path(__file__).parent.rglob("test_*.py"))[index::count]:
        with contextlib.suppress(Exception, pytest.skip.Exception):
            import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
