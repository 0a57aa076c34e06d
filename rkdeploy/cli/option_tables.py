"""The tables of options in docs, from the declarations: `python -m rkdeploy.cli.option_tables docs board` brings them
up to date.

A table stands between `<!-- options: build -->` and `<!-- end of options -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from rkdeploy.cli.help_text import default_in_words, flags
from rkdeploy.cli.main import COMMANDS, DIFF, loaded
from rkdeploy.option import PANELS, Argument, Declared

_TABLE = re.compile(r"(<!-- options: ([a-z ]+) -->\n).*?(<!-- end of options -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """A page with the tables as they are now."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{options_table(found[2])}\n{found[3]}", page)


def options_table(command: str) -> str:
    """The arguments and options of a command as Markdown, a heading and a table per panel."""
    place = DIFF if command == "report diff" else COMMANDS[command].place
    leaves = [one for one in loaded(command, place).signature.leaves() if _is_shown(one)]
    words = [row for one in leaves if isinstance(one.declaration, Argument) for row in one.declaration.rows]
    lines = ["| argument | |", "|---|---|", *(f"| `{name}` | {_cell(text)} |" for name, text in words), ""]
    options = [one for one in leaves if not isinstance(one.declaration, Argument)]
    for panel in PANELS:
        rows = [one for one in options if one.option.panel == panel]
        if rows:
            lines += [f"{panel}:", "", "| option | default | |", "|---|---|---|", *_rows(rows), ""]
    return "\n".join(lines)


def _is_shown(leaf: Declared) -> bool:
    return isinstance(leaf.declaration, Argument) or not leaf.option.hidden


def _rows(leaves: list[Declared]) -> Iterator[str]:
    for leaf in leaves:
        option, default = leaf.option, default_in_words(leaf)
        long = [f"`{word}`" for word in option.also if word.startswith("--")]
        notes = [*([f"Also {', '.join(long)}."] if long else []), *([f"Also `{option.env}`."] if option.env else [])]
        exact = not option.default and default
        default = f"`{default}`" if exact else default
        cells = (f"`{flags(leaf)}`", default, " ".join([option.help, *notes]))
        yield "|".join(["", *(f" {_cell(cell)} " if cell else " " for cell in cells), ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: list[str]) -> None:
    """Bring the pages below these folders up to date."""
    for page in (page for folder in arguments for page in sorted(Path(folder).rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        page.write_text(with_tables(text), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
