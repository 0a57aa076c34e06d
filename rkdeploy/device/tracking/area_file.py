"""Files of lines and zones.

[[line]]
name = "gate"
points = [[0.1, 0.5], [0.9, 0.5]]
source = "cam-north"    # one stream only; all without it

[[zone]]
name = "hall"
points = [[10, 20], [110, 20], [60, 90]]
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from rkdeploy.device.tracking.areas import Area, line_of, require_names_once, zone_of
from rkdeploy.errors import RkdeployError

_MOST_BYTES = 1 << 20
_MOST = 1000
_HINT = "docs/tracking.md shows the form of such a file."


class _AreaEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    points: Annotated[list[tuple[float, float]], msgspec.Meta(max_length=_MOST)]
    source: str = ""


class _AreaFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    line: Annotated[list[_AreaEntry], msgspec.Meta(max_length=_MOST)] = []
    zone: Annotated[list[_AreaEntry], msgspec.Meta(max_length=_MOST)] = []


def read_areas(path: Path) -> tuple[Area, ...]:
    """The lines and zones of a file.

    Args:
        path: `.json` or `.toml`.

    Raises:
        RkdeployError: when it cannot be read, or is not such a file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise RkdeployError(f'"{path}" cannot be read: {error.strerror}.') from error
    if len(data) > _MOST_BYTES:
        raise RkdeployError(f'"{path}" has more than {_MOST_BYTES} bytes, too many for lines and zones.', _HINT)
    found = _decoded(path, data)
    areas = (
        *(line_of(one.name, one.points, one.source) for one in found.line),
        *(zone_of(one.name, one.points, one.source) for one in found.zone),
    )
    if not areas:
        raise RkdeployError(f'"{path}" has neither a line nor a zone.', _HINT)
    require_names_once(areas)
    return areas


def _decoded(path: Path, data: bytes) -> _AreaFile:
    decode: Any = {".json": msgspec.json.decode, ".toml": msgspec.toml.decode}.get(path.suffix.lower())
    if decode is None:
        raise RkdeployError(f'"{path}" ends in "{path.suffix}", expected ".json" or ".toml".', _HINT)
    try:
        found: _AreaFile = decode(data, type=_AreaFile)
    except ImportError as error:
        raise RkdeployError(
            f'"{path}" is TOML, which this Python reads with a package that is not installed: {error}.',
            "pip install tomli, or write the file as JSON.",
        ) from error
    except (ValueError, RecursionError) as error:
        raise RkdeployError(f'"{path}" is not a file of lines and zones: {error}.', _HINT) from error
    return found
