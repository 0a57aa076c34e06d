"""The pages that are the reference of something have all of it: every option of a command, every field of a file."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest

from rkdeploy.cli.option_tables import options_table, with_tables
from rkdeploy.contract.record import BuildRecord
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.runtime.backend_names import BACKENDS
from tests.docs.pages import NAMES, ROOT, read
from tests.docs.test_commands_shown import CLI

PAGE_OF_COMMAND = {
    "build": "docs/build.md",
    "run": "docs/run.md",
    "eval": "docs/accuracy.md",
    "explain": "docs/accuracy.md",
    "tune": "docs/tune.md",
    "estimate": "docs/estimate.md",
    "compare": "docs/compare.md",
    "report": "docs/report.md",
    "profile": "docs/profile.md",
    "doctor": "docs/doctor.md",
    "push": "board/README.md",
    "inspect": "docs/checkpoints.md",
}


def test_every_command_has_a_page() -> None:
    """A new command gets a page."""
    assert set(PAGE_OF_COMMAND) == set(CLI.list_commands(None))


@pytest.mark.parametrize("command", PAGE_OF_COMMAND)
def test_every_option_is_on_the_commands_page(command: str) -> None:
    """The command's page names each of its options, by one of its names at least."""
    context = CLI.get_command(None, command).make_context(command, [], resilient_parsing=True)
    page = read(PAGE_OF_COMMAND[command])
    options = [option for option in context.command.params if option.opts[0].startswith("-") and not option.hidden]
    names = {option.opts[0]: [*option.opts, *option.secondary_opts] for option in options}
    missing = [name for name, spellings in names.items() if not any(re.search(rf"{x}\b", page) for x in spellings)]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_tables_of_options_are_current(name: str) -> None:
    """After a change: python -m rkdeploy.cli.option_tables docs board."""
    assert with_tables(read(name)) == read(name)


def test_every_command_has_a_table() -> None:
    """The page of a command has the table that is made from its declarations."""
    for command, page in [*PAGE_OF_COMMAND.items(), ("report diff", "docs/report.md")]:
        assert f"<!-- options: {command} -->" in read(page), page
    assert "\n| `-q, --quiet` | | Print " in options_table("explain")


@pytest.mark.parametrize("kind", [ModelSpec, InputSpec, HeadOutput, BuildRecord])
def test_every_field_is_on_the_bundles_page(kind: Any) -> None:
    """bundle.md names each field of the contract and of build.json."""
    page = read("docs/bundle.md")
    names = [field.name for field in dataclasses.fields(kind)]
    assert [name for name in names if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("page", "sources", "words", "least"),
    [
        ("docs/doctor.md", "doctor/*.py", r'(?:Finding|_access)\(\s*"([^"]+)"', 16),
        ("docs/profile.md", "device/profiling/profile_advice.py", r'Advice\(\s*"([a-z_]+)"', 16),
        ("docs/accuracy.md", "analysis/explain/causes.py", r'Cause\(\s*"([a-z]+)"', 6),
        ("docs/web.md", "device/web/app.py", r'Route\("([^"]+)"', 6),
    ],
)
def test_every_row_is_in_the_table(page: str, sources: str, words: str, least: int) -> None:
    """A table has a row for each check of doctor, advice of profile, cause of explain and address of the live page."""
    found = set(re.findall(words, "".join(path.read_text() for path in (ROOT / "rkdeploy").glob(sources))))
    cells = re.findall(r"^\| ([^|]+) \|", read(page), re.MULTILINE)
    rows = {name.strip("` ") for cell in cells for name in cell.split(",")}
    assert len(found) >= least
    assert sorted(found - rows) == []


def test_every_backend_is_on_the_page_of_run() -> None:
    """run.md's table has a row for each backend."""
    assert [name for name in BACKENDS if f"| `{name}` |" not in read("docs/run.md")] == []
