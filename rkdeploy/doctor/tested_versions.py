"""The tested versions, from the package's own metadata: pyproject.toml's bounds are the only place that states them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DISTRIBUTION: Final = "rkdeploy"
_EXTRAS: Final = ("graph", "eval", "report", "web", "tune", "host", "board")  # the last two include other extras


@dataclass(frozen=True, slots=True)
class KnownPackage:
    """A package with the versions that rkdeploy was tested with.

    Attributes:
        package: name of the package.
        bounds: as pip takes them, `<3,>=1.26`.
        extra: extra that requires it; empty for those that rkdeploy always needs.
    """

    package: str
    bounds: str
    extra: str = ""


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """Requirements of this installation; both empty if it was not installed by pip.

    Attributes:
        python: bounds of the interpreter, `<3.15,>=3.10`.
        packages: those required on this machine's Python and processor.
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
    """A requirement that applies here; None for other Pythons or machines, for rkdeploy itself and for tests."""
    marker = requirement.marker
    extra = next((name for name in ("", *_EXTRAS) if marker is None or marker.evaluate({"extra": name})), None)
    if extra is None or requirement.name == _DISTRIBUTION:
        return None
    return KnownPackage(requirement.name, str(requirement.specifier), extra)
