"""Output on a terminal: whole tables."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from rkdeploy.cli.console import print_whole


def test_a_wide_table_keeps_its_figures() -> None:
    """A narrow terminal, or none, cuts nothing; a line a row."""
    written = io.StringIO()
    table = Table(box=None, pad_edge=False)
    for number in range(6):
        table.add_column(f"figure {number}", no_wrap=True, justify="right")
    table.add_row(*(f"{number}.123456789" for number in range(6)))
    print_whole(table, Console(file=written, width=40))
    head, row = written.getvalue().splitlines()
    assert [f"figure {n}" in head for n in range(6)] == [True] * 6
    assert row.split() == [f"{n}.123456789" for n in range(6)]
