"""Settings of torch's layers, as a checkpoint keeps them: read, checked, in one form."""

from __future__ import annotations

from typing import Any

from rkdeploy.errors import GraphError, shown
from rkdeploy.host.checkpoint import Module

MAX_EXTENT = 4096
"""Largest kernel, stride or padding that is read."""


def pair(value: Any, module: Module, name: str) -> tuple[int, int]:
    """A kernel size, stride or padding as (height, width); torch stores one number or two."""
    values = value if isinstance(value, (tuple, list)) else (value, value)
    least = 0 if "padding" in name else 1
    if len(values) != 2 or not all(type(v) is int and least <= v <= MAX_EXTENT for v in values):
        raise GraphError(
            f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected one or two integers '
            f"from {least} to {MAX_EXTENT}."
        )
    return (values[0], values[1])


def number(module: Module, name: str, default: float) -> float:
    """A finite number that the module stores as a plain attribute."""
    value = module.attribute(name, default)
    if not isinstance(value, (int, float)) or not abs(value) < 1e9:
        raise GraphError(f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected a number.')
    return float(value)


def whole_number(module: Module, name: str, default: int) -> int:
    """A number of groups, heads or the like: 1 or more."""
    value = module.attribute(name, default)
    if type(value) is not int or not 1 <= value <= 1 << 16:
        raise GraphError(f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected 1 or more.')
    return value


def require_setting(module: Module, name: str, *allowed: object) -> None:
    """Check that an attribute read by the trained forward pass has a value supported by the emitter, or is not stored.

    Raises:
        GraphError: for another value, which would give a graph that computes something else.
    """
    value = module.attribute(name)
    if value is not None and not any(type(value) is type(known) and value == known for known in allowed):
        expected = " or ".join(map(str, allowed))
        raise GraphError(
            f'"{module.path}" ({module.class_name}) has {name} {shown(value)}, expected {expected}.',
            "Export ONNX where the model was trained and build from that: rkdeploy build best.onnx --weights best.pt",
        )
