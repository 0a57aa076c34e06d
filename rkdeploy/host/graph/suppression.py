"""Removal of suppression from the end of a graph; the board suppresses by itself.

The operator is ONNX's, or one of TensorRT's plugins, which nothing else runs.  Many exporters slice boxes and scores
from one table of decoded rows (`--end2end` of YOLOv7 and YOLOv9, `nms=True` of Ultralytics).  It is found by structure:
on the way back from that operator's inputs, the first tensor that all of them are computed from.  It takes the place of
the outputs that are computed from what was kept; where there is none, the boxes and the scores do (PP-YOLOE).
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence

import onnx
from onnx import TensorProto, helper

from rkdeploy.host.graph.cut import prune
from rkdeploy.host.graph.graph_view import GraphView

PLUGINS = frozenset({
    "EfficientNMS_TRT", "EfficientNMS_ONNX_TRT", "EfficientNMSLandmark_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT",
    "TRTBatchedNMS",
})  # fmt: skip
"""Operators of TensorRT's plugins, whatever domain an exporter writes them in."""
_OPERATORS = PLUGINS | {"NonMaxSuppression"}
_BEFORE_ROWS = frozenset({
    "Conv", "ConvTranspose", "Gemm", "BatchNormalization", "MaxPool", "AveragePool", "GlobalAveragePool", "Resize",
    "Sigmoid", "Softmax",
})  # fmt: skip
"""Operators of the network and of the decode: a table of decoded rows is behind the last of them."""
_LEFT_OUT = "rkdeploy.suppression"  # metadata entry
_DIMENSIONS = 3  # (1, rows, columns), in either order
_OF_SHAPES = frozenset({"Shape", "Size", "ConstantOfShape", "Range"})
"""Operators whose values do not depend on what is in the image."""


def without_suppression(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model that ends in what is suppressed: the table of decoded rows, or boxes and scores.

    Unchanged if there is no suppression that an output needs, if it is in a branch or a loop, or if a plugin gets boxes
    that are not one per row.

    Args:
        model: nodes in order.
    """
    graph = GraphView(model)
    ends = [node for node in model.graph.node if node.op_type in _OPERATORS]
    behind = _computed_from(model, {name for node in ends for name in node.output if name})
    if behind.isdisjoint(graph.outputs):
        return model
    tables = _suppressed_tables(graph, [node for node in ends if behind.isdisjoint(node.input)])
    if not tables:
        return model
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    kept = [info for info in plain.graph.output if info.name not in behind]
    given = list(graph.inputs.values())  # without constants, which old exporters list too, and which are pruned
    del plain.graph.output[:], plain.graph.input[:]
    plain.graph.input.extend(given)
    half = TensorProto.FLOAT16 in (info.type.tensor_type.elem_type for info in graph.inputs.values())
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT  # no graph says the type of each of its tensors
    shown = {info.name for info in kept}
    plain.graph.output.extend(
        helper.make_tensor_value_info(name, kind, [None] * _DIMENSIONS) for name in tables if name not in shown
    )
    plain.graph.output.extend(kept)
    prune(plain.graph)
    helper.set_model_props(plain, {_LEFT_OUT: ends[0].op_type, **{p.key: p.value for p in model.metadata_props}})
    return plain


def left_out(model: onnx.ModelProto) -> str:
    """The operator that `without_suppression` left out; empty if there was none."""
    return next((entry.value for entry in model.metadata_props if entry.key == _LEFT_OUT), "")


def _suppressed_tables(graph: GraphView, ends: Sequence[onnx.NodeProto]) -> list[str]:
    """The common table of what the first operators suppress, or their boxes and scores; empty if neither is known."""
    table = _common_table(graph, {name for node in ends for name in node.input})
    if table is not None and len(graph.shape(table)) in (0, _DIMENSIONS):
        return [table]
    given = list(dict.fromkeys(name for node in ends for name in node.input[:2] if name in graph.producers))
    plugins = any(node.op_type in PLUGINS for node in ends)
    # A plugin may take boxes (1, rows, 1, 4) or such ones per class, which do not fit a head.
    return [] if plugins and any(len(graph.shape(name)) not in (0, _DIMENSIONS) for name in given) else given


def _computed_from(model: onnx.ModelProto, tensors: Collection[str]) -> set[str]:
    """These tensors and all that are computed from them."""
    found = set(tensors)
    for node in model.graph.node:
        if not found.isdisjoint(node.input):
            found.update(node.output)
    return found


def _common_table(graph: GraphView, ends: Iterable[str]) -> str | None:
    """The last tensor that all paths from the image to `ends` lead through, behind the network; None without one.

    The latest of the tensors that are still needed is replaced by what it is computed from, until one is left.
    """
    nodes = graph.model.graph.node
    place = {name: index for index, node in enumerate(nodes) for name in node.output}
    of_image = _computed_from_image(graph)
    needed = {name for name in ends if name in of_image and name in place}
    if len(needed) < 2:
        return None
    latest = [-index for index in {place[name] for name in needed}]
    heapq.heapify(latest)
    while len(needed) > 1:
        node = nodes[-heapq.heappop(latest)]
        if needed.isdisjoint(node.output):
            continue
        if node.op_type in _BEFORE_ROWS:
            return None
        needed.difference_update(node.output)
        before = {name for name in node.input if name in of_image}
        if any(name not in place for name in before):  # the image itself
            return None
        for name in before - needed:
            needed.add(name)
            heapq.heappush(latest, -place[name])
    return next(iter(needed), None)


def _computed_from_image(graph: GraphView) -> set[str]:
    """Tensors whose values depend on the image."""
    found = set(graph.inputs)
    for node in graph.model.graph.node:
        if node.op_type not in _OF_SHAPES and not found.isdisjoint(node.input):
            found.update(node.output)
    return found
