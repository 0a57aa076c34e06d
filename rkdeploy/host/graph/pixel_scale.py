"""Normalization of pixels that a graph does itself, in front of its first layer."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np

from rkdeploy.host.graph.graph_view import GraphView

PixelRange = Literal["bytes", "unit", ""]
_VIEWS: Final = frozenset({"Identity", "Cast", "Transpose"})
_ARITHMETIC: Final = frozenset({"Sub", "Add", "Mul", "Div"})
_STEPS: Final = 8
_LARGEST_FACTOR: Final = 0.1
"""Factors of pixels from 0 to 255 are 1/255 to 1/57 (ImageNet's); of pixels from 0 to 1 they are 1 to 10."""
_LARGEST_UNIT_MEAN: Final = 2.0


def prepared_pixels(graph: GraphView) -> PixelRange:
    """Range of the pixels that a graph subtracts a mean from, or divides: `bytes`, 0 to 255, or `unit`, 0 to 1.

    Empty for a graph that does neither.
    """
    tensor = next(iter(graph.inputs), "")
    factor, offset, found = 1.0, 0.0, False
    for _ in range(_STEPS):
        readers = graph.consumers(tensor)
        if len(readers) != 1 or readers[0].op_type not in _VIEWS | _ARITHMETIC:
            break
        node, previous = readers[0], tensor
        tensor = node.output[0]
        if node.op_type in _VIEWS:
            continue
        value = graph.stored(node.input[1]) if node.input[0] == previous else None
        if value is None or value.size not in (1, 3) or not np.isfinite(value).all() or not value.any():
            break
        found, number = True, float(np.abs(value).mean())
        if node.op_type in ("Mul", "Div"):
            step = number if node.op_type == "Mul" else 1 / number
            factor, offset = factor * step, offset * step
        else:
            offset += number
    if not found:
        return ""
    return "bytes" if factor < _LARGEST_FACTOR or offset / factor > _LARGEST_UNIT_MEAN else "unit"
