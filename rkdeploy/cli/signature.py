"""The arguments and options of a command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rkdeploy.option import Declared, Option

_QUIET: Final = Option("--quiet", "Print results, warnings and errors only.", also=("-q",), often=True)
_VERBOSE: Final = Option("--verbose", "Print every step to stderr.", also=("-v",), often=True)
VERBOSITY: Final = (
    Declared("quiet", bool, optional=False, default=False, declaration=_QUIET),
    Declared("verbose", bool, optional=False, default=False, declaration=_VERBOSE),
)
"""The options that every command has."""
CONFIG: Final = Declared(
    "config",
    Path,
    optional=True,
    default=None,
    declaration=Option(
        "--config", "Take options from a TOML file; those on the command line go before.", metavar="FILE"
    ),
)
PRINT_CONFIG: Final = Declared(
    "print_config",
    bool,
    optional=False,
    default=False,
    declaration=Option("--print-config", "Print a TOML file for --config with the given options, and run nothing."),
)
"""The options of a command that takes a configuration file."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Signature of a command.

    Attributes:
        parts: the parameters of its function.
        text: its description, the function's docstring.
        configured: whether it takes a configuration file.
    """

    parts: tuple[Declared, ...]
    text: str
    configured: bool = False

    @property
    def general(self) -> tuple[Declared, ...]:
        """The options that are not the function's."""
        return (*((CONFIG, PRINT_CONFIG) if self.configured else ()), *VERBOSITY)

    def leaves(self) -> Iterator[Declared]:
        """All arguments and options, --quiet and --verbose last."""
        for part in self.parts:
            yield from part.leaves()
        yield from self.general
