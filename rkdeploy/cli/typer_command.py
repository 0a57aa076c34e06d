"""From a function of frozen options to a command: its parameters are the declarations of `rkdeploy.option`.

    def build_command(options: BuildOptions) -> None: ...
    command("build", build_command)

Every option is unset until it is given, so that defaults are said in one place, the dataclass.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, replace
from functools import partial
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

import typer

from rkdeploy.cli import verbosity
from rkdeploy.cli.command import Command
from rkdeploy.cli.config_file import Key, keys_of
from rkdeploy.cli.config_option import config_annotation
from rkdeploy.cli.config_text import config_text
from rkdeploy.cli.signature import CONFIG, PRINT_CONFIG, Signature
from rkdeploy.option import Argument, Declared, Option, choices, declared, metavar

JSON: Final = Option("--json", "Print the result as JSON on stdout, and nothing else there.", often=True)
OUTPUT_FILE: Final = Option("--output", "Write the result to a file as JSON.", also=("-o",), metavar="FILE", often=True)
PAGE_FILE: Final = replace(OUTPUT_FILE, help="Write the result to a file: .json, .md or .html.")
_Values = Mapping[str, Any]
_CONFIGURED: Final = frozenset({"run"})
"""Commands that take a configuration file."""


def command(name: str, function: Callable[..., None]) -> Command:
    """The command of a function whose parameters are dataclasses of options, or declared themselves."""
    hints = get_type_hints(function, include_extras=True)
    parts = []
    for one in inspect.signature(function).parameters.values():
        part = declared(one.name, hints[one.name], MISSING if one.default is one.empty else one.default)
        assert part is not None, f"{function.__name__}: {one.name} declares nothing"
        parts.append(part)
    signature = Signature(tuple(parts), inspect.getdoc(function) or "", configured=name in _CONFIGURED)
    alone = typer.Typer(
        add_completion=False,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    alone.command(name, cls=Command, help=signature.text)(_for_typer(signature, function))
    made = typer.main.get_command(alone)
    assert isinstance(made, Command)
    made.signature = signature
    return made


def _for_typer(signature: Signature, function: Callable[..., None]) -> Callable[..., None]:
    """A function with one parameter per option, as typer reads it, that calls the one with objects."""

    def called(**values: Any) -> None:
        if values.pop(PRINT_CONFIG.name, False):
            print(config_text(_configured_keys(signature), values), end="")
            return
        with verbosity.level(quiet=bool(values.pop("quiet")), verbose=bool(values.pop("verbose"))):
            function(**{part.name: _value(part, values, part.name) for part in signature.parts})

    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_unset(leaf), annotation=_annotation(leaf))
        for name, leaf in _named_all(signature)
        if leaf is not CONFIG
    ]
    if signature.configured:
        hint = config_annotation(_configured_keys(signature))
        parameters.append(inspect.Parameter(CONFIG.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint))
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # as inspect reads it
    called.__annotations__ = {one.name: one.annotation for one in parameters}
    return called


def _named_all(signature: Signature) -> Iterator[tuple[str, Declared]]:
    """All leaves of a command with the names of their parameters."""
    for part in (*signature.parts, *signature.general):
        yield from _named(part, part.name)


def _configured_keys(signature: Signature) -> tuple[Key, ...]:
    named = [(name, leaf) for name, leaf in _named_all(signature) if leaf not in (CONFIG, PRINT_CONFIG)]
    return keys_of(named, _require_readable)


def _require_readable(leaf: Declared, word: str) -> None:
    """Read a word as the command line does.

    Raises:
        typer.BadParameter: with what was expected.
    """
    _, parser = _parsed(leaf)
    if parser is not None:
        parser(word)


def _named(part: Declared, name: str) -> Iterator[tuple[str, Declared]]:
    """The leaves of a part with the names of their parameters."""
    if part.declaration is not None:
        yield name, part
    for inner in part.parts:
        yield from _named(inner, f"{name}__{inner.name}")


def _unset(leaf: Declared) -> Any:
    if isinstance(leaf.declaration, Argument) and leaf.default is MISSING:
        return ...
    return False if _is_flag(leaf) else None


def _is_flag(leaf: Declared) -> bool:
    return leaf.type is bool and isinstance(leaf.declaration, Option) and not leaf.option.off


def _annotation(leaf: Declared) -> Any:
    if isinstance(leaf.declaration, Argument):
        kind = list[str] if get_origin(leaf.type) is tuple else leaf.type
        about = typer.Argument(metavar=leaf.declaration.metavar, help=leaf.declaration.help, show_default=False)
        return Annotated[kind if leaf.default is MISSING else kind | None, about]
    option = leaf.option
    kind, parser = _parsed(leaf)
    flags = [f"{option.flag}/{option.off}"] if option.off else [option.flag, *option.also]
    complete = option.complete or choices(leaf)
    about = typer.Option(
        *flags,
        help=option.help,
        metavar=metavar(leaf) or None,
        envvar=option.env or None,
        min=option.low,
        max=option.high,
        parser=parser,
        show_default=False,
        hidden=option.hidden,
        autocompletion=_completing(complete) if complete else None,
    )
    return Annotated[kind if kind is bool and not option.off else kind | None, about]


def _completing(words: tuple[str, ...]) -> Callable[[str], list[str]]:
    def completed(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return completed


def _parsed(leaf: Declared) -> tuple[Any, Callable[[str], Any] | None]:
    """The type for typer, and what reads a word where the type alone does not."""
    form, few = leaf.option.form, choices(leaf)
    if form is not None:
        return str, _reading(form.read)
    if few:
        return str, _reading(partial(_chosen, few))
    if leaf.type in (int, float):
        return str, _reading(partial(_number, leaf))
    if get_origin(leaf.type) is tuple:
        return list[get_args(leaf.type)[0]], None  # type: ignore[misc]  # a type that is made at run time
    return leaf.type, None


def _reading(read: Callable[[str], Any]) -> Callable[[str], Any]:
    def value(text: str) -> Any:
        try:
            return read(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return value


def _chosen(few: tuple[str, ...], text: str) -> str:
    if text not in few:
        raise ValueError(f'"{text}" is not one of {", ".join(few)}.')
    return text


def _number(leaf: Declared, text: str) -> float:
    """A number within the bounds of its option.

    Raises:
        ValueError: with what was expected.
    """
    option, kind = leaf.option, leaf.type
    try:
        value: float = kind(text)
    except ValueError:
        value = math.nan
    low = -math.inf if option.low is None else option.low
    high = math.inf if option.high is None else option.high
    if low <= value <= high and math.isfinite(value):
        return value
    what = "a whole number" if kind is int else "a number"
    bounds = f" from {low:g} to {high:g}" if high < math.inf else f" of {low:g} or more" if low > -math.inf else ""
    raise ValueError(f'"{text}" is not {what}{bounds}.')


def _value(part: Declared, values: _Values, name: str) -> Any:
    """The value of a part: as given, else its default.

    Raises:
        typer.BadParameter: when an option is given that needs another one.
    """
    if part.declaration is not None:
        return _plain(values[name]) if _is_given(part, values, name) else part.default
    given = {
        one.name: _value(one, values, inner) for one in part.parts if _has(one, values, inner := f"{name}__{one.name}")
    }
    missing = [one for one in part.parts if one.default is MISSING and one.name not in given]
    if not given and part.default is not MISSING:
        return part.default
    if missing:
        needed = missing[0].option.flag
        for inner, leaf in _named(part, name):
            if isinstance(leaf.declaration, Option) and _is_given(leaf, values, inner):
                raise typer.BadParameter(f"it needs {needed}.", param_hint=leaf.option.flag)
        raise typer.BadParameter("Missing option.", param_hint=needed)
    return part.type(**given)


def _has(part: Declared, values: _Values, name: str) -> bool:
    return any(_is_given(leaf, values, inner) for inner, leaf in _named(part, name))


def _is_given(leaf: Declared, values: _Values, name: str) -> bool:
    return values[name] not in ((False, None) if _is_flag(leaf) else (None,))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
