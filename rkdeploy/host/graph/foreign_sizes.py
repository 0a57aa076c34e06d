"""Checks of a simplified foreign graph: the NPU's part must do the same work on every image.

The rest of a build runs it in its own process, on images without limits.  That is safe if every tensor has a
fixed size that was computed within the limits and no value decides about the work: so no tensor of unknown shape, no
loop or branch, and no division of integers, which crashes the process on a zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import onnx
from onnx import TensorProto

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView

_MOST_BYTES = 1 << 31  # bytes of one tensor; YOLOv5x at 4096 x 4096 has one of 1.3 GB
_MOST_CONSTANT_BYTES = 1 << 27  # the largest of a known network has 13 MB
_CONTROL_FLOW = {"If", "Loop", "Scan"}
_NOT_FOR_NPU = "The NPU takes graphs of fixed shapes only: export it again without the part before the head."


def require_fixed_work(model: onnx.ModelProto, simplified: onnx.ModelProto, tensors: Iterable[str]) -> None:
    """Check that the graph up to some tensors has fixed shapes of a plausible size and no control flow.

    Args:
        model: the graph to cut.
        simplified: the same with inferred shapes, before our own nodes were added, which need no check.
        tensors: end of the NPU's part.

    Raises:
        GraphError: naming the node.
    """
    known = {
        info.name: info.type.tensor_type
        for info in (*simplified.graph.input, *simplified.graph.value_info, *simplified.graph.output)
    }
    theirs = GraphView(simplified).producers
    for info in simplified.graph.input:
        _require_size(info.name, known[info.name], "The input")
    for name, node in GraphView(model).back(tensors):
        if name not in theirs:
            continue
        what = f'Node "{node.name or name}" ({node.op_type})'
        if node.op_type in _CONTROL_FLOW:
            raise GraphError(f"{what} makes the computation depend on values.", _NOT_FOR_NPU)
        if name not in known:
            raise GraphError(f"{what} gives a tensor of unknown shape, expected a fixed one.", _NOT_FOR_NPU)
        if node.op_type in ("Div", "Mod") and known[name].elem_type != TensorProto.FLOAT:
            raise GraphError(f"{what} divides integers, expected floating-point numbers.", _NOT_FOR_NPU)
        _require_size(name, known[name], what)


def require_small_constants(model: onnx.ModelProto) -> None:
    """Check that tensors computed without the image are small: a few bytes of a file can stand for any size.

    Args:
        model: simplified, so that only large constants are not computed yet.

    Raises:
        GraphError: naming the node.
    """
    sizes = {info.name: _size_of(info.type.tensor_type) for info in model.graph.value_info}
    varying = {info.name for info in model.graph.input}
    for node in model.graph.node:
        if node.op_type in _CONTROL_FLOW or varying.intersection(node.input):
            varying.update(node.output)
            continue
        size = sum(sizes.get(name, 0) for name in node.output)
        if size > _MOST_CONSTANT_BYTES:
            raise GraphError(
                f'Node "{node.name or node.output[0]}" ({node.op_type}) makes a constant of {size / 1e9:.3g} GB, '
                f"expected at most {_MOST_CONSTANT_BYTES / 1e9:.3g} GB.",
                "No known network needs that. Export the file again.",
            )


def total_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all tensors of fixed shape between a graph's nodes."""
    return sum(_size_of(info.type.tensor_type) for info in model.graph.value_info)


def _size_of(kind: onnx.TypeProto.Tensor) -> int:
    """Bytes of a tensor of 4-byte numbers, 0 if its shape is not fixed or says a negative size."""
    return math.prod(max(0, d.dim_value) for d in kind.shape.dim) * 4 if kind.HasField("shape") else 0


def _require_size(name: str, kind: onnx.TypeProto.Tensor, what: str) -> None:
    dims = kind.shape.dim
    if not kind.HasField("shape") or not all(d.HasField("dim_value") and d.dim_value > 0 for d in dims):
        raise GraphError(f'{what} gives "{name}" without a fixed shape.', _NOT_FOR_NPU)
    shape = [d.dim_value for d in dims]
    size = _size_of(kind)
    if size > _MOST_BYTES:
        raise GraphError(
            f'{what} gives "{name}" of shape {tuple(shape)}, {size / 1e9:.3g} GB, expected at most '
            f"{_MOST_BYTES / 1e9:.3g} GB.",
            "Use a smaller --imgsz." if what == "The input" else "",
        )
