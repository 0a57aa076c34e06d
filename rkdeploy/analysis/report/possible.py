"""What the types do not say of a stranger's figures: that they are numbers one can plot, and not endlessly many."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from rkdeploy.errors import RkdeployError

_MOST = 1e18
_MAX_ITEMS = 200_000
_MAX_TEXT = 100_000


def require_possible(path: Path, value: object) -> None:
    """Refuse figures that nothing can be made of.

    Args:
        path: of the file, for the message.
        value: frozen data as msgspec gives it.

    Raises:
        RkdeployError: an infinite or huge number, a huge text, or more values than any model has.
    """
    for count, leaf in enumerate(_leaves(value)):
        if isinstance(leaf, (int, float)) and not (isfinite(leaf) and abs(leaf) <= _MOST):
            raise RkdeployError(f'"{path}" holds a number that no measurement gives.', "Write it again.")
        if isinstance(leaf, str) and len(leaf) > _MAX_TEXT:
            raise RkdeployError(f'"{path}" holds a text of {len(leaf)} characters.', "Write it again.")
        if count > _MAX_ITEMS:
            raise RkdeployError(f'"{path}" holds more than {_MAX_ITEMS} values.', "It is of no real model.")


def _leaves(value: object) -> Iterator[Any]:
    """Numbers and texts, however deep; without recursion, which a nested file could exhaust."""
    waiting: list[object] = [value]
    while waiting:
        one = waiting.pop()
        if is_dataclass(one):
            waiting.extend(getattr(one, field.name) for field in fields(one))
        elif isinstance(one, dict):
            waiting.extend(one)
            waiting.extend(one.values())
        elif isinstance(one, (list, tuple)):
            waiting.extend(one)
        else:
            yield one
