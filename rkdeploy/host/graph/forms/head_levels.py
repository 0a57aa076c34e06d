"""A contract's outputs in our own form, by level and role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, get_args

from rkdeploy.contract.roles import ImageRole

if TYPE_CHECKING:
    from rkdeploy.contract.spec import HeadOutput, ModelSpec

Level = Mapping[str, "HeadOutput"]
"""The outputs of one level, by role."""
_WHOLE_IMAGE: Final = frozenset(get_args(ImageRole))


def levels_of(spec: ModelSpec) -> tuple[Level, ...]:
    """The levels of a head, finest first."""
    found: dict[int, dict[str, HeadOutput]] = {}
    for output in spec.outputs:
        if output.role not in _WHOLE_IMAGE:
            found.setdefault(output.level, {})[output.role] = output
    return tuple(found[level] for level in sorted(found))


def strides_of(levels: tuple[Level, ...]) -> tuple[int, ...]:
    """The stride of each level."""
    return tuple(next(iter(level.values())).stride for level in levels)


def whole_outputs(spec: ModelSpec) -> tuple[HeadOutput, ...]:
    """The outputs of the whole image."""
    return tuple(output for output in spec.outputs if output.role in _WHOLE_IMAGE)
