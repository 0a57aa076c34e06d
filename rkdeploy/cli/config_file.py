"""Configuration files of `rkdeploy run`: TOML whose keys are the options by their names, without the dashes.

    bundle = "build/best-rk3588-int8"
    sources = ["rtsp://10.0.0.7/cam1"]
    conf = [0.4, "person=0.5"]
    web = true

A value is what the command line takes, as a number, a string, true or false; an array gives an option several times.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_origin

import typer

from rkdeploy.errors import RkdeployError
from rkdeploy.option import Argument, Declared
from rkdeploy.system.text_file import TextFileError, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BUNDLE_KEY: Final = "bundle"
SOURCES_KEY: Final = "sources"
_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a configuration file.

    Attributes:
        name: of the key; empty for the words of the command line, which are two keys.
        parameter: name of the command's parameter.
        leaf: declaration of the option.
        require_readable: raises typer.BadParameter for a word that the option does not take.
    """

    name: str
    parameter: str
    leaf: Declared
    require_readable: Callable[[Declared, str], None]


def keys_of(
    named: Iterable[tuple[str, Declared]], require_readable: Callable[[Declared, str], None]
) -> tuple[Key, ...]:
    """The keys of a command's arguments and options.

    Args:
        named: the command's parameters with their declarations.
        require_readable: see `Key`.
    """
    return tuple(Key(_name(leaf), parameter, leaf, require_readable) for parameter, leaf in named)


def _name(leaf: Declared) -> str:
    return "" if isinstance(leaf.declaration, Argument) else leaf.option.flag.removeprefix("--")


def given_in(file: Path, keys: Sequence[Key]) -> dict[str, Any]:
    """Values of a command's parameters as a configuration file gives them, in the words of the command line.

    Raises:
        RkdeployError: when the file cannot be read or is not TOML, for a key that does not exist, and for a value that
            the option does not take.
    """
    values = dict(_read(file))
    words = list(_scalars(file, SOURCES_KEY, values.pop(SOURCES_KEY, [])))
    if BUNDLE_KEY in values:
        words.insert(0, _one(file, BUNDLE_KEY, values.pop(BUNDLE_KEY)))
    by_name = {key.name: key for key in keys if key.name}
    for name in values:
        if name not in by_name:
            raise _unknown(file, name, [*by_name, BUNDLE_KEY, SOURCES_KEY])
    given: dict[str, Any] = {by_name[name].parameter: _words(file, by_name[name], values[name]) for name in values}
    return given | {key.parameter: words for key in keys if not key.name and words}


def _read(file: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(read_text(file, _MAX_BYTES))
    except TextFileError as error:
        raise RkdeployError(f'Configuration "{file}" {error.reason}.', error.fix) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RkdeployError(
            f'Configuration "{file}" is not TOML: {error}.',
            "rkdeploy run --print-config writes one that has every option.",
        ) from error


def _words(file: Path, key: Key, value: object) -> bool | str | list[str]:
    """A value in the words of the command line."""
    if key.leaf.type is bool:
        if not isinstance(value, bool):
            raise _wrong(file, key.name, value, "true or false")
        return value
    if key.leaf.option.form is not None:
        return _readable(file, key, ",".join(_scalars(file, key.name, value)))
    if get_origin(key.leaf.type) is tuple:
        return [_readable(file, key, word) for word in _scalars(file, key.name, value)]
    return _readable(file, key, _one(file, key.name, value))


def _readable(file: Path, key: Key, word: str) -> str:
    try:
        key.require_readable(key.leaf, word)
    except typer.BadParameter as error:
        raise RkdeployError(f'Configuration "{file}": {key.name}: {error.message}') from error
    return word


def _one(file: Path, name: str, value: object) -> str:
    if isinstance(value, list):
        raise _wrong(file, name, value, "one value")
    return next(_scalars(file, name, value))


def _scalars(file: Path, name: str, value: object) -> Iterator[str]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, bool) or not isinstance(one, str | int | float):
            raise _wrong(file, name, one, "a string or a number")
        yield str(one)


def _wrong(file: Path, name: str, value: object, expected: str) -> RkdeployError:
    kinds = {dict: "a table", list: "an array", bool: "true or false", str: "a string", int: "a number"}
    got = kinds.get(type(value), f'"{value}"')
    return RkdeployError(f'Configuration "{file}": {name} is {got}, expected {expected}.')


def _unknown(file: Path, name: str, names: Sequence[str]) -> RkdeployError:
    close = difflib.get_close_matches(name, names, n=1)
    hint = f'Did you mean "{close[0]}"?' if close else "rkdeploy run --print-config writes a file with every key."
    return RkdeployError(f'Configuration "{file}": the key "{name}" does not exist.', hint)
