"""The workflows on GitHub: what they run is there, and what they use cannot change under them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.resolutions import TESTS

ROOT = Path(__file__).parents[2]
WORKFLOWS = {path.name: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}


def jobs(name: str) -> dict[str, Any]:
    """The jobs of a workflow."""
    return yaml.safe_load(WORKFLOWS[name].read_text())["jobs"]  # type: ignore[no-any-return]  # plain YAML


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned_by_commit(name: str) -> None:
    """A tag of a foreign action can be moved; a commit cannot.  The version stands behind it."""
    lines = [line for line in WORKFLOWS[name].read_text().splitlines() if "uses:" in line and "uses: ./" not in line]
    assert lines
    assert [line for line in lines if not re.search(r"uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_make_targets_and_files_exist(name: str) -> None:
    """Every make target is in the Makefile, every file that is run is there."""
    text = WORKFLOWS[name].read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"run: make ([a-z-]+)", text)) <= targets
    assert [path for path in re.findall(r" (tests/[\w/.]+)", text) if not (ROOT / path).exists()] == []


def test_the_parts_that_are_resolved_exist() -> None:
    """The parts that every Python tests are parts of tests/resolutions.py."""
    (line,) = re.findall(r"python -m tests\.resolutions (.+)", WORKFLOWS["test.yml"].read_text())
    assert set(line.split()) <= set(TESTS)


def test_every_python_and_processor_is_tried() -> None:
    """The board's side and the built wheel run on every Python of the classifiers, on x86-64 and aarch64."""
    classifiers = re.findall(r"Python :: (3\.\d+)", (ROOT / "pyproject.toml").read_text())
    for job in (jobs("test.yml")["board-side"], jobs("release.yml")["try-out"]):
        assert job["strategy"]["matrix"]["python"] == classifiers
        assert job["strategy"]["matrix"]["runner"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]


def test_only_publishing_has_rights() -> None:
    """Nothing but the two last jobs of a release may write, and they run only after all tests."""
    release = jobs("release.yml")
    assert {name for name, job in release.items() if "permissions" in job} == {"publish", "page"}
    assert release["publish"]["permissions"] == {"id-token": "write"}
    assert set(release["publish"]["needs"]) == {"test", "try-out"}
    assert release["page"]["needs"] == "publish"
