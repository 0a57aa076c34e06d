"""Blocks of a page in a terminal: notes, and tables whose columns are as wide as their content."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from rkdeploy.analysis.page.content import Block, Cell, Note, Status, Table
from rkdeploy.analysis.page.texts import Words

STYLES: Final[dict[Status, str]] = {
    "good": "green",
    "attention": "yellow",
    "unproven": "bold yellow",
    "bad": "bold red",
    "unknown": "dim",
    "plain": "cyan",
}
_MAX_WIDTH: Final = 120
_GAP: Final = "  "


def print_blocks(blocks: Iterable[Block], words: Words, console: Console) -> None:
    """Print notes and tables; plots and pictures are for the HTML form."""
    after_table = False
    for number, block in enumerate(blocks):
        if isinstance(block, Table):
            _print_table(block, words, console, apart=number > 0)
            after_table = True
        elif isinstance(block, Note):
            if after_table:
                console.print()
            _print_note(block, words, console)
            after_table = False


def printable(text: str) -> str:
    """Text on one line without characters that could drive a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _print_note(note: Note, words: Words, console: Console) -> None:
    first, *more = note.text.splitlines() or [""]
    line = Text(printable(first))
    if note.status is not None:
        line = Text.assemble((words(f"status.{note.status}"), STYLES[note.status]), _GAP, line)
    _print_line(line, console)
    for further in more:
        _print_line(Text(_GAP + printable(further)), console)


def _print_table(table: Table, words: Words, console: Console, *, apart: bool) -> None:
    if apart:
        console.print()
    caption = Text(printable(table.caption), "bold")
    if table.origin is not None:
        caption = Text.assemble(caption, _GAP, (printable(words.origin(table.origin)), "dim"))
    _print_line(caption, console)
    heading = [Cell(column.title) for column in table.columns]
    rows = [[printable(cell.text) for cell in row] for row in (heading, *table.rows)]
    widths = [min(_MAX_WIDTH, max(map(cell_len, column))) for column in zip(*rows, strict=True)]
    for number, (row, cells) in enumerate(zip(rows, (heading, *table.rows), strict=True)):
        line = Text()
        for position, (text, width, column) in enumerate(zip(row, widths, table.columns, strict=True)):
            space = " " * max(0, width - cell_len(text))
            padded = space + text if column.align == "right" else text + space
            status = cells[position].status
            line.append(_GAP if position else "")
            line.append(padded, "bold" if number == 0 else STYLES[status] if status else None)
        line.rstrip()
        _print_line(line, console)


def _print_line(line: Text, console: Console) -> None:
    """Print a line as it is: a terminal wraps it, where Rich would cut names to pieces."""
    console.print(line, soft_wrap=True, highlight=False)
