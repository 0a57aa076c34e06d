"""Zero padding before a MaxPool, written so that onnxruntime does not fuse the two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.host.graph.graph_view import GraphView, attributes


@dataclass(frozen=True, slots=True)
class _ZeroPad:
    """A Pad of constant zeros.

    Attributes:
        source, target: its input and output tensors.
        shape: of `source`.
        before, after: zeros per axis, as many as `shape` has.
    """

    source: str
    target: str
    shape: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _PaddedAxis:
    """One axis of a padding: a Concat, its zeros, and the shape of its output."""

    node: onnx.NodeProto
    zeros: tuple[onnx.TensorProto, ...]
    shape: tuple[int, ...]


def without_padded_pooling(model: onnx.ModelProto) -> onnx.ModelProto:
    """The simplified model with every Pad of zeros before a MaxPool (yolov3-tiny) written as Concat with zeros.

    onnxruntime 1.20 fuses such a pair into one MaxPool, which pads with minus infinity instead: other values wherever
    all neighbors are negative.  The equivalent Concat is not affected in any runtime.
    """
    graph = GraphView(model)
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        pad = _zero_pad(graph, node)
        if pad is None:
            result.graph.node.append(node)
            continue
        steps = list(_steps(pad))
        for step in steps:
            result.graph.node.append(step.node)
            result.graph.initializer.extend(step.zeros)
        for step in steps[:-1]:  # the shape of the last one is known: it was the Pad's
            info = helper.make_tensor_value_info(step.node.output[0], TensorProto.FLOAT, step.shape)
            result.graph.value_info.append(info)
        if not steps:
            result.graph.node.append(helper.make_node("Identity", [pad.source], [pad.target]))
    return result


def _zero_pad(graph: GraphView, node: onnx.NodeProto) -> _ZeroPad | None:
    """A Pad of constant zeros whose consumer is a MaxPool; None for any other node."""
    if node.op_type != "Pad" or not any(
        taker.op_type == "MaxPool" and taker.input[0] == node.output[0] for taker in graph.consumers(node.output[0])
    ):
        return None
    widths = _zero_widths(graph, node)
    shape = graph.shape(node.input[0])
    rank = len(shape)
    if not widths or len(widths) != 2 * rank or min(*shape, *widths) < 0:
        return None
    return _ZeroPad(node.input[0], node.output[0], shape, tuple(widths[:rank]), tuple(widths[rank:]))


def _zero_widths(graph: GraphView, node: onnx.NodeProto) -> list[int]:
    """Begins, then ends, of a Pad with constant zeros; empty for any other."""
    settings = attributes(node)
    if settings.get("mode", b"constant") != b"constant" or (len(node.input) > 3 and node.input[3]):
        return []
    if "pads" in settings:  # opset 10 and older
        return list(settings["pads"]) if settings.get("value", 0.0) == 0 else []
    widths = graph.value(node.input[1]) if len(node.input) > 1 else None
    if len(node.input) > 2 and node.input[2]:
        padding = graph.value(node.input[2])
        if padding is None or padding.any():
            return []
    return [] if widths is None else [int(n) for n in widths]


def _steps(pad: _ZeroPad) -> Iterator[_PaddedAxis]:
    """The padding, one axis after the other; empty if every width is zero."""
    padded = [axis for axis in range(len(pad.shape)) if pad.before[axis] or pad.after[axis]]
    source, shape = pad.source, pad.shape
    for axis in padded:
        before = _zeros(pad, shape, axis, pad.before[axis], "0")
        after = _zeros(pad, shape, axis, pad.after[axis], "1")
        shape = (*shape[:axis], shape[axis] + pad.before[axis] + pad.after[axis], *shape[axis + 1 :])
        target = pad.target if axis == padded[-1] else f"{pad.target}/padded_{axis}"
        parts = [*(z.name for z in before), source, *(z.name for z in after)]
        node = helper.make_node("Concat", parts, [target], name=f"{target}/Concat", axis=axis)
        yield _PaddedAxis(node, before + after, shape)
        source = target


def _zeros(pad: _ZeroPad, shape: tuple[int, ...], axis: int, width: int, position: str) -> tuple[onnx.TensorProto, ...]:
    """The constant on one side of an axis; empty if there is no padding."""
    if not width:
        return ()
    values = np.zeros((*shape[:axis], width, *shape[axis + 1 :]), np.float32)
    return (numpy_helper.from_array(values, f"{pad.target}/zeros_{axis}_{position}"),)
