"""`rkdeploy report`: one document of what was built, how accurate, how fast and how big it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rkdeploy.cli.console import out
from rkdeploy.cli.document import check_target
from rkdeploy.cli.report_form import Format, Language, LanguageOption, deliver, settled, with_packages

if TYPE_CHECKING:
    from rkdeploy.analysis.report.model_report import Report


def report_command(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="BUNDLE|FILE",
            help="Bundles, and what profile, eval, explain and report wrote with -o.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File to write: report.html, report.md or report.json. Default: a summary in the terminal.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Form, where the file's name does not say; without -o to stdout."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    lang: LanguageOption = Language.en,
) -> None:
    """Report on a build: accuracy, time, layers, memory, examples, each figure with where it comes from.

    rkdeploy report diff A B compares two: see rkdeploy report diff --help.
    """
    forms = settled(output, form, as_json=as_json)
    from rkdeploy.analysis.report.gather import gather

    check_target(output)
    found = gather(paths, pictures=Format.html in (forms.file, forms.stdout))
    if forms.shown:
        from rkdeploy.cli.report_summary import print_summary

        print_summary(found, lang.value, out)
    deliver(lambda wanted: _rendered(found, wanted, lang), forms, output)


def _rendered(found: Report, form: Format, lang: Language) -> str:
    def render() -> str:
        if form is Format.json:
            from rkdeploy.analysis.report.json_text import json_text

            return json_text(found)
        from rkdeploy.analysis.page.texts import Words
        from rkdeploy.analysis.report.compose import compose

        page = compose(found, lang.value)
        if form is Format.md:
            from rkdeploy.analysis.page.markdown import markdown_text

            return markdown_text(page, Words(lang.value))
        from rkdeploy.analysis.page.html import html_text

        return html_text(page, lang.value)

    return with_packages(render)
