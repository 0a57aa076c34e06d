"""The order of the test files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest

from tests.longest_first import sort_by_seconds


@dataclass(frozen=True)
class Item:
    """The parts of a test that decide its place."""

    nodeid: str
    slow: bool = False

    def get_closest_marker(self, name: str) -> Any:
        return self.slow and name == "slow"


def test_files_without_a_record_are_estimated() -> None:
    """A new file of slow tests comes among the long ones, one of short tests by their number."""
    recorded = "tests/board_install/test_install_arm64.py"
    names = ["tests/new_few.py"] + ["tests/new_many.py"] * 9 + ["tests/new_slow.py", recorded]
    items = [Item(f"{name}::test_{number}", slow=name == "tests/new_slow.py") for number, name in enumerate(names)]
    sort_by_seconds(cast("list[pytest.Item]", items))
    many = [f"tests/new_many.py::test_{number}" for number in range(1, 10)]
    expected = [f"{recorded}::test_11", "tests/new_slow.py::test_10", *many, "tests/new_few.py::test_0"]
    assert [item.nodeid for item in items] == expected
