"""Class names as trainers write them: a list, or a mapping from numbers to names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

BACKGROUND: Final = "background"
_BACKGROUNDS: Final = frozenset({"background", "_background_", "__background__", "bg", "none", "nothing"})
"""Names that data sets give to the pixels of no class."""
_MOST: Final = 10**9  # a class's number, not an integer of a million digits


def ordered_names(written: object) -> tuple[str, ...] | None:
    """Class names in the order of their classes.

    YAML reads `names: [0, 1, 2]` as numbers, and JSON makes texts of a mapping's keys; trainers read both as what they
    look like.

    Args:
        written: a sequence of names, or a mapping from 0, 1, 2, ... to names.

    Returns:
        One name per class; None where it is anything else, or a number is left out.
    """
    entries: list[object]
    if isinstance(written, Mapping):
        by_number = {_number(key): name for key, name in written.items()}
        if len(by_number) != len(written) or set(by_number) != set(range(len(written))):
            return None
        entries = [by_number[number] for number in range(len(written))]
    elif isinstance(written, (list, tuple)):
        entries = list(written)
    else:
        return None
    names = [_name(entry) for entry in entries]
    found = tuple(name for name in names if name is not None)
    return found if len(found) == len(names) else None


def is_background(name: str) -> bool:
    """True if a class of a map stands for the pixels of no class."""
    return name.strip().casefold() in _BACKGROUNDS


def _name(entry: object) -> str | None:
    """One name; None for what is neither text nor a number of a sane length."""
    if isinstance(entry, str):
        return entry
    return f"{entry}" if isinstance(entry, (int, float)) and abs(entry) < _MOST else None


def _number(key: object) -> object:
    """A class number; what is not one stays as it is."""
    if isinstance(key, str) and key.isascii() and key.isdigit() and len(key) <= 6:
        return int(key)
    return key
