"""The report as one HTML file: no request leaves it, and no script but its own few lines may run."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache

import jinja2
from markupsafe import Markup

from rkdeploy.analysis.page.content import Block, Note, Page, Pictures, Plot, Table
from rkdeploy.analysis.page.texts import HTML_LANG, Lang, Words

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # all but tab and line feed


def html_text(page: Page, lang: Lang) -> str:
    """The document.

    Args:
        page: what it shows.
        lang: the language of the page's texts.
    """
    environment = _environment()
    style, script = (_source(environment, name) for name in ("style.css", "sort.js"))
    return environment.get_template("report.html").render(
        page=page,
        html_lang=HTML_LANG[lang],
        words=Words(lang),
        kind_of=_kind_of,
        style=Markup(style),  # noqa: S704  (our own files)
        script=Markup(script),  # noqa: S704  (our own files)
        policy=f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
    )


def _kind_of(block: Block) -> str:
    names: dict[type[Block], str] = {Note: "note", Table: "table", Plot: "plot", Pictures: "pictures"}
    return names[type(block)]


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return "\n" + environment.loader.get_source(environment, name)[0]


def _hash(text: str) -> str:
    """Hash of a text, as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("rkdeploy.analysis.page", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_harmless,
    )


def _harmless(value: object) -> object:
    """Text with its control characters escaped, and with those that turn the direction of what follows.

    A class name may hold them: they would drive a terminal that shows the file, or show another name than it is.
    """
    if not isinstance(value, str) or not _CONTROL.search(value):
        return value
    return type(value)(_CONTROL.sub(lambda found: ascii(found[0])[1:-1], value))
