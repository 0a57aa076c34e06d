"""Options, each declared once: on a field of a frozen dataclass, with its flag, its help and the panel that lists it.

    calib_count: Annotated[int, Option("--calib-count", "Maximum number of calibration images.", QUANTIZATION)] = 20

The command line's signature and help (`rkdeploy.cli.typer_command`), the printed commands (`written`) and the tables in
docs come from these declarations.  A room that declares options needs no package for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

INPUT: Final = "Input"
QUANTIZATION: Final = "Quantization"
GRAPH: Final = "Graph"
ACCURACY: Final = "Accuracy"
MEASURE: Final = "Measuring"
SEARCH: Final = "Search"
MATRIX: Final = "Builds"
RUNNING: Final = "Running"
CHAIN: Final = "Chain"
TRACKING: Final = "Tracking"
CAMERA: Final = "Camera"
THRESHOLDS: Final = "Detections"
VIEW: Final = "View"
RECORDING: Final = "Recording"
OUTPUT: Final = "Output"
MESSAGES: Final = "Messages"
GENERAL: Final = "General"
PANELS: Final = (
    INPUT, MATRIX, RUNNING, CHAIN, TRACKING, QUANTIZATION, GRAPH, SEARCH, THRESHOLDS, ACCURACY, MEASURE, CAMERA, VIEW,
    RECORDING, OUTPUT, MESSAGES, GENERAL,
)  # fmt: skip
"""Panels of the help and headings of the tables in docs, in their order."""
BUNDLE: Final = ("BUNDLE", "A bundle, by default the only or newest one in . or ./build.")
"""The first word of most commands, with its help."""

_MAX_SIDE: Final = 8192
_SIZE: Final = re.compile(r"([1-9][0-9]{0,4})(?:[xX]([1-9][0-9]{0,4}))?")


@dataclass(frozen=True, slots=True)
class Form:
    """Conversion between values of one kind and one word.

    Attributes:
        read: a word to the value; raises ValueError with what was expected.
        write: the value to the word.
        metavar: the word in a help text.
    """

    read: Callable[[str], Any]
    write: Callable[[Any], str]
    metavar: str


@dataclass(frozen=True, slots=True)
class Option:
    """The declaration of one option.

    Attributes:
        flag: with its dashes.
        help: one or more plain sentences; the first one stands in the short help.
        panel: heading under which it is listed.
        also: other spellings, `-o`.
        off: the flag for no, of an option that is yes, no or unset.
        metavar: its value in a help text; by default as the type says.
        form: how the value is written, where the type does not say.
        low, high: bounds of a number.
        default: what the default means, where its value does not say.
        env: environment variable that gives the value where the option is left out.
        often: whether the short help lists it.
        hidden: whether no help lists it.
        complete: words that a shell completes.
    """

    flag: str
    help: str
    panel: str = GENERAL
    also: tuple[str, ...] = ()
    off: str = ""
    metavar: str = ""
    form: Form | None = None
    low: float | None = None
    high: float | None = None
    default: str = ""
    env: str = ""
    often: bool = False
    hidden: bool = False
    complete: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Argument:
    """The declaration of a positional argument.

    Attributes:
        metavar: as the usage line has it.
        help: one or more plain sentences.
        parts: the words that it stands for, each with its help, where it stands for several.
    """

    metavar: str
    help: str
    parts: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> tuple[tuple[str, str], ...]:
        """Each word with its help."""
        return self.parts or ((self.metavar, self.help),)


@dataclass(frozen=True, slots=True)
class Only:
    """On a field that holds further options: the fields of it that a command offers.

    Attributes:
        names: flags and metavars, nested ones included; none takes all.
        also: a further spelling of an option, by its flag.
    """

    names: tuple[str, ...]
    also: Mapping[str, str]

    def __init__(self, names: str = "", also: Mapping[str, str] | None = None) -> None:
        object.__setattr__(self, "names", tuple(names.split()))  # the usual way to assign in a frozen class
        object.__setattr__(self, "also", also or {})


@dataclass(frozen=True, slots=True)
class Declared:
    """A field with its declaration.

    Attributes:
        name: of the field or parameter.
        type: without None and annotations.
        optional: whether None is a value.
        default: `dataclasses.MISSING` where a value is required.
        declaration: how it is given; None for a group.
        parts: of a group: the fields of its dataclass.
    """

    name: str
    type: Any
    optional: bool
    default: Any
    declaration: Option | Argument | None
    parts: tuple[Declared, ...] = ()

    @property
    def option(self) -> Option:
        """The declaration of what is an option."""
        assert isinstance(self.declaration, Option)
        return self.declaration

    def leaves(self) -> Iterator[Declared]:
        """The arguments and options in it, in their order."""
        if self.declaration is not None:
            yield self
        for part in self.parts:
            yield from part.leaves()


def declared_fields(kind: type[Any], only: Only | None = None) -> tuple[Declared, ...]:
    """The fields of a dataclass that are declared as options, or hold such; others have no place on a command line.

    Args:
        kind: a dataclass.
        only: which of them; None takes all.
    """
    hints = get_type_hints(kind, include_extras=True)
    found = []
    for field in fields(kind):
        if field.default is not MISSING:
            default = field.default
        else:
            default = MISSING if field.default_factory is MISSING else field.default_factory()
        one = declared(field.name, hints[field.name], default, only)
        if one is not None:
            found.append(one)
    return tuple(found)


def declared(name: str, hint: Any, default: Any, only: Only | None = None) -> Declared | None:
    """Declaration in an annotation; None for one that declares nothing, or that `only` leaves out."""
    extras: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        extras = tuple(rest)
    optional = get_origin(hint) in (Union, UnionType) and NoneType in get_args(hint)
    kind = next(part for part in get_args(hint) if part is not NoneType) if optional else hint
    declaration = next((one for one in extras if isinstance(one, Option | Argument)), None)
    if declaration is not None:
        key = declaration.flag if isinstance(declaration, Option) else declaration.metavar
        if only is not None and only.names and key not in only.names:
            return None
        more = only.also.get(key) if only is not None else None
        if more and isinstance(declaration, Option):
            declaration = replace(declaration, also=(*declaration.also, more))
        return Declared(name, kind, optional, default, declaration)
    if not is_dataclass(kind):
        return None
    inner = next((one for one in extras if isinstance(one, Only)), only)
    parts = declared_fields(kind, inner)  # type: ignore[arg-type]  # a class: annotations name no instances
    return Declared(name, kind, optional, default, None, parts) if parts else None


def written(options: Any, *, only: Only | None = None) -> list[str]:
    """The words of a command line that give a dataclass of options; an option that is the default is left out."""
    return _written(options, declared_fields(type(options), only))


def _written(options: Any, parts: tuple[Declared, ...]) -> list[str]:
    words: list[str] = []
    for part in parts:
        value = getattr(options, part.name)
        if part.declaration is None:
            words += _group_words(value, part)
        elif isinstance(part.declaration, Argument):
            words.append(str(value))
        elif value != part.default:
            words += option_words(part, value)
    return words


def _group_words(value: Any, group: Declared) -> list[str]:
    """The words of a nested dataclass.  One that is given, and is all default, is given by its first option."""
    if value is None:
        return []
    words = _written(value, group.parts)
    first = group.parts[0]
    return words or (option_words(first, getattr(value, first.name)) if group.optional else [])


def option_words(part: Declared, value: Any) -> list[str]:
    """An option with its value, as one types it."""
    option = part.option
    if isinstance(value, bool):
        return [option.flag if value else option.off] if value or option.off else []
    if option.form is None and isinstance(value, tuple):
        return [word for one in value for word in (option.flag, str(one))]
    return [option.flag, in_words(part, value)]


def in_words(part: Declared, value: Any) -> str:
    """A value as one types it."""
    form = part.option.form
    if form is not None:
        return form.write(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def choices(part: Declared) -> tuple[str, ...]:
    """The values of an option that has a few; empty for others."""
    return tuple(map(str, get_args(part.type))) if get_origin(part.type) is Literal else ()


def metavar(part: Declared) -> str:
    """The value of an option in a help text; empty for a flag."""
    option = part.option
    if option.metavar or option.form is not None:
        return option.metavar or (option.form.metavar if option.form else "")
    if part.type is bool:
        return ""
    few = choices(part)
    if few:
        return "|".join(few)
    kind = get_args(part.type)[0] if get_origin(part.type) in (tuple, list) else part.type
    return {int: "N", float: "X", Path: "PATH"}.get(kind, "TEXT")


def read_size(text: str) -> tuple[int, int]:
    """`640` or `640x384`, width x height, to (height, width) in pixels.

    Raises:
        ValueError: for anything else.
    """
    found = _SIZE.fullmatch(text)
    if found is None or max(int(found[1]), int(found[2] or 1)) > _MAX_SIDE:
        raise ValueError(f'"{text}" is not a size; expected one number, or WIDTHxHEIGHT, such as 640x384.')
    return int(found[2] or found[1]), int(found[1])


def write_size(height_width: tuple[int, int]) -> str:
    """(height, width) to `640` or `640x384`, width x height."""
    height, width = height_width
    return str(width) if height == width else f"{width}x{height}"


def _read_frame_size(text: str) -> tuple[int, int]:
    found = _SIZE.fullmatch(text)
    if found is None or found[2] is None or max(int(found[1]), int(found[2])) > _MAX_SIDE:
        raise ValueError(f'"{text}" is not a size; expected WIDTHxHEIGHT, such as 1280x720.')
    return int(found[1]), int(found[2])


def _read_sizes(text: str) -> tuple[tuple[int, int], ...]:
    return tuple(dict.fromkeys(read_size(word) for word in _read_words(text)))


def _read_words(text: str) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if not all(words):
        raise ValueError(f'"{text}" has an empty entry; expected names with commas between.')
    return words


def _read_triple(text: str) -> tuple[float, float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) != 3 or not all(abs(value) <= 1e6 for value in values):
        raise ValueError(f'"{text}" is not three numbers, such as 123.675,116.28,103.53.')
    return values[0], values[1], values[2]


def counts(least: int, most: int) -> Form:
    """Whole numbers with commas between them, each once."""

    def read(text: str) -> tuple[int, ...]:
        words = text.split(",")
        if not all(re.fullmatch(r"[0-9]{1,4}", word) and least <= int(word) <= most for word in words):
            raise ValueError(f'"{text}" is not a list of numbers from {least} to {most}, such as {least},{least + 1}.')
        return tuple(dict.fromkeys(int(word) for word in words))

    return Form(read, lambda values: ",".join(map(str, values)), "N,N,...")


SIZE: Final = Form(read_size, write_size, "WxH")
SIZES: Final = Form(_read_sizes, lambda sizes: ",".join(map(write_size, sizes)), "WxH,...")
FRAME_SIZE: Final = Form(_read_frame_size, lambda width_height: "{}x{}".format(*width_height), "WxH")
WORDS: Final = Form(_read_words, ",".join, "NAME,...")
TRIPLE: Final = Form(_read_triple, lambda values: ",".join(f"{value:g}" for value in values), "R,G,B")
TOOLKIT_PYTHON: Final = Option(
    "--toolkit-python",
    "Python interpreter that has rknn-toolkit2.",
    metavar="FILE",
    default="this interpreter",
    env="RKDEPLOY_TOOLKIT_PYTHON",
)
