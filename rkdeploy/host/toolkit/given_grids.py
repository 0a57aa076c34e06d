"""Quantization that an ONNX file brings, written into the table of quantization step 1.

Activations get the scale and the zero point of the file by their names.  Weights are recognized by their values: those
of an output channel that all lie on one grid of 8 bits keep it, so that rounding them again changes nothing, whatever
renamed, split or joined them in between.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: imports the standard library,
and (late) the toolkit's own requirements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    from numpy.typing import NDArray

LOW, HIGH, STEPS = -128, 127, 255
WEIGHTED = {"Conv": 0, "ConvTranspose": 1}  # operators with rounded weights -> axis of their grids
CONVERT = "exDataConvert"
NEVER_STORED = "float32"  # the toolkit's own mark in its table: the result is one operation with its reader
# Operators whose result has the range that the toolkit gives it, whatever the file says.
BOUNDED = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "exSoftmax13"})
# Operators whose result is one of their inputs' values: the toolkit stores both sides on one grid where it can.
MOVERS = frozenset({"Concat", "Split", "MaxPool", "Resize", "Reshape", "Transpose", "Expand"})
NEAR_WHOLE = 2e-3  # steps; float32 holds a step of 127 to 1e-5


def with_given_grids(
    model: Any, table: Mapping[str, Mapping[str, Any]], grids: Mapping[str, tuple[float, int]], *, per_channel: bool
) -> tuple[dict[str, Any], dict[str, int]]:
    """A quantization table with the grids of a file.

    Args:
        model: step 1's `.model`, an `onnx.ModelProto`.
        table: tensor name -> its quantization, weights included.
        grids: activation name -> scale and zero point, integers from -128 to 127.
        per_channel: True if weights have a grid per output channel; otherwise theirs are left as they are.

    Returns:
        The table; counts: `activations` that are stored as integers, `given` of them, `weights`, and those `exact`.
    """
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    stored = stored_activations(model, table, constants)
    wanted = {name: grids[plain_name(name)] for name in stored if plain_name(name) in grids}
    wanted = along_movers(model, table, wanted, stored)
    changed: dict[str, Any] = dict(table)
    for name, (scale, zero) in wanted.items():
        changed[name] = {**table[name], **_entry([scale], [zero])}
    weights = {
        node.input[1]: WEIGHTED[node.op_type]
        for node in model.graph.node
        if node.op_type in WEIGHTED
        and node.input[1] in constants
        and table.get(node.input[1], {}).get("dtype") == "int8"
    }
    exact = 0
    for name, axis in weights.items() if per_channel else ():
        found = exact_grids(numpy_helper.to_array(constants[name]), axis)
        if found is not None and len(table[name]["scale"]) == len(found[0]):
            changed[name] = {**table[name], **_entry(*found)}
            exact += 1
    counts = {"activations": len(stored), "given": len(wanted), "weights": len(weights), "exact": exact}
    return changed, counts


def plain_name(name: str) -> str:
    """The tensor's name in the graph that step 1 was given: an output is `<name>_int8` behind it."""
    return name.removesuffix("_int8")


def stored_activations(model: Any, table: Mapping[str, Mapping[str, Any]], constants: Collection[str]) -> list[str]:
    """Tensors between the network's input and its outputs that are stored as integers with a range of their own."""
    found = []
    for node in model.graph.node:
        if node.op_type == CONVERT or node.op_type in BOUNDED:
            continue
        for name in node.output:
            entry = table.get(name, {})
            integer = entry.get("dtype") == "int8" and len(entry["scale"]) == 1 and name not in constants
            if integer and entry.get("qmode_dtype") != NEVER_STORED:
                found.append(name)
    return found


def along_movers(
    model: Any,
    table: Mapping[str, Mapping[str, Any]],
    wanted: Mapping[str, tuple[float, int]],
    stored: Collection[str],
) -> dict[str, tuple[float, int]]:
    """The wanted grids, and those of the tensors that the toolkit stores on one grid with them.

    Where a file has different grids for these, the grid of the last one, the joined tensor, is taken: it holds all.
    """
    grids = dict(wanted)
    movers = [node for node in model.graph.node if node.op_type in MOVERS]
    for node in reversed(movers):  # toward the network's input
        same = [n for n in node.input if n in stored and _same(table, n, node.output[0])]
        if node.output[0] in grids:
            grids.update(dict.fromkeys(same, grids[node.output[0]]))
    for node in movers:
        source = next((n for n in node.input if n in grids), None)
        if source is not None:
            grids.update({n: grids[source] for n in node.output if n in stored and _same(table, n, source)})
    return grids


def exact_grids(weights: NDArray[np.float32], axis: int) -> tuple[list[float], list[int]] | None:
    """Scales and zero points on which every output channel's weights are whole; None if a channel has no such grid.

    The smallest weight but 0 is a whole number k of steps, from 1 to 255: the smallest k for which all others are whole
    too gives the widest such step.

    Args:
        weights: any shape.
        axis: axis of the output channels.
    """
    import numpy as np

    rows = np.moveaxis(weights.astype(np.float64), axis, 0).reshape(weights.shape[axis], -1)
    scales, zeros = [], []
    for row in rows:
        found = _exact_grid(np.unique(row))
        if found is None:
            return None
        scales.append(found[0])
        zeros.append(found[1])
    return scales, zeros


def _exact_grid(values: NDArray[np.float64]) -> tuple[float, int] | None:
    """The widest grid on which some distinct values are whole; None if they have none of 8 bits."""
    import numpy as np

    nonzero = values[values != 0]
    if not len(nonzero):
        return 1.0, 0
    if len(nonzero) > STEPS:
        return None
    least, low, high = float(np.abs(nonzero).min()), min(float(values[0]), 0.0), max(float(values[-1]), 0.0)
    most = int(STEPS * least / (high - low) + NEAR_WHOLE)
    for steps in range(1, most + 1):
        scale = least / steps
        whole = np.rint(nonzero / scale)
        if np.abs(nonzero / scale - whole).max() < NEAR_WHOLE:
            scale = float(nonzero @ whole / (whole @ whole))
            lowest, highest = round(low / scale), round(high / scale)
            centered = lowest >= LOW and highest <= HIGH
            return scale, 0 if centered else LOW - lowest
    return None


def _entry(scales: list[float], zeros: list[int]) -> dict[str, Any]:
    """Fields of the quantization table."""
    pairs = list(zip(scales, zeros, strict=True))
    low, high = ([(end - zero) * scale for scale, zero in pairs] for end in (LOW, HIGH))
    return {"scale": scales, "zero_point": zeros, "min": low, "max": high}


def _same(table: Mapping[str, Mapping[str, Any]], one: str, other: str) -> bool:
    """True if the toolkit gave two tensors one grid."""
    keys = ("scale", "zero_point")
    return all(list(table.get(one, {}).get(key, ())) == list(table.get(other, {}).get(key, ())) for key in keys)
