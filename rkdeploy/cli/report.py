"""`rkdeploy report`: one document of what was built, how accurate, how fast and how big it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.cli.console import out
from rkdeploy.cli.declared import JSON
from rkdeploy.cli.document import check_target, with_packages
from rkdeploy.cli.language import LANGUAGE, chosen_language
from rkdeploy.cli.report_form import FORM, REPORT_FILE, Format, deliver, settled
from rkdeploy.option import OUTPUT, Argument

if TYPE_CHECKING:
    from rkdeploy.analysis.report.model_report import Report


def report_command(
    paths: Annotated[
        tuple[str, ...],
        Argument("BUNDLE|FILE...", "Bundles, and what profile, eval, explain and report wrote with -o."),
    ],
    output: Annotated[Path | None, REPORT_FILE] = None,
    form: Annotated[Format | None, FORM] = None,
    lang: Annotated[Lang | None, replace(LANGUAGE, often=True)] = None,
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
) -> None:
    """Report on a build: accuracy, time, layers, memory, examples, each figure with where it comes from.

    rkdeploy report diff A B compares two: see rkdeploy report diff --help.
    """
    forms, language = settled(output, form, as_json=as_json), chosen_language(lang)
    from rkdeploy.analysis.report.gather import gather

    check_target(output)
    found = gather([Path(one) for one in paths], pictures="html" in (forms.file, forms.stdout))
    if forms.shown:
        from rkdeploy.cli.report_summary import print_summary

        print_summary(found, language, out)
    deliver(lambda wanted: _rendered(found, wanted, language), forms, output)


def _rendered(found: Report, form: Format, lang: Lang) -> str:
    def render() -> str:
        if form == "json":
            from rkdeploy.analysis.report.json_text import json_text

            return json_text(found)
        from rkdeploy.analysis.page.texts import Words
        from rkdeploy.analysis.report.compose import compose

        page = compose(found, lang)
        if form == "md":
            from rkdeploy.analysis.page.markdown import markdown_text

            return markdown_text(page, Words(lang))
        from rkdeploy.analysis.page.html import html_text

        return html_text(page, lang)

    return with_packages(render)
