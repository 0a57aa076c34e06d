"""A table that a script makes, in its place on a page between two comments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class PageTable:
    """The place of a table.

    Attributes:
        page: a Markdown file.
        begin, end: comments before and behind the table; each stands once on the page.
        heading: the first two lines of the table.
    """

    page: Path
    begin: str
    end: str
    heading: str

    def write(self, lines: Sequence[str]) -> None:
        """Replace the lines of the table.

        Raises:
            ValueError: when a comment is not on the page exactly once.
        """
        text = self.page.read_text("utf-8")
        if (text.count(self.begin), text.count(self.end)) != (1, 1):
            message = f'"{self.page}" must have "{self.begin}" and "{self.end}" once each.'
            raise ValueError(message)
        before, after = text.split(self.begin)[0], text.split(self.end)[1]
        table = "\n".join((self.heading, *lines))
        self.page.write_text(f"{before}{self.begin}\n\n{table}\n\n{self.end}{after}", "utf-8")
