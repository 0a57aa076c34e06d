"""`rkdeploy report diff`: two builds, boards or releases side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.cells import cell_len

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.cli.console import err, out, plain
from rkdeploy.cli.declared import JSON
from rkdeploy.cli.document import check_target
from rkdeploy.cli.report_form import FORM, LANGUAGE, REPORT_FILE, Format, deliver, settled, with_packages
from rkdeploy.option import OUTPUT, Argument, Option

if TYPE_CHECKING:
    from rich.console import Console

    from rkdeploy.analysis.page.blocks import Table
    from rkdeploy.analysis.report.diff.report_diff import ReportDiff


_STYLES = {"good": "green", "attention": "yellow", "bad": "red", "unknown": "dim"}
_MOST_WIDE = 100


def diff_command(
    a: Annotated[Path, Argument("A", "A bundle, a profile.json, or a report.json of one model.")],
    b: Annotated[Path, Argument("B", "What is compared with A, of the same kinds.")],
    fail_on: Annotated[
        str | None,
        Option(
            "--fail-on",
            "Exit with 1 where B is worse by more: latency=5%,map=0.01. Keys: latency (ms), fps, memory (MiB), "
            "map, agreement (points from 0 to 1); each absolute or in %.",
            metavar="LIMITS",
            often=True,
        ),
    ] = None,
    output: Annotated[Path | None, replace(REPORT_FILE, default="the terminal")] = None,
    form: Annotated[Format | None, FORM] = None,
    lang: Annotated[Lang, LANGUAGE] = "en",
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
) -> None:
    """Compare two builds, boards or releases: what got better or worse beyond noise, and what differs about them."""
    from rkdeploy.analysis.report.diff.changes import compare_paths
    from rkdeploy.analysis.report.diff.limits import parse_limits, require_limits

    forms = settled(output, form, as_json=as_json)
    limits = parse_limits(fail_on) if fail_on is not None else ()
    check_target(output)
    found = compare_paths(a, b)
    if forms.shown:
        _print(found, lang, out)
    deliver(lambda wanted: _rendered(found, wanted, lang), forms, output)
    require_limits(found, limits)
    if limits:
        (out if forms.shown else err).print(f"Within the limits: {plain(fail_on or '')}")


def _rendered(found: ReportDiff, form: Format, lang: Lang) -> str:
    from rkdeploy.analysis.page.texts import Words
    from rkdeploy.analysis.report.diff.compose import compose_diff

    def render() -> str:
        if form == "json":
            from rkdeploy.contract.documents import document_text

            return document_text(found)
        page = compose_diff(found, lang)
        if form == "md":
            from rkdeploy.analysis.page.markdown import markdown_text

            return markdown_text(page, Words(lang))
        from rkdeploy.analysis.page.html import html_text

        return html_text(page, lang)

    return with_packages(render)


def _print(found: ReportDiff, lang: Lang, console: Console) -> None:
    from rkdeploy.analysis.page.blocks import Note, Table
    from rkdeploy.analysis.page.texts import Words
    from rkdeploy.analysis.report.diff.compose import compose_diff

    words = Words(lang)
    page = compose_diff(found, lang)
    console.print(f"[bold]{plain(page.title)}[/]")
    for section in page.sections:
        for index, block in enumerate(section.blocks):
            console.print()
            if isinstance(block, Table):
                origin = f"  [dim]{plain(words.origin(block.origin))}[/]" if block.origin else ""
                console.print(f"[bold]{plain(block.caption)}[/]{origin}")
                _print_rows(block, console)
            elif isinstance(block, Note):
                heading = f"[bold]{plain(section.title)}[/]  " if index == 0 else ""
                console.print(f"{heading}{plain(block.text)}")


def _print_rows(block: Table, console: Console) -> None:
    """Columns as wide as what is in them: a terminal wraps long lines, where Rich would cut names to pieces."""
    cells = [[column.title for column in block.columns], *([cell.text for cell in row] for row in block.rows)]
    widths = [min(_MOST_WIDE, max(cell_len(text) for text in column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        parts = []
        for position, (text, width, column) in enumerate(zip(row, widths, block.columns, strict=True)):
            space = " " * max(0, width - cell_len(text))
            last = position == len(row) - 1
            padded = space + plain(text) if column.align == "right" else plain(text) + ("" if last else space)
            status = block.rows[number - 1][position].status if number else None
            style = "bold" if number == 0 else _STYLES.get(status or "", "")
            parts.append(f"[{style}]{padded}[/]" if style else padded)
        console.print("  ".join(parts))
