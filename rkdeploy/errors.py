"""Error messages for users.

Every failure that a user can cause or meet is an `RkdeployError`: one message that says what failed (expected and got)
and, if there is one, a hint that says what to do.  The command line prints it without a traceback and exits with 1.
"""

from __future__ import annotations

import reprlib
from typing import Any


class RkdeployError(Exception):
    """A known failure.

    Attributes:
        message: what failed, naming the thing in quotes, with expected and got.
        hint: what the user can do about it; empty when the message says it all.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by attributes: a subclass may take other arguments than these two."""
        return _unpickled, (type(self), dict(vars(self)))


def _unpickled(kind: type[RkdeployError], attributes: dict[str, Any]) -> RkdeployError:
    """The error that another process raised."""
    error = kind.__new__(kind)
    vars(error).update(attributes)
    return error


class CheckpointError(RkdeployError):
    """A checkpoint that cannot be read, or that names something which is not plain model data."""


class GraphError(RkdeployError):
    """An ONNX graph that cannot be written, read, simplified or cut."""


class VerificationError(RkdeployError):
    """A numerical proof that did not hold."""


class CalibrationError(RkdeployError):
    """A calibration set that is missing or unusable."""


class ToolkitError(RkdeployError):
    """The vendor's toolkit is missing, or failed in its own process."""


class BundleError(RkdeployError):
    """A bundle that is missing, damaged, or of another schema version."""


class BackendError(RkdeployError):
    """A runtime backend that cannot be opened or that failed on a frame."""


class SourceError(RkdeployError):
    """An image, video, camera or stream that cannot be read."""


class PushError(RkdeployError):
    """A board that cannot be reached, or that cannot take a bundle."""


def shown(value: object, width: int = 60) -> str:
    """A value from an untrusted file for a message: at most `width` characters, printable, on one line.

    Not `repr`, which takes exponential time for containers that share their parts, and fails on integers of 4,300
    digits.
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in _BRIEF.repr(value))
    return text if len(text) <= width else f"{text[: width - 3]}..."


class _Brief(reprlib.Repr):
    """Representation of containers: two levels, a few items each, for any subclass; strings in double quotes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring = 2, 200

    def repr1(self, x: Any, level: int) -> str:
        if isinstance(x, dict):
            return self.repr_dict(x, level)
        if isinstance(x, (bytes, bytearray)):
            return super().repr1(bytes(x[: self.maxstring]), level)
        if type(x) is int and x.bit_length() > 200:
            return f"an integer of {x.bit_length()} bits"
        return super().repr1(x, level)

    def repr_str(self, x: str, level: int) -> str:
        text = super().repr_str(x, level)
        if text[0] != "'":
            return text
        inner = text[1:-1].replace("\\'", "'").replace('"', '\\"')
        return f'"{inner}"'


_BRIEF = _Brief()
