"""Plug-ins: what other installed packages offer by entry points.

A package declares them in its pyproject.toml, for example `[project.entry-points."rkdeploy.sources"]`.  Installing it
is consent to run its code; nothing of it is imported before it is needed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from rkdeploy.errors import RkdeployError

_LOG = logging.getLogger(__name__)

FAMILIES, BACKENDS = "rkdeploy.families", "rkdeploy.backends"
SOURCES, SINKS = "rkdeploy.sources", "rkdeploy.sinks"


@cache
def plugins(group: str) -> Mapping[str, EntryPoint]:
    """The plug-ins of a group by name, as installed when the process first asks.

    Raises:
        RkdeployError: when two packages offer one name.
    """
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if (other.value, _package(other)) != (point.value, _package(point)):
            raise RkdeployError(
                f'The plug-in "{point.name}" ({group}) is offered by two packages: {_package(other)} and '
                f"{_package(point)}.",
                f"Uninstall one of them: pip uninstall {_package(point)}",
            )
    return MappingProxyType(found)


def load_plugin(point: EntryPoint) -> Any:
    """Import a plug-in.

    Raises:
        RkdeployError: when that fails, naming the package.
    """
    _LOG.debug("plug-in %s of %s", point.name, _package(point))
    try:
        return point.load()
    except Exception as error:
        package = _package(point)
        raise RkdeployError(
            f'The plug-in "{point.name}" of the package {package} cannot be loaded: {type(error).__name__}: {error}.',
            f"Fix or uninstall it: pip uninstall {package}",
        ) from error


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.value
