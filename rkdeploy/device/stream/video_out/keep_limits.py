"""Limits of recordings, as one writes them: `20GB`, `48h`, or both with a comma."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from rkdeploy.option import Form

_UNITS: Final = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
_SECONDS: Final = {"min": 60, "h": 3600, "d": 86_400}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")


@dataclass(frozen=True, slots=True)
class KeepLimits:
    """Largest size and age of what is kept; None for no limit.

    Attributes:
        size_bytes: of all files together.
        age_s: of each file, since it was last written.
    """

    size_bytes: int | None = None
    age_s: float | None = None


def _read(text: str) -> KeepLimits:
    size: int | None = None
    age: float | None = None
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        unit = found[2] if found else ""
        if found is not None and unit.upper() in _UNITS and size is None:
            size = round(float(found[1]) * _UNITS[unit.upper()])
        elif found is not None and unit.lower() in _SECONDS and age is None:
            age = float(found[1]) * _SECONDS[unit.lower()]
        else:
            raise ValueError(f'"{text}" is not a size or age; expected such as 20GB, 48h, 7d, or 20GB,7d.')
    if size == 0 or age == 0:
        raise ValueError(f'"{text}" keeps nothing; expected more than 0.')
    return KeepLimits(size, age)


def _write(limits: KeepLimits) -> str:
    size = [] if limits.size_bytes is None else [f"{limits.size_bytes / 10**6:.12g}MB"]
    age = [] if limits.age_s is None else [f"{limits.age_s / 60:.12g}min"]
    return ",".join(size + age)


KEEP: Final = Form(_read, _write, "SIZE|AGE")
