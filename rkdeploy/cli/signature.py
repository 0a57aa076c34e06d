"""The arguments and options of a command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from rkdeploy.option import Declared, Option

_QUIET: Final = Option("--quiet", "Print results, warnings and errors only.", also=("-q",), often=True)
_VERBOSE: Final = Option("--verbose", "Print every step to stderr.", also=("-v",), often=True)
VERBOSITY: Final = (
    Declared("quiet", bool, optional=False, default=False, declaration=_QUIET),
    Declared("verbose", bool, optional=False, default=False, declaration=_VERBOSE),
)
"""The options that every command has."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Signature of a command.

    Attributes:
        parts: the parameters of its function.
        text: its description, the function's docstring.
    """

    parts: tuple[Declared, ...]
    text: str

    def leaves(self) -> Iterator[Declared]:
        """All arguments and options, --quiet and --verbose last."""
        for part in self.parts:
            yield from part.leaves()
        yield from VERBOSITY
