"""`rkdeploy report`: one document of what was built, how accurate, how fast and how big it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.analysis.report.rendering import Format
from rkdeploy.cli.console import out
from rkdeploy.cli.document import check_target
from rkdeploy.cli.language import LANGUAGE, chosen_language
from rkdeploy.cli.report_form import FORM, REPORT_FILE, deliver, settled
from rkdeploy.cli.typer_command import JSON
from rkdeploy.option import OUTPUT, Argument


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
    from rkdeploy.analysis.report.rendering import rendered

    check_target(output)
    found = gather([Path(one) for one in paths], pictures="html" in (forms.file, forms.stdout))
    if forms.shown:
        from rkdeploy.cli.report_summary import print_summary

        print_summary(found, language, out)
    deliver(lambda wanted: rendered(found, wanted, language), forms, output)
