"""The text of a configuration file: every option with its help, those that are given with their values."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rkdeploy.cli.bundle_argument import bundle_and_sources
from rkdeploy.cli.config_file import BUNDLE_KEY, SOURCES_KEY, Key
from rkdeploy.cli.help_text import default_in_words
from rkdeploy.option import PANELS, in_words, metavar

_WIDTH: Final = 100


def config_text(keys: Sequence[Key], values: Mapping[str, Any]) -> str:
    """A TOML file that gives the same arguments and options.

    Args:
        keys: of the command.
        values: what is given, by parameter.
    """
    words = [str(word) for key in keys if not key.name for word in values.get(key.parameter) or []]
    bundle, sources = bundle_and_sources(words, more_follow=True)
    lines = [
        "# Configuration of rkdeploy run: rkdeploy run --config FILE",
        "# What the command line gives as well goes before.  Paths are relative to the folder in which it runs.",
        "",
        f"{BUNDLE_KEY} = {toml_value(bundle)}" if bundle is not None else f'# {BUNDLE_KEY} = "PATH"',
        f"{SOURCES_KEY} = {toml_value(list(sources))}" if sources else f'# {SOURCES_KEY} = ["SOURCE", ...]',
    ]
    shown = [key for key in keys if key.name and not key.leaf.option.hidden]
    for panel in PANELS:
        of_panel = [key for key in shown if key.leaf.option.panel == panel]
        if of_panel:
            lines += ["", f"# ---- {panel} ----"]
        for key in of_panel:
            lines += ["", *_described(key), _line(key, values.get(key.parameter))]
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """A value as TOML: a string, a number, true or false, or a list of these."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _described(key: Key) -> Iterator[str]:
    default = default_in_words(key.leaf)
    text = key.leaf.option.help + (f" Default: {default}." if default else "")
    yield from textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _line(key: Key, value: Any) -> str:
    if value is None or (value is False and not key.leaf.option.off):
        return f"# {key.name} = {_placeholder(key)}"
    return f"{key.name} = {toml_value(_typed(key, value))}"


def _placeholder(key: Key) -> str:
    if key.leaf.type is bool:
        return "true"
    word = metavar(key.leaf)
    is_number = key.leaf.option.form is None and key.leaf.type in (int, float)
    return word if is_number or word in ("N", "X") else json.dumps(word)


def _typed(key: Key, value: Any) -> Any:
    """A value as TOML has it: numbers and lists where the option takes them, else the word of the command line."""
    if key.leaf.option.form is not None:
        return in_words(key.leaf, value)
    if isinstance(value, bool | int | float | list | tuple):
        return value
    return str(value)
