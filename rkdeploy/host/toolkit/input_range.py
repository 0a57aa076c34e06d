"""The grid of the network's input: one step per pixel value, whatever the calibration images hold.

The toolkit takes the range that calibration saw.  Images whose brightest pixel is 253 give the input steps of
253 / 255 pixel values: most values are then rounded to a neighbor, and brighter ones are clipped at run time.  On the
steps of the pixels themselves the input is exact.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BRIGHTEST, LOW = 255, -128
CONVERT, CONVOLUTION = "exDataConvert", "Conv"
INT8_ASYMMETRIC = ("int8", "asym")
NEAR = 1e-6
# Operators whose result is one of their inputs' values.
MOVERS = frozenset({"Split", "MaxPool", "Resize", "Reshape", "Transpose", "Expand"})


def pixel_range(mean: Sequence[float], std: Sequence[float]) -> tuple[float, float] | None:
    """Lowest and highest value of the input by whose 255 steps all pixel values are exact; None if there is none.

    A tensor has one grid: channels that are scaled or shifted differently do not share one, and a mean between two
    pixel values puts all of them between two steps.

    Args:
        mean: per channel, in pixel values.
        std: per channel, in pixel values.
    """
    if len({*mean}) != 1 or len({*std}) != 1 or mean[0] != round(mean[0]) or not 0 <= mean[0] <= BRIGHTEST:
        return None
    return -mean[0] / std[0], (BRIGHTEST - mean[0]) / std[0]


def on_pixel_steps(
    model: Any, table: Mapping[str, Mapping[str, Any]], limits: tuple[float, float]
) -> dict[str, tuple[float, float]]:
    """New ranges of the input, and of what only moves its values: tensor name -> lowest and highest value.

    Args:
        model: step 1's `.model`, an `onnx.ModelProto`.
        table: tensor name -> its quantization.
        limits: of `pixel_range`.

    Returns:
        Empty if the input has the steps of the pixels, or other integers than INT8.
    """
    low, high = limits
    scale = (high - low) / BRIGHTEST
    exact = {"scale": [scale], "zero_point": [round(-low / scale) + LOW]}
    changed = [name for name in _inputs(model, table) if not _same(table[name], exact)]
    return {moved: limits for name in changed for moved in _moved(model, table, name)}


def _inputs(model: Any, table: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The integers that the network's input is converted to."""
    given = {value.name for value in model.graph.input}
    converted = [node.output[0] for node in model.graph.node if node.op_type == CONVERT and node.input[0] in given]
    return [name for name in converted if _is_integer(table.get(name, {}))]


def _moved(model: Any, table: Mapping[str, Mapping[str, Any]], name: str) -> list[str]:
    """A tensor, and those behind it that hold its values on its grid."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = [name]
    for node in model.graph.node:
        moves = node.op_type in MOVERS or (node.op_type == CONVOLUTION and _copies(node, constants))
        if moves and node.input[0] in found:
            found += [one for one in node.output if _same(table.get(one, {}), table[name])]
    return found


def _copies(node: Any, constants: Mapping[str, Any]) -> bool:
    """True for a convolution each of whose results is one of the values that it reads."""
    from onnx import numpy_helper

    if len(node.input) > 2 or node.input[1] not in constants:
        return False
    weights = numpy_helper.to_array(constants[node.input[1]])
    rows = weights.reshape(len(weights), -1)
    return bool(((rows == 0) | (rows == 1)).all() and (rows.sum(1) == 1).all())


def _is_integer(entry: Mapping[str, Any]) -> bool:
    return (entry.get("dtype"), entry.get("qtype")) == INT8_ASYMMETRIC and len(entry["scale"]) == 1


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """True for two tensors on one grid but for float32's accuracy."""
    scales = list(one.get("scale", ())), list(other.get("scale", ()))
    points = list(one.get("zero_point", ())), list(other.get("zero_point", ()))
    near = all(math.isclose(a, b, rel_tol=NEAR) for a, b in zip(*scales, strict=False))
    return len(scales[0]) == len(scales[1]) and near and points[0] == points[1]
