"""The versions that were tested, as the package's own metadata says: pyproject.toml's bounds are the one place."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DISTRIBUTION: Final = "rkdeploy"
_EXTRAS: Final = ("graph", "eval", "report", "web", "tune", "host", "board")  # the last two hold others


@dataclass(frozen=True, slots=True)
class KnownPackage:
    """A package in the versions that rkdeploy was tested with.

    Attributes:
        package: its name.
        bounds: as pip takes them, `<3,>=1.26`.
        extra: that asks for it; empty for what rkdeploy always needs.
    """

    package: str
    bounds: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """What this installation says of itself; both empty where it was not installed by pip.

    Attributes:
        python: bounds of the interpreter, `<3.15,>=3.10`.
        packages: those that are asked for on this machine's Python and processor.
    """

    python: str = ""
    packages: tuple[KnownPackage, ...] = ()


NOT_INSTALLED: Final = KnownVersions()


def read_known_versions() -> KnownVersions:
    """Read the metadata of the installed rkdeploy."""
    try:
        found = metadata(_DISTRIBUTION)
    except PackageNotFoundError:
        return NOT_INSTALLED
    from packaging.requirements import Requirement

    requirements = [Requirement(text) for text in found.get_all("Requires-Dist") or ()]
    kept = [tested for one in requirements if (tested := _tested(one)) is not None]
    return KnownVersions(str(found["Requires-Python"] or ""), tuple(kept))


def _tested(requirement: Requirement) -> KnownPackage | None:
    """A requirement that counts here; None for another Python's or machine's, for rkdeploy itself and for tests."""
    marker = requirement.marker
    extra = next((name for name in ("", *_EXTRAS) if marker is None or marker.evaluate({"extra": name})), None)
    if extra is None or requirement.name == _DISTRIBUTION:
        return None
    return KnownPackage(requirement.name, str(requirement.specifier), extra)
