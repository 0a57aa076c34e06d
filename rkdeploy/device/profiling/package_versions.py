"""Versions of installed packages, from their metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def installed(names: Iterable[str]) -> dict[str, str]:
    """Versions of those packages that are installed here; nothing is imported."""
    found = ((name, _version(name)) for name in names)
    return {name: number for name, number in found if number is not None}


def _version(name: str) -> str | None:
    try:
        return version(name) or None  # None from damaged metadata
    except PackageNotFoundError:
        return None
