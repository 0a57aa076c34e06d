"""The order of the test files: those that take longest first, so that the workers end together.

.venv/bin/python -m pytest --record-seconds      brings tests/seconds.json up to date after a whole run
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

TABLE = Path(__file__).with_name("seconds.json")
LEAST_S = 1.0
"""Files below this are not in the table."""
TEST_S, SLOW_TEST_S = 0.02, 3.0
"""Estimates of a test in a file that is not in the table: a new one, or a short one."""


def sort_by_seconds(items: list[pytest.Item]) -> None:
    """Put the tests of the files that take longest first; within a file the order stays."""
    estimated: defaultdict[str, float] = defaultdict(float)
    for item in items:
        estimated[_file(item)] += SLOW_TEST_S if item.get_closest_marker("slow") else TEST_S
    recorded: dict[str, float] = json.loads(TABLE.read_text())
    items.sort(key=lambda item: -recorded.get(_file(item), estimated[_file(item)]))


class Recorder:
    """Adds up what each file takes, in whichever worker, and writes the table in the end."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one part of a test: its set-up, call or end."""
        self._seconds[_file(report)] += report.duration

    def pytest_sessionfinish(self) -> None:
        """Write the table, the longest first."""
        longest = sorted(self._seconds.items(), key=lambda pair: -pair[1])
        found = {name: round(seconds, 1) for name, seconds in longest if seconds >= LEAST_S}
        TABLE.write_text(json.dumps(found, indent=1) + "\n")


def _file(test: pytest.Item | pytest.TestReport) -> str:
    """The file of a test below the top folder: tests/..."""
    return test.nodeid.partition("::")[0]
