"""A report's summary in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from rkdeploy.analysis.page.terminal import STYLES
from rkdeploy.analysis.page.texts import Lang, Words
from rkdeploy.analysis.report.cards import card, subtitle
from rkdeploy.cli.console import plain

if TYPE_CHECKING:
    from rich.console import Console

    from rkdeploy.analysis.report.model_report import Report


def print_summary(report: Report, lang: Lang, console: Console) -> None:
    """The answers of every model."""
    words = Words(lang)
    for model in report.models:
        console.print(f"[bold]{plain(model.name)}[/]  {plain(subtitle(model, words))}")
        table = Table(box=None, pad_edge=False, show_header=False)
        for style in ("bold", None, "bold", None):
            table.add_column(style=style, overflow="fold")
        for one in (card(verdict, words) for verdict in model.summary):
            origin = f" [dim]{plain(words.origin(one.origin))}[/]" if one.origin else ""
            table.add_row(
                plain(one.question),
                f"[{STYLES[one.status]}]{plain(one.status_text)}[/]",
                plain(one.figure),
                f"{plain(one.sentence)}{origin}",
            )
        console.print(table)
        console.print()
    console.print(words("page.whole"))
