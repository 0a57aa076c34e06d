"""The commands by name, and what went wrong in one of them as one message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from rkdeploy import __version__
from rkdeploy.cli.build import build_command
from rkdeploy.cli.compare import compare_command
from rkdeploy.cli.console import print_error
from rkdeploy.cli.doctor import doctor_command
from rkdeploy.cli.estimate import estimate_command
from rkdeploy.cli.evaluate import eval_command
from rkdeploy.cli.explain import explain_command
from rkdeploy.cli.inspect import inspect_command
from rkdeploy.cli.old_spelling import Command
from rkdeploy.cli.other_tools import NAMES, answer
from rkdeploy.cli.profile import profile_command
from rkdeploy.cli.push import push_command
from rkdeploy.cli.report import report_command
from rkdeploy.cli.report_group import ReportCommand
from rkdeploy.cli.run import run_command
from rkdeploy.cli.tune import tune_command
from rkdeploy.errors import RkdeployError, shown

_INSTALL = 'Install it with: pip install "rkdeploy[graph]"; building also needs "rkdeploy[host]".'

app = typer.Typer(
    name="rkdeploy",
    help="From a trained YOLO checkpoint to a verified model on a Rockchip NPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("inspect", cls=Command)(inspect_command)
app.command("build", cls=Command)(build_command)
app.command("estimate", cls=Command)(estimate_command)
app.command("compare", cls=Command)(compare_command)
app.command("explain", cls=Command)(explain_command)
app.command("tune", cls=Command)(tune_command)
app.command("run", cls=Command)(run_command)
app.command("eval", cls=Command)(eval_command)
app.command("report", cls=ReportCommand)(report_command)
app.command("push", cls=Command)(push_command)
app.command("profile", cls=Command)(profile_command)
app.command("doctor", cls=Command)(doctor_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"rkdeploy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """From a trained YOLO checkpoint to a verified model on a Rockchip NPU."""


def run_app() -> NoReturn:
    """Run the command that the arguments name; exits with its code."""
    if sys.argv[1:2] and sys.argv[1] in NAMES:
        print_error(RkdeployError(answer(sys.argv[1:])))
        sys.exit(2)
    try:
        app(standalone_mode=True)
    except RkdeployError as error:
        print_error(error)
        sys.exit(1)
    except ModuleNotFoundError as error:  # a board, or a plain install, that is asked for a host's work
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "rkdeploy"}:
            raise
        print_error(RkdeployError(f'This needs the package "{missing}".', _INSTALL))
        sys.exit(1)
    except MemoryError:
        print_error(RkdeployError("There is not enough memory for this."))
        sys.exit(1)
    except UnicodeEncodeError as error:  # a name that Linux takes and JSON does not
        print_error(
            RkdeployError(f"A name is no UTF-8 text and cannot be written: {shown(error.object)}.", "Rename the file.")
        )
        sys.exit(1)
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # disk full, permission denied: nothing we could have known before
        print_error(RkdeployError(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."))
        sys.exit(1)
    sys.exit(0)
