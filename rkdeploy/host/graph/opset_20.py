"""Operators of opset 20, which torch's exporter writes by default, in those of opset 19.

onnx's converter has no way back for Gelu and GridSample, which are new or renamed there.  All other operators of opset
20 that networks of images have differ from opset 19 in the types that they take, not in what they compute.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.host.graph.graph_view import attributes

_MODES = {b"linear": "bilinear", b"cubic": "bicubic"}
"""Names of GridSample's interpolation in opset 20, and before."""


def in_opset_19(model: onnx.ModelProto) -> onnx.ModelProto:
    """A simplified model of opset 20 in opset 19.

    Gelu becomes x / 2 (1 + erf(x / sqrt(2))), or x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) where it says so.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if node.op_type == "Gelu" and node.domain in ("", "ai.onnx"):
            by_tanh = attributes(node).get("approximate", b"none") == b"tanh"
            result.graph.node.extend(_gelu(node, result.graph, by_tanh=by_tanh))
        elif node.op_type == "GridSample":
            settings = attributes(node)
            settings["mode"] = _MODES.get(settings.get("mode", b"linear"), settings.get("mode"))
            result.graph.node.append(
                helper.make_node("GridSample", node.input, node.output, name=node.name, **settings)
            )
        else:
            result.graph.node.append(node)
    for imported in result.opset_import:
        if imported.domain in ("", "ai.onnx"):
            imported.version = 19
    return result


def _gelu(node: onnx.NodeProto, graph: onnx.GraphProto, *, by_tanh: bool) -> list[onnx.NodeProto]:
    """The nodes of a Gelu; its constants become constants of the graph."""
    x, y = node.input[0], node.output[0]

    def constant(part: str, value: float) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"{y}/{part}"))
        return f"{y}/{part}"

    def step(op: str, inputs: list[str], part: str) -> onnx.NodeProto:
        name = y if part == "" else f"{y}/{part}"
        return helper.make_node(op, inputs, [name], name=f"{node.name or y}/{op}_{part}")

    half, whole = constant("half", 0.5), constant("whole", 1.0)
    if by_tanh:
        cube, gain = constant("cube", 0.044715), constant("gain", float(np.sqrt(2 / np.pi)))
        inner = [
            step("Mul", [x, x], "x2"),
            step("Mul", [f"{y}/x2", x], "x3"),
            step("Mul", [f"{y}/x3", cube], "x3c"),
            step("Add", [x, f"{y}/x3c"], "sum"),
            step("Mul", [f"{y}/sum", gain], "arg"),
            step("Tanh", [f"{y}/arg"], "curve"),
        ]
    else:
        inner = [step("Mul", [x, constant("root", float(np.sqrt(0.5)))], "arg"), step("Erf", [f"{y}/arg"], "curve")]
    return [
        *inner,
        step("Add", [f"{y}/curve", whole], "raised"),
        step("Mul", [x, half], "halved"),
        step("Mul", [f"{y}/halved", f"{y}/raised"], ""),
    ]
