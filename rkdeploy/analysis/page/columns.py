"""Tables declared by their columns: a title, and the cell of each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from rkdeploy.analysis.origin import Origin
from rkdeploy.analysis.page.content import ABSENT, Align, Cell, Column, Table, count, figure

_Row = TypeVar("_Row")


@dataclass(frozen=True, slots=True)
class ColumnOf(Generic[_Row]):
    """A column of a table of rows of one kind.

    Attributes:
        title: heading of the column.
        cell: makes the cell of a row.
        align: right for numbers.
    """

    title: str
    cell: Callable[[_Row], Cell]
    align: Align = "left"


def text_column(title: str, text: Callable[[_Row], str | None], align: Align = "left") -> ColumnOf[_Row]:
    """A column of texts; an en dash stands where there is none."""
    return ColumnOf(title, lambda row: Cell(text(row) or ABSENT), align)


def number_column(
    title: str, value: Callable[[_Row], float | None], form: str = ".3f", unit: str = "", factor: float = 1.0
) -> ColumnOf[_Row]:
    """A column of numbers.

    Args:
        title: heading.
        value: of a row, None where it has none.
        form: format of a number, as `format` takes it.
        unit: behind the number.
        factor: by which the value is multiplied first.
    """

    def cell(row: _Row) -> Cell:
        found = value(row)
        return figure(None if found is None else found * factor, form, unit)

    return ColumnOf(title, cell, "right")


def count_column(title: str, value: Callable[[_Row], float | None]) -> ColumnOf[_Row]:
    """A column of whole numbers."""
    return ColumnOf(title, lambda row: count(value(row)), "right")


def share_column(title: str, value: Callable[[_Row], float | None]) -> ColumnOf[_Row]:
    """A column of shares, in percent."""

    def cell(row: _Row) -> Cell:
        found = value(row)
        return Cell(ABSENT) if found is None else Cell(f"{found:.1%}", found)

    return ColumnOf(title, cell, "right")


def table_of(
    caption: str,
    columns: Sequence[ColumnOf[_Row]],
    rows: Sequence[_Row],
    origin: Origin | None = None,
    *,
    sortable: bool = False,
    tall: bool = False,
) -> Table:
    """A table without the columns that have no value in any row."""
    cells = [[column.cell(row) for column in columns] for row in rows]
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i].text not in ("", ABSENT) for row in cells)]
    return Table(
        caption,
        [Column(columns[i].title, columns[i].align) for i in kept],
        [[row[i] for i in kept] for row in cells],
        origin,
        sortable,
        tall,
    )
