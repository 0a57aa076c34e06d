"""Boxes of queries as logits, in a form that float16 and integers can hold.

Decoders refine boxes layer by layer: box = sigmoid(shift + log(max(b, e) / max(1 - b, e))), where b is the sigmoid of
the last layer's logit.  The fraction goes up to 1 / e, 100,000 in these models: one scale for it leaves nothing of the
others in 8 bits, and 1 - b has three digits in float16.  The logit itself, bounded to what the formula gives at most,
is equal and takes one operation.  Boxes of cells that do not count are infinite in training; their sigmoid is 1 from 20
on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.session import Session

_ARITHMETIC: Final = frozenset({"Div", "Clip", "Sub", "Min", "Max", "Add", "Mul", "Neg", "Identity", "Log"})
_MOST_NODES = 16  # of one formula; exporters write 6 to 10
_MOST_FORMULAS = 64
_REACH = 20.0  # logits for which a formula is tried, from minus to plus
_TOLERANCE = 0.02  # of a logit: 1 - b has a relative error of 0.6 % in float32 where the formula ends
_MOVING: Final = frozenset(
    {"Add", "Gather", "GatherElements", "GatherND", "Reshape", "Unsqueeze", "Squeeze", "Expand", "Tile", "Slice"}
)
_INFINITE, _LARGE, _OUTSIDE = 1e30, 100.0, 20.0


@dataclass(frozen=True, slots=True)
class _Formula:
    """An inverse sigmoid in a graph.

    Attributes:
        result: the tensor that it gives.
        logit: the tensor whose sigmoid it takes back.
        low, high: bounds of its results.
    """

    result: str
    logit: str
    low: float
    high: float


def with_kept_logits(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every inverse of a sigmoid replaced by the sigmoid's bounded input; unchanged if it has none."""
    graph = GraphView(model)
    ends = [node for node in model.graph.node if _may_end(node, graph)][:_MOST_FORMULAS]
    formulas = {found.result: found for node in ends if (found := _formula(graph, node.output[0])) is not None}
    if not formulas:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    nodes = [_bounded(formulas[n.output[0]], changed) if n.output[0] in formulas else n for n in changed.graph.node]
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del changed.graph.node[:]
    changed.graph.node.extend(kept)
    return changed


def _may_end(node: onnx.NodeProto, graph: GraphView) -> bool:
    """True for a logarithm, or a difference of two."""
    if node.op_type == "Sub":
        return all((before := graph.producer(name)) is not None and before.op_type == "Log" for name in node.input)
    return node.op_type == "Log"


def _formula(graph: GraphView, result: str) -> _Formula | None:
    """The inverse sigmoid that ends in a tensor; None if it is none of one sigmoid alone."""
    inside = dict(graph.back([result], through=lambda node: node.op_type in _ARITHMETIC))
    steps = [node for node in inside.values() if node.op_type in _ARITHMETIC]
    starts = [node for node in inside.values() if node.op_type not in _ARITHMETIC]
    if len(starts) != 1 or starts[0].op_type != "Sigmoid" or len(steps) > _MOST_NODES:
        return None
    names = {name for node in steps for name in node.input if name and name not in inside}
    constants = {name: graph.constants[name] for name in names if name in graph.constants}
    if len(constants) != len(names) or any(max(c.dims, default=1) > 1 for c in constants.values()):
        return None
    logits = np.linspace(-_REACH, _REACH, 801, dtype=np.float32)
    values = _tried(graph, result, starts[0].output[0], steps, list(constants.values()), logits)
    if values is None:
        return None
    low, high = float(values[0]), float(values[-1])
    if not low < 0 < high or np.abs(values - np.clip(logits, low, high)).max() > _TOLERANCE:
        return None
    return _Formula(result, starts[0].input[0], low, high)


def _tried(
    graph: GraphView,
    result: str,
    start: str,
    steps: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    logits: NDArray[np.float32],
) -> NDArray[np.float32] | None:
    """Values of a formula for the sigmoids of some logits; None if it does not run alone."""
    order = {id(node): place for place, node in enumerate(graph.model.graph.node)}
    part = helper.make_graph(
        sorted(steps, key=lambda node: order[id(node)]),
        "formula",
        [helper.make_tensor_value_info(start, TensorProto.FLOAT, logits.shape)],
        [helper.make_empty_tensor_value_info(result)],
        constants,
    )
    alone = helper.make_model(part, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)
    try:
        values = Session(alone).run({start: (1 / (1 + np.exp(-logits))).astype(np.float32)})[result]
    except GraphError:
        return None
    return values if values.shape == logits.shape and np.isfinite(values).all() else None


def _bounded(formula: _Formula, model: onnx.ModelProto) -> onnx.NodeProto:
    """The node that replaces a formula; its bounds become constants of the model."""
    bounds = []
    for name, value in (("low", formula.low), ("high", formula.high)):
        bounds.append(f"{formula.result}/{name}")
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), bounds[-1]))
    return helper.make_node("Clip", [formula.logit, *bounds], [formula.result], name=f"{formula.result}/Clip")


def with_bounded_boxes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with infinite box logits among its constants as 20; unchanged if it has none that end in sigmoids."""
    graph = GraphView(model)
    found = {
        name: values
        for name, constant in graph.constants.items()
        if constant.data_type == TensorProto.FLOAT and list(constant.dims[-1:]) == [4]
        and _has_infinite(values := np.array(numpy_helper.to_array(constant))) and _ends_in_sigmoids(graph, name)
    }  # fmt: skip
    if not found:
        return model
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for constant in changed.graph.initializer:
        if constant.name in found:
            values = found[constant.name]
            values[np.abs(values) >= _INFINITE] = _OUTSIDE
            constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    return changed


def _has_infinite(values: NDArray[np.float32]) -> bool:
    large = values >= _INFINITE
    return bool(large.any()) and bool((np.abs(values[~large]) < _LARGE).all())


def _ends_in_sigmoids(graph: GraphView, name: str) -> bool:
    """True if a constant is only moved and added to, and then goes into sigmoids."""
    pending, seen = [name], set()
    while pending:
        for node in graph.consumers(pending.pop()):
            if node.op_type == "Sigmoid" or node.output[0] in seen:
                continue
            if node.op_type not in _MOVING:
                return False
            seen.add(node.output[0])
            pending.append(node.output[0])
    return bool(seen)
