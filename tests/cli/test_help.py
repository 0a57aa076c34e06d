"""The help of the commands: -h fits a screen, --help has everything, and both speak of values, not of types."""

from __future__ import annotations

import os

import pytest

from rkdeploy.cli.main import COMMANDS, loaded
from rkdeploy.option import Argument
from tests.command_line import rkdeploy

ROWS = 40
SCREEN = {**os.environ, "COLUMNS": "80"}


def printed(*arguments: str) -> str:
    result = rkdeploy(*arguments, env=SCREEN)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_short_help_fits_a_screen(command: str) -> None:
    """-h of every command fits 80 columns and 40 rows, the prompt's row included."""
    lines = printed(command, "-h").splitlines()
    assert len(lines) < ROWS
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("command", COMMANDS)
def test_the_long_help_has_every_option(command: str) -> None:
    """--help lists each option that is not hidden; -h says how many it leaves out."""
    leaves = list(loaded(command, COMMANDS[command].place).signature.leaves())
    options = [one.option for one in leaves if not isinstance(one.declaration, Argument)]
    whole, short = printed(command, "--help"), printed(command, "-h")
    words = set(whole.replace(",", " ").split())
    assert {one.flag for one in options if not one.hidden} <= words
    assert not {one.flag for one in options if one.hidden} & words
    left_out = sum(not one.often and not one.hidden for one in options)
    more = f"{left_out} more option{'' if left_out == 1 else 's'}: rkdeploy {command} --help"
    assert (more in short) == bool(left_out)
    assert "more option" not in whole


@pytest.mark.parametrize("command", [*COMMANDS, ""])
def test_no_help_speaks_of_types(command: str) -> None:
    """A flag has no value, and a value is named by what it is."""
    for flag in ("-h", "--help"):
        text = printed(*filter(None, [command]), flag)
        assert not {"<bool>", "<str>", "<path>", "<int", "<float", "list[str]"} & set(text.replace("]", " ").split())


def test_the_commands_are_listed_with_what_they_do() -> None:
    """One line each, without importing any of them."""
    lines = printed("-h").splitlines()
    for name, command in COMMANDS.items():
        assert f"  {name:<10} {command.about}" in lines


def test_report_diff_has_a_help_of_its_own() -> None:
    """It is a command within a command."""
    assert printed("report", "diff", "-h").startswith("Usage: rkdeploy report diff A B [OPTIONS]")
