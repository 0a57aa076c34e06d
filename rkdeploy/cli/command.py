"""The class of every command: its help of two lengths, and its answer to an old spelling."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand

from rkdeploy.cli.old_spelling import written_now

if TYPE_CHECKING:
    from rkdeploy.cli.signature import Signature

_WHOLE = "rkdeploy.whole_help"


class FormerSpelling(typer.BadParameter):
    """A command line as it was written before.

    Args:
        now: the same as it is written now.
    """

    def __init__(self, now: str) -> None:
        super().__init__(f"This is written otherwise now: {now}")
        self.now = now


class Command(TyperCommand):
    """A command.

    Attributes:
        signature: what it takes.
    """

    signature: Signature

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help: all of it for --help, one screen for -h."""
        del formatter
        from rkdeploy.cli.console import out
        from rkdeploy.cli.help_text import print_help

        print_help(f"rkdeploy {self.name}", self.signature, out, whole=bool(ctx.meta.get(_WHOLE)))

    def get_usage(self, ctx: Any) -> str:
        """The usage line of an error."""
        del ctx
        from rkdeploy.cli.help_text import usage

        return f"Usage: {usage(f'rkdeploy {self.name}', self.signature)}"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises:
            FormerSpelling: with the command as it is written now.
        """
        ctx.meta[_WHOLE] = "--help" in args
        name = str(self.name)
        now = written_now(name, args)
        if now != list(args):
            raise FormerSpelling(shlex.join(["rkdeploy", *name.split(), *now]))
        return super().parse_args(ctx, args)
