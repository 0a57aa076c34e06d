"""The report as Markdown, for pull requests: the summary and the tables; plots and pictures stay in the HTML form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from rkdeploy.analysis.page.content import Block, Card, Note, Page, PageSection, Table
from rkdeploy.analysis.page.texts import Words

_MOST_ROWS = 15
_ACTIVE = re.compile(r"([\\`*_{}\[\]()#+!|<>~&@:])")


def markdown_text(page: Page, words: Words) -> str:
    """The document, ending with a line feed."""
    several = len(page.models) > 1
    lines = [f"# {escaped(page.title)}", ""]
    for model in page.models:
        if several:
            lines += [f"## {escaped(model.name)}", ""]
        lines += [escaped(model.subtitle), ""]
        lines += [*_cards(model.cards, words), ""]
        for section in model.sections:
            lines += _section(section, words, "###" if several else "##")
    for section in page.sections:
        lines += _section(section, words, "##")
    lines.append(f"*{escaped(page.subtitle)}*")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that may come out of a stranger's file: on one line, and nothing in it is markup, a link or a mention.

    Numbers and plain words stay readable as they are; a character that Markdown could act on gets a backslash, and
    those that HTML or GitHub act on become references.
    """
    one_line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return _ACTIVE.sub(_harmless, one_line)


def _harmless(found: re.Match[str]) -> str:
    references = {"<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}
    character = found[1]
    if character in references:
        return references[character]
    if character == ":":  # only where it would make a link
        rest = found.string[found.end() : found.end() + 2]
        return "&#58;" if rest == "//" else ":"
    if character in "()+!#{}":  # a link needs brackets, which are escaped
        return character
    if character == "_" and _inside_word(found):
        return "_"
    return f"\\{character}"


def _inside_word(found: re.Match[str]) -> bool:
    """True if an underscore is inside a word, where it emphasizes nothing."""
    text, at = found.string, found.start()
    return 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()


def _cards(cards: Sequence[Card], words: Words) -> Iterator[str]:
    yield f"| {words('page.summary')} | | |"
    yield "|---|---|---|"
    for card in cards:
        origin = f" *{escaped(words.origin(card.origin))}*" if card.origin else ""
        figure = f"**{escaped(card.figure)}**" if card.figure else ""
        yield f"| {escaped(card.question)} {escaped(card.status_text)} | {figure} | {escaped(card.sentence)}{origin} |"


def markdown_of(blocks: Iterable[Block], words: Words) -> str:
    """Tables and notes alone, ending with a line feed."""
    return "\n".join(_block_lines(blocks, words)).rstrip("\n") + "\n"


def _section(section: PageSection, words: Words, level: str) -> list[str]:
    lines = _block_lines(section.blocks, words)
    return [f"{level} {escaped(section.title)}", "", *lines] if lines else []


def _block_lines(blocks: Iterable[Block], words: Words) -> list[str]:
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Note):
            status = f"**{words(f'status.{block.status}')}** " if block.status else ""
            lines += [f"{status}{escaped(block.text)}", ""]
        elif isinstance(block, Table):
            lines += [*table_lines(block, words), ""]
    return lines


def table_lines(table: Table, words: Words) -> Iterator[str]:
    """A table with its caption and origin; of a long one the first rows."""
    origin = f" *{escaped(words.origin(table.origin))}*" if table.origin else ""
    yield f"**{escaped(table.caption)}**{origin}"
    yield ""
    yield "| " + " | ".join(escaped(column.title) for column in table.columns) + " |"
    yield "|" + "|".join("---:" if column.align == "right" else "---" for column in table.columns) + "|"
    shown = table.rows[:_MOST_ROWS] if table.tall else table.rows
    for row in shown:
        yield "| " + " | ".join(escaped(cell.text) for cell in row) + " |"
    if len(shown) < len(table.rows):
        yield ""
        yield words("page.more_rows", count=len(table.rows) - len(shown))
