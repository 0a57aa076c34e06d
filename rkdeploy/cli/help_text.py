"""The help of a command: -h prints what is used most on one screen, --help everything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import MISSING
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from rkdeploy.cli.console import plain
from rkdeploy.option import GENERAL, PANELS, Argument, Declared, in_words, metavar

if TYPE_CHECKING:
    from rkdeploy.cli.signature import Signature

_MAX_WIDTH = 110
_LEFT = 30
_HELP_ROW = ("-h, --help", "Print the options used most, or all of them.")


def print_help(path: str, signature: Signature, console: Console, *, whole: bool) -> None:
    """Print the help of a command.

    Args:
        path: `rkdeploy build`.
        signature: of the command.
        console: where to.
        whole: whether all options are listed, with all that is said of them.
    """
    leaves = [leaf for leaf in signature.leaves() if isinstance(leaf.declaration, Argument) or not leaf.option.hidden]
    arguments = [leaf for leaf in leaves if isinstance(leaf.declaration, Argument)]
    options = [leaf for leaf in leaves if not isinstance(leaf.declaration, Argument)]
    width = min(console.width, _MAX_WIDTH)
    about, *more = signature.text.split("\n\n")
    paragraphs = [about, *more] if whole else [about]
    console.print(f"[bold]Usage:[/] {plain(usage(path, signature))}\n", soft_wrap=False, width=width)
    for text in paragraphs:
        console.print(f"{plain(' '.join(text.split()))}\n", soft_wrap=False, width=width)
    words = [row for leaf in arguments for row in _argument(leaf).rows]
    panels = {"Arguments": [(name, plain(text if whole else _first(text))) for name, text in words]}
    for panel in _panels(options):
        rows = [
            (flags(leaf), _about(leaf, whole=whole))
            for leaf in options
            if leaf.option.panel == panel and (whole or leaf.option.often)
        ]
        panels[panel] = [*rows, _HELP_ROW] if panel == GENERAL else rows
    left = max((len(row[0]) for rows in panels.values() for row in rows), default=0)
    for panel, rows in panels.items():
        if rows:
            console.print(f"[bold]{panel}[/]")
            console.print(_rows(rows, min(left, _LEFT)), soft_wrap=False, width=width)
    left_out = sum(not leaf.option.often for leaf in options)
    if left_out and not whole:
        console.print(f"\n{left_out} more option{'' if left_out == 1 else 's'}: [bold]{plain(path)} --help[/]")


def usage(path: str, signature: Signature) -> str:
    """Usage line of a command: `rkdeploy build MODEL [OPTIONS]`."""
    words = [_usage(leaf) for leaf in signature.leaves() if isinstance(leaf.declaration, Argument)]
    return " ".join([path, *words, "[OPTIONS]"])


def flags(leaf: Declared) -> str:
    """An option's spellings with its value: `-o, --output FILE`."""
    option = leaf.option
    short = [word for word in option.also if not word.startswith("--")]
    names = [*short, option.flag, *([option.off] if option.off else [])]
    return " ".join(filter(None, [", ".join(names), metavar(leaf)]))


def default_in_words(leaf: Declared) -> str:
    """Default of an option in words; may be empty."""
    option = leaf.option
    if option.default:
        return option.default
    if leaf.default in (None, MISSING, (), "") or isinstance(leaf.default, bool):
        return ""
    return in_words(leaf, leaf.default)


def _usage(leaf: Declared) -> str:
    word = _argument(leaf).metavar
    return word if leaf.default is MISSING or word.startswith("[") else f"[{word}]"


def _argument(leaf: Declared) -> Argument:
    assert isinstance(leaf.declaration, Argument)
    return leaf.declaration


def _first(text: str) -> str:
    """The first sentence."""
    return re.split(r"(?<=[^.]\.) (?=[A-Z])", text, maxsplit=1)[0]


def _about(leaf: Declared, *, whole: bool) -> str:
    option, default = leaf.option, default_in_words(leaf)
    text = option.help if whole else _first(option.help)
    notes = [f"default: {default}"] if default else []
    if whole and option.env:
        notes.append(f"environment: {option.env}")
    return plain(text) + "".join(f" [dim]({plain(one)})[/]" for one in notes)


def _panels(options: Iterable[Declared]) -> list[str]:
    """The panels that have options, in their order."""
    found = {leaf.option.panel for leaf in options}
    return [panel for panel in PANELS if panel in found]


def _rows(rows: Sequence[tuple[str, str]], left: int) -> Padding:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(width=left, overflow="fold", style="cyan")
    table.add_column(ratio=1)
    for name, about in rows:
        table.add_row(plain(name), about)
    return Padding(table, (0, 0, 0, 2))
