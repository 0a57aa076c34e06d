"""`rkdeploy report PATHS...` with `rkdeploy report diff A B` beside it."""

from __future__ import annotations

from typing import Any

import typer

from rkdeploy.cli.old_spelling import Command
from rkdeploy.cli.report_diff import diff_command

DIFF = "diff"


class ReportCommand(Command):
    """A command whose first argument may be `diff`; a path of that name is given as ./diff.

    A group with a command that stands for none would show that command's invented name in its usage.
    """

    def make_context(self, info_name: Any, args: list[str], parent: Any = None, **extra: Any) -> Any:
        if args[:1] == [DIFF]:
            return _diff().make_context(f"{info_name} {DIFF}", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


def _diff() -> Any:
    alone = typer.Typer(
        add_completion=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]}
    )
    alone.command(DIFF)(diff_command)
    return typer.main.get_command(alone)
