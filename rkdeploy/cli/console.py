"""Consoles of the commands: results to stdout, progress and messages to stderr, no progress unless it is a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.segment import Segment, Segments
from rich.table import Table

from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    pass


out = Console(highlight=False, soft_wrap=True, emoji=False)
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

_MAX_LINE = 1500  # names out of a hostile file have any length


def plain(text: str) -> str:
    """Text that may come out of a stranger's file, as it may reach a terminal: no markup, no control characters."""
    return escape("".join(c if c.isprintable() else ascii(c)[1:-1] for c in text))


def print_error(error: RkdeployError) -> None:
    """Print one message, then the hint on a line of its own.  Further lines are indented: none can pass for a
    message.
    """
    message, *more = (
        line if len(line) <= _MAX_LINE else f"{line[:_MAX_LINE]}..." for line in error.message.split("\n")
    )
    err.print(f"[bold red]error:[/] {plain(message)}")
    for line in (*more, error.hint):
        if line:
            err.print(f"  {plain(line)}")


def print_warning(text: str) -> None:
    """A warning for the user."""
    err.print(f"[yellow]warning:[/] {plain(text[:_MAX_LINE])}")


def print_whole(table: Table, console: Console) -> None:
    """A table in its own width: a terminal wraps lines that are too long, but no figure is cut."""
    options = console.options.update(width=_MAX_LINE)
    width = Measurement.get(console, options, table).maximum
    for line in console.render_lines(table, options.update(width=width), pad=False):
        console.print(Segments([*line, Segment.line()]), end="", crop=False)


def facts_table(title: str | None = None) -> Table:
    """A borderless table of names and values."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table
