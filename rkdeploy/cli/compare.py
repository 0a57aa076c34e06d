"""`rkdeploy compare`: builds for several chips, types and sizes side by side, before there is a board."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rkdeploy.analysis.compare.compare_events import CompareEvents
from rkdeploy.analysis.compare.variants import CompareOptions
from rkdeploy.analysis.page.texts import Lang
from rkdeploy.cli.console import err, plain, print_warning
from rkdeploy.cli.document import check_target, print_tables
from rkdeploy.cli.language import LANGUAGE
from rkdeploy.cli.typer_command import JSON, PAGE_FILE
from rkdeploy.cli.verbosity import is_quiet
from rkdeploy.option import OUTPUT, Option

if TYPE_CHECKING:
    from rkdeploy.analysis.compare.comparison import Row
    from rkdeploy.analysis.compare.variants import Variant

TableFormat = Literal["text", "md"]


def compare_command(
    options: CompareOptions,
    form: Annotated[
        TableFormat, Option("--format", "Form of the printed table: text, or md for Markdown.", OUTPUT)
    ] = "text",
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
    output: Annotated[Path | None, replace(PAGE_FILE, panel=OUTPUT)] = None,
    lang: Annotated[Lang | None, LANGUAGE] = None,
) -> None:
    """Build for several chips, types and sizes; compare predicted rate, memory and agreement with the float model."""
    from rkdeploy.analysis.compare.compare_builds import compare
    from rkdeploy.analysis.tables.comparison_tables import comparison_blocks

    check_target(output)
    with _watched() as events:
        found = compare(options, events)
    print_tables(
        found,
        lambda words: comparison_blocks(found, words),
        title=found.model,
        as_json=as_json,
        output=output,
        lang=lang,
        markdown=form == "md",
    )


class _CompareProgress(CompareEvents):
    """A line per finished build; on a terminal also a bar, with the current work."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = bar.add_task("Starting", total=None) if bar is not None else None
        self._build = ""
        self._stage = ""
        self._warned: set[str] = set()

    def begin(self, variant: Variant, done: int, total: int) -> None:
        self._build = f"{variant}: "
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=plain(str(variant)))

    def done(self, row: Row) -> None:
        from rkdeploy.analysis.tables.comparison_tables import row_line

        if not is_quiet():
            err.print(plain(row_line(row)))
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def stage(self, title: str) -> None:
        self._stage = title
        self._show(title)

    def detail(self, text: str) -> None:
        self._show(f"{self._stage}: {text}")

    def warning(self, text: str) -> None:
        if text not in self._warned:  # most are of the model or the images, and so the same in all builds
            self._warned.add(text)
            print_warning(text)

    def _show(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=plain(f"{self._build}{text}"))


@contextmanager
def _watched() -> Iterator[_CompareProgress]:
    if not err.is_terminal or is_quiet():
        yield _CompareProgress(None)
        return
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True, refresh_per_second=4) as bar:
        yield _CompareProgress(bar)
