"""The commands by name, and what went wrong in one of them as one message and an exit code."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from rkdeploy.cli.command import FormerSpelling
from rkdeploy.cli.console import out, plain, print_error
from rkdeploy.cli.other_tools import NAMES, answer
from rkdeploy.errors import RkdeployError, shown
from rkdeploy.version import __version__

if TYPE_CHECKING:
    from rkdeploy.cli.command import Command

_USAGE_ERROR: Any = typer.BadParameter.__mro__[1]  # typer does not export it; old releases take click's
_LIBRARY: Final = re.compile(r"(?P<name>[\w.+-]+\.so[\w.]*): cannot open shared object file")
"""The dynamic loader's words, as ImportError repeats them."""
_DEBIAN_PACKAGES: Final = {
    "libGL.so.1": "libgl1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libxcb.so.1": "libxcb1",
}
"""Packages of the libraries that OpenCV's wheels look for on the system."""
_INSTALL = 'Install it with: pip install "rkdeploy[graph]"; building also needs "rkdeploy[host]".'


class Place(NamedTuple):
    """Place of a command's function, and its one-line description."""

    place: str
    about: str


COMMANDS: Final[Mapping[str, Place]] = {
    "inspect": Place("inspect:inspect_command", "Show what a file is, and whether it builds."),
    "build": Place("build:build_command", "Turn a checkpoint into a verified bundle."),
    "run": Place("run:run_command", "Run a bundle on images, videos, cameras or streams."),
    "eval": Place("evaluate:eval_command", "Measure the accuracy of a bundle on labeled images."),
    "explain": Place("explain:explain_command", "Find the layers where INT8 loses accuracy, and what to try."),
    "tune": Place("tune:tune_command", "Search quantization settings, and build with the best."),
    "estimate": Place("estimate:estimate_command", "Predict time, rate and memory on chips that you need not have."),
    "compare": Place("compare:compare_command", "Build for several chips, types and sizes, side by side."),
    "profile": Place("profile:profile_command", "Measure where the time goes on this machine."),
    "report": Place("report:report_command", "Write one document of what was built and measured."),
    "push": Place("push:push_command", "Copy a bundle to a board, and make it current."),
    "doctor": Place("doctor:doctor_command", "Check this machine, host or board."),
}
"""The commands by name.  A command's module is imported when the command is used."""
DIFF: Final = "report_diff:diff_command"


class _Later(TyperCommand):
    """A command that is imported when it is used: --help and --version stay fast, a board imports no host's module."""

    def __init__(self, name: str, place: str, about: str) -> None:
        super().__init__(name, callback=None, params=[], help=about, short_help=about)
        self._place = place

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """The context of the real command, to which everything else goes then."""
        place, name = self._place, str(info_name)
        if name == "report" and args[:1] == ["diff"]:  # a path of that name is given as ./diff
            place, name, args = DIFF, "report diff", args[1:]
        return loaded(name, place).make_context(name, args, parent=parent, **extra)


@functools.cache
def loaded(name: str, place: str) -> Command:
    """Import a command, the first time that it is asked for: its name, and the place of its function."""
    from rkdeploy.cli.typer_command import command

    module, _, function = place.partition(":")
    return command(name, getattr(importlib.import_module(f"rkdeploy.cli.{module}"), function))


class _Group(TyperGroup):
    """All commands, in the order of a first use."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command, not imported yet; None for an unknown name."""
        del ctx
        return _Later(cmd_name, *COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def get_usage(self, ctx: Any) -> str:
        """The usage line of an error."""
        del ctx
        return "Usage: rkdeploy COMMAND [ARGUMENTS] [OPTIONS]"

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the commands, one line each."""
        del ctx, formatter
        out.print("[bold]Usage:[/] rkdeploy COMMAND [ARGUMENTS] [OPTIONS]\n")
        out.print("From a trained YOLO checkpoint to a verified model on a Rockchip NPU.\n")
        out.print("[bold]Commands[/]")
        for name, command in COMMANDS.items():
            out.print(f"  [cyan]{name:<10}[/] {plain(command.about)}")
        out.print("\n[bold]Options[/]")
        for flag, about in (
            ("--version", "Print the version."),
            ("--install-completion", "Install completion for the current shell."),
            ("--show-completion", "Print it, to be copied or changed."),
        ):
            out.print(f"  [cyan]{flag:<22}[/] {about}")
        out.print("\nHelp on a command: rkdeploy COMMAND -h, or --help for all of its options")


app = typer.Typer(
    cls=_Group,
    name="rkdeploy",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rkdeploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """From a trained YOLO checkpoint to a verified model on a Rockchip NPU."""


def run_app() -> NoReturn:
    """Run the command that the arguments name; exits with its code."""
    if sys.argv[1:2] and sys.argv[1] in NAMES:
        print_error(RkdeployError(answer(sys.argv[1:])))
        sys.exit(2)
    try:
        code = app(sys.argv[1:] or ["--help"], prog_name="rkdeploy", standalone_mode=False)
    except _USAGE_ERROR as error:
        print_error(_usage_error(error))
        sys.exit(2)
    except typer.Abort:
        sys.exit(1)
    except RkdeployError as error:
        print_error(error)
        sys.exit(1)
    except ModuleNotFoundError as error:  # a board, or a plain install, that is asked for a host's work
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "rkdeploy"}:
            raise
        print_error(RkdeployError(f'This needs the package "{missing}".', _INSTALL))
        sys.exit(1)
    except ImportError as error:  # OpenCV on a system without a desktop
        found = _LIBRARY.match(str(error))
        if found is None:
            raise
        print_error(_missing_library(found["name"]))
        sys.exit(1)
    except MemoryError:
        print_error(RkdeployError("There is not enough memory for this."))
        sys.exit(1)
    except UnicodeEncodeError as error:  # a name that Linux takes and JSON does not
        print_error(
            RkdeployError(f"A name is not UTF-8 text and cannot be written: {shown(error.object)}.", "Rename the file.")
        )
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # disk full, permission denied: nothing we could have known before
        print_error(RkdeployError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."))
        sys.exit(1)
    sys.exit(code if isinstance(code, int) else 0)


def _missing_library(name: str) -> RkdeployError:
    """A package that loads a library which the system does not have."""
    package = _DEBIAN_PACKAGES.get(name)
    hint = f"Debian and Ubuntu: apt install {package}" if package else "Install the system's package that contains it."
    return RkdeployError(f'The system library "{name}" is missing; a Python package needs it.', hint)


def _usage_error(error: Any) -> RkdeployError:
    """A usage error, in the form of all other errors."""
    if isinstance(error, FormerSpelling):
        return RkdeployError("This is written otherwise now:", error.now)
    if error.ctx is None:
        return RkdeployError(error.format_message(), "Help: rkdeploy COMMAND -h")
    return RkdeployError(
        error.format_message(), f"{error.ctx.get_usage().strip()}  (help: {error.ctx.command_path} -h)"
    )
