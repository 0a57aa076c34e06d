"""`rkdeploy report diff`: two builds, boards or releases side by side."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rkdeploy.analysis.page.needed_packages import with_packages
from rkdeploy.analysis.page.texts import Lang
from rkdeploy.analysis.report.rendering import Format
from rkdeploy.cli.console import err, out, plain
from rkdeploy.cli.document import check_target
from rkdeploy.cli.language import LANGUAGE, chosen_language
from rkdeploy.cli.report_form import FORM, REPORT_FILE, deliver, settled
from rkdeploy.cli.typer_command import JSON
from rkdeploy.option import OUTPUT, Argument, Option

if TYPE_CHECKING:
    from rich.console import Console

    from rkdeploy.analysis.report.diff.diff_document import ReportDiff


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
    lang: Annotated[Lang | None, replace(LANGUAGE, often=True)] = None,
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
) -> None:
    """Compare two builds, boards or releases: what got better or worse beyond noise, and what differs about them."""
    from rkdeploy.analysis.report.diff.changes import compare_paths
    from rkdeploy.analysis.report.diff.limits import parse_limits, require_limits

    forms, language = settled(output, form, as_json=as_json), chosen_language(lang)
    limits = parse_limits(fail_on) if fail_on is not None else ()
    check_target(output)
    found = compare_paths(a, b)
    if forms.shown:
        _print(found, language, out)
    deliver(lambda wanted: _rendered(found, wanted, language), forms, output)
    require_limits(found, limits)
    if limits:
        (out if forms.shown else err).print(f"Within the limits: {plain(fail_on or '')}")


def _rendered(found: ReportDiff, form: Format, lang: Lang) -> str:
    from rkdeploy.analysis.page.texts import Words
    from rkdeploy.analysis.report.diff.compose_diff import compose_diff

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
    from rkdeploy.analysis.page.terminal import print_blocks
    from rkdeploy.analysis.page.texts import Words
    from rkdeploy.analysis.report.diff.compose_diff import compose_diff

    page = compose_diff(found, lang)
    console.print(f"[bold]{plain(page.title)}[/]")
    for section in page.sections:
        console.print()
        print_blocks(section.blocks, Words(lang), console)
