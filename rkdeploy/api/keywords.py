"""Options as Python keywords: `calib_count=20` for `--calib-count 20`."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from rkdeploy.errors import RkdeployError
from rkdeploy.option import Declared, Option, choices, declared_fields

_Options = TypeVar("_Options")


def keyword(leaf: Declared) -> str:
    """The keyword of an option: its flag without dashes."""
    return leaf.option.flag.lstrip("-").replace("-", "_")


def keywords_of(kind: type[Any]) -> dict[str, Declared]:
    """The options of a dataclass, nested ones included, by keyword."""
    leaves = (leaf for part in declared_fields(kind) for leaf in part.leaves())
    return {keyword(leaf): leaf for leaf in leaves if isinstance(leaf.declaration, Option)}


def options_from(kind: type[_Options], keywords: Mapping[str, Any], **fixed: Any) -> _Options:
    """A dataclass of options.

    Args:
        kind: the dataclass.
        keywords: values by keyword; None and what is left out is the default.  A text is read as on the command line
            where the option has a form (`imgsz="640x384"`); other values are the field's own.
        fixed: further fields of the dataclass itself.

    Raises:
        TypeError: for a keyword that it does not have, as Python does.
        RkdeployError: for a value that the option does not take, or one that needs another option.
    """
    known = keywords_of(kind)
    for name in keywords:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            raise TypeError(f'There is no option "{name}"{f", did you mean {close[0]}?" if close else "."}')
    given = {name: _value(known[name], name, value) for name, value in keywords.items() if value is not None}
    return kind(**dict(_fields(declared_fields(kind), given)), **fixed)


def _fields(parts: tuple[Declared, ...], given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields that are given, those of nested dataclasses as objects."""
    for part in parts:
        if part.declaration is None:
            inner = dict(_fields(part.parts, given))
            if inner:
                yield part.name, _group(part, inner)
        elif isinstance(part.declaration, Option) and keyword(part) in given:
            yield part.name, given[keyword(part)]


def _group(part: Declared, inner: Mapping[str, Any]) -> Any:
    missing = [one for one in part.parts if one.default is MISSING and one.name not in inner]
    if missing:
        first = next(one for one in part.parts if one.name in inner)
        raise RkdeployError(f"The option {keyword(first)} needs {keyword(missing[0])}, which is missing.")
    return part.type(**inner)


def _value(leaf: Declared, name: str, value: Any) -> Any:
    """A value as the field has it.

    Raises:
        RkdeployError: for one that the option does not take.
    """
    option, few = leaf.option, choices(leaf)
    if isinstance(value, os.PathLike) or (isinstance(value, str) and leaf.type is Path):
        return Path(value)
    if few and value not in few:
        raise RkdeployError(f"{name} is {value!r}, expected one of {', '.join(few)}.")
    if option.form is not None and isinstance(value, (str, int)) and not isinstance(value, bool):
        try:
            return option.form.read(str(value))
        except ValueError as error:
            raise RkdeployError(f"{name}: {error}") from error
    if get_origin(leaf.type) is tuple and isinstance(value, (str, list)):
        kind = get_args(leaf.type)[0]
        return tuple(kind(one) for one in ([value] if isinstance(value, str) else value))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not _low(option) <= value <= _high(option):
        raise RkdeployError(f"{name} is {value}, expected a number from {_low(option):g} to {_high(option):g}.")
    return value


def _low(option: Option) -> float:
    return -float("inf") if option.low is None else option.low


def _high(option: Option) -> float:
    return float("inf") if option.high is None else option.high
