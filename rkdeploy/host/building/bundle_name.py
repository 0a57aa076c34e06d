"""Default name of a bundle.

Every trainer calls its result best.pt, so the file's own name says little: in `runs/detect/helmet/weights/best.pt`
the model is commonly called "helmet".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from rkdeploy.errors import RkdeployError, shown

MOST_BYTES: Final = 100
"""Limit of a name, which becomes part of file names, whose own limit is 255 bytes."""
_WEIGHTS: Final = "weights"
_BEST: Final = "best"
_TRAINERS: Final = re.compile(r"(best|last|epoch)[_-]?\d*|init|model|weights|checkpoint|final", re.IGNORECASE)


def default_name(model: Path) -> str:
    """The default name of a model file's bundle.

    The file's name without its suffix.  A trainer's name (`best`, `last`, `epoch50`) in a folder `weights` gives the
    run's folder instead: `helmet` for best, `helmet-last` for another.
    """
    stem, place = model.stem, model.absolute().parent
    if place.name == _WEIGHTS and _TRAINERS.fullmatch(stem) and _printable(place.parent.name):
        run = place.parent.name
        stem = run if stem.lower() == _BEST else f"{run}-{stem}"
    plain = "".join(c if c.isprintable() and c != "/" else "_" for c in stem)
    return plain.encode("utf-8")[:MOST_BYTES].decode("utf-8", "ignore").strip().lstrip(".") or "model"


def checked_name(name: str) -> str:
    """The name given by the user, unchanged.

    Raises:
        RkdeployError: when it cannot be the beginning of a folder's name.
    """
    if not _printable(name) or "/" in name or name.startswith((".", " ")) or name.endswith(" "):
        raise RkdeployError(f"--name is {shown(name)}, expected a word such as helmet-v2: it names a folder and files.")
    if len(name.encode("utf-8")) > MOST_BYTES:
        raise RkdeployError(f"--name has {len(name.encode('utf-8'))} bytes, expected at most {MOST_BYTES}.")
    return name


def _printable(name: str) -> bool:
    return bool(name) and name.isprintable()
