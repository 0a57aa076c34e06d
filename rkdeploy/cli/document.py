"""Documents that a command writes: where they can go, and that they went there."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.analysis.page.needed_packages import with_packages
from rkdeploy.cli.console import err, out, plain
from rkdeploy.cli.language import chosen_language
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from rkdeploy.analysis.page.content import Block
    from rkdeploy.analysis.page.texts import Lang, Words

_MARKDOWN = frozenset({".md", ".markdown"})
_PAGES = _MARKDOWN | {".html", ".htm"}


def check_target(output: Path | None) -> None:
    """Refuse a place where nothing can be written, before the work.

    Raises:
        RkdeployError: a folder stands there, or there is no folder for it.
    """
    from rkdeploy.system.atomic_file import refuse_folder

    if output is None:
        return
    refuse_folder(output)
    if not output.parent.is_dir():
        raise RkdeployError(f'"{output}" cannot be written: there is no folder "{output.parent}".')


def write_document(text: str, output: Path) -> None:
    """Write a file whole, and say so on stderr."""
    from rkdeploy.system.atomic_file import write_atomically

    data = text.encode()
    write_atomically(output, data)
    err.print(f"Written: {plain(str(output))}  ({len(data) / 1024:,.0f} KiB)")


def print_result(text: str, table: Callable[[], None], *, as_json: bool, output: Path | None) -> None:
    """Give a command's result: the table or, with --json, the document on stdout; also the document in a file.

    Args:
        text: the document, JSON.
        table: prints it for people.
        as_json: True if --json was given.
        output: the file of --output.
    """
    if as_json:
        print(text, end="")
    else:
        table()
    if output is not None:
        write_document(text, output)


def print_tables(
    document: object,
    blocks: Callable[[Words], Iterable[Block]],
    *,
    title: str,
    as_json: bool,
    output: Path | None,
    lang: Lang | None,
    markdown: bool = False,
) -> None:
    """Give a command's result: its tables or, with --json, the document on stdout; also a file.

    Args:
        document: written as JSON.
        blocks: makes the tables and notes in a language.
        title: of the page, for a file that ends in .md or .html.
        as_json: True if --json was given.
        output: the file of --output; its suffix decides the form, JSON for other suffixes.
        lang: the option --lang.
        markdown: True for Markdown tables on stdout.

    Raises:
        RkdeployError: a package that a form needs is not installed, or the file cannot be written.
    """
    from rkdeploy.analysis.page.markdown import markdown_of
    from rkdeploy.analysis.page.terminal import print_blocks
    from rkdeploy.analysis.page.texts import Words
    from rkdeploy.contract.documents import document_text

    words = Words(chosen_language(lang))
    if as_json:
        print(document_text(document), end="")
    elif markdown:
        print(markdown_of(blocks(words), words), end="")
    else:
        print_blocks(blocks(words), words, out)
    if output is None:
        return
    suffix = output.suffix.lower()
    if suffix in _PAGES:
        write_document(with_packages(lambda: _page(title, blocks(words), words, suffix)), output)
    else:
        write_document(document_text(document), output)


def _page(title: str, blocks: Iterable[Block], words: Words, suffix: str) -> str:
    import datetime as dt

    from rkdeploy.analysis.page.content import Page, PageSection, moment
    from rkdeploy.analysis.page.markdown import markdown_text
    from rkdeploy.version import __version__

    made = words("page.made", created=moment(dt.datetime.now(dt.timezone.utc).isoformat()), version=__version__)
    page = Page(words.lang, title, words("page.kind"), made, (), (PageSection("result", title, list(blocks)),))
    if suffix in _MARKDOWN:
        return markdown_text(page, words)
    from rkdeploy.analysis.page.html import html_text

    return html_text(page, words.lang)
