"""A report as text, in each of its forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rkdeploy.analysis.page.needed_packages import with_packages

if TYPE_CHECKING:
    from rkdeploy.analysis.page.texts import Lang
    from rkdeploy.analysis.report.model_report import Report

Format = Literal["html", "md", "json"]


def rendered(found: Report, form: Format, lang: Lang) -> str:
    """The text of a report's file.

    Args:
        found: what it reports on.
        form: `html` is one file with everything in it, `md` Markdown, `json` the documents themselves.
        lang: of `html` and `md`.

    Raises:
        RkdeployError: a package that the form needs is not installed.
    """
    if form == "json":
        from rkdeploy.analysis.report.json_text import json_text

        return json_text(found)
    return with_packages(lambda: _page(found, form, lang))


def _page(found: Report, form: Format, lang: Lang) -> str:
    from rkdeploy.analysis.page.texts import Words
    from rkdeploy.analysis.report.compose import compose

    page = compose(found, lang)
    if form == "md":
        from rkdeploy.analysis.page.markdown import markdown_text

        return markdown_text(page, Words(lang))
    from rkdeploy.analysis.page.html import html_text

    return html_text(page, lang)
