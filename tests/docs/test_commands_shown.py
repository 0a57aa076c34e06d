"""Every command, option, extra and make target that a page shows exists."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import typer

from rkdeploy.cli.main import app
from rkdeploy.errors import RkdeployError
from tests.docs.pages import NAMES, ROOT, Shown, code_spans, read, shown_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

CLI: Any = typer.main.get_command(app)
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]

# Options of other programs that pages speak of.
FOREIGN_OPTIONS = {
    "--simplify": "YOLOv5's export.py",
    "--half": "YOLOv5's export.py",
    "--end2end": "export.py of YOLOv7 and YOLOv9",
    "--opset": "YOLOv5's export.py",
    "--train": "YOLOv5's export.py, and make_sample.py",
    "--no-deps": "pip",
    "--device": "docker",
    "--write": "tests/analysis/estimate/fit.py",
}
# Arguments of `pip install` other than a clone; all are on PyPI.
PACKAGES = {"torch", "rknn-toolkit2"}


def shown_calls(program: str) -> list[Any]:
    """One parameter set for each call of a program in any page's block."""
    return [
        pytest.param(arguments, id=f"{name}: {program} {' '.join(arguments)}"[:120])
        for name in NAMES
        for shown in shown_lines(name)
        for arguments in shown.calls(program)
    ]


def parse(arguments: list[str], *, complete: bool) -> None:
    """Let the command line judge arguments without running anything.

    Raises:
        UsageError: of an unknown command or option or a value out of range, and where `complete` of a missing one.
    """
    try:
        group = CLI.make_context("rkdeploy", list(arguments))
        name, command, rest = group.command.resolve_command(group, [*group._protected_args, *group.args])
        command.make_context(name, rest, parent=group)
    except typer.Exit:
        pass  # --version, --help
    except RkdeployError:
        if "--config" not in arguments:  # a file of the reader's
            raise
    except USAGE_ERROR as error:
        if complete or not error.format_message().startswith("Missing"):
            raise


@pytest.mark.parametrize("arguments", shown_calls("rkdeploy"))
def test_commands_in_blocks_are_complete(arguments: list[str]) -> None:
    """A reader can type what a block shows: command, options and values are accepted and nothing is missing."""
    if arguments == ["..."]:
        return
    parse(arguments, complete=True)


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_the_text_exist(name: str) -> None:
    """Commands and options in code spans are known; arguments may be left out there."""
    for span in code_spans(name):
        for arguments in Shown(name, span).calls("rkdeploy"):
            if arguments:
                parse(arguments, complete=False)


@pytest.mark.parametrize("name", NAMES)
def test_options_in_the_text_exist(name: str) -> None:
    """An option that stands alone in a code span is one of rkdeploy, of the board's scripts, or of a named program."""
    scripts = "".join(script.read_text() for script in (ROOT / "board").rglob("*.sh"))
    known = set(all_options()) | set(re.findall(r"--[a-z][a-z-]+", scripts)) | set(FOREIGN_OPTIONS)
    spans = (span.split()[0].partition("=")[0] for span in code_spans(name) if span.startswith("--"))
    assert sorted({span.rstrip(",:") for span in spans} - known) == []


def test_an_unknown_option_is_found() -> None:
    """The checks above can fail."""
    for arguments in (["build", "best.pt", "--no-such"], ["bild", "best.pt"], ["build", "best.pt", "--stem", "round"]):
        with pytest.raises(USAGE_ERROR):
            parse(arguments, complete=False)
    with pytest.raises(USAGE_ERROR):
        parse(["build"], complete=True)


@pytest.mark.parametrize("arguments", shown_calls("pip"))
def test_what_pip_is_told_to_install_can_be_found(arguments: list[str]) -> None:
    """The project is not on the package index: pages install a clone, by extras that pyproject.toml declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert arguments[0] == "install"
    values_of = {"-c", "--index-url"}
    words = [word for before, word in pairwise(arguments) if before not in values_of]
    for word in (word for word in words if not word.startswith("-")):
        match = re.fullmatch(r"\.(?:\[([\w,]+)\])?", word)
        if match is None:
            assert re.split(r"[=<>\[]", word)[0] in PACKAGES, f'"{word}" is not on the package index'
        else:
            assert set((match[1] or "").split(",")) - {""} <= set(project["optional-dependencies"])


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_exist(name: str) -> None:
    """A `make` target of a page is in the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    lines = [*shown_lines(name), *(Shown(name, span) for span in code_spans(name))]
    wanted = {word for shown in lines for words in shown.calls("make") for word in words if "=" not in word}
    assert wanted <= targets


@pytest.mark.parametrize("name", NAMES)
def test_files_of_the_repository_exist(name: str) -> None:
    """A path in a code span that begins with a folder of the repository is there; `*` stands for any name."""
    for span in code_spans(name):
        for path in re.findall(r"(?<![\w./-])(?:tests|board|docs|rkdeploy|calib_data)/[\w./*-]+", span):
            assert list(ROOT.glob(path.rstrip("/."))), path


def test_every_extra_is_on_the_page_of_installation() -> None:
    """A user finds each extra but the developers' own."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    page = read("docs/install.md")
    missing = [extra for extra in extras if extra != "dev" and not re.search(rf"\[(?:\w+,)*{extra}(?:,\w+)*\]", page)]
    assert missing == []


def all_options() -> Iterator[str]:
    """Every option of every command, `report diff` included."""
    group = CLI.make_context("rkdeploy", ["doctor"])
    report = CLI.get_command(group, "report")
    commands = [CLI.get_command(group, name) for name in CLI.list_commands(group)]
    contexts = [command.make_context(command.name, [], resilient_parsing=True) for command in commands]
    contexts.append(report.make_context("report", ["diff"], resilient_parsing=True))
    for context in [group, *contexts]:
        for parameter in context.command.params:
            yield from (*parameter.opts, *parameter.secondary_opts)
