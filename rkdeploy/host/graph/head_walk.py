"""Walk of a graph back from its outputs to the last convolutions, and runs of the part behind them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_view import GraphView

NO_HEAD = (
    "Detection, segmentation, pose and rotated-box models can be built from ONNX with their head, and classifiers; "
    "docs/families.md lists the known heads."
)
_MOST_VALUES = 1 << 28  # YOLOv5x at 4096 x 4096 has 6.7e7


@dataclass(frozen=True, slots=True)
class HeadConv:
    """One of the last convolutions.

    Attributes:
        node: the node's name (or its output's, if it has none), as the report shows it.
        tensor: its output tensor.
        shape: (N, C, H, W) of that tensor.
        stride: input pixels per cell.
    """

    node: str
    tensor: str
    shape: tuple[int, int, int, int]
    stride: int


def last_convolutions(graph: GraphView, ends: Iterable[str]) -> tuple[HeadConv, ...]:
    """The first convolutions met on the way back from `ends`, finest level first.

    A convolution that only takes the expectation of a distribution (DFL) belongs to the decode and is walked through.

    Raises:
        GraphError: when there is none, or one has no stride.
    """

    def is_last(node: onnx.NodeProto) -> bool:
        return node.op_type == "Conv" and not _takes_expectation(node, graph)

    found = [node for _, node in graph.back(ends, through=lambda node: not is_last(node)) if is_last(node)]
    if not found:
        raise GraphError("The graph has no convolution before its outputs.", NO_HEAD)
    height, width = graph.image_shape[2:]
    convs = []
    for node in found:
        shape = graph.shape(node.output[0])
        if len(shape) != 4 or not (stride := _stride((height, width), shape[2:])):
            raise GraphError(
                f'Convolution "{node.name or node.output[0]}" gives {shape or "an unknown shape"}, which has no '
                f"uniform stride at {height}x{width}.",
                NO_HEAD,
            )
        require_plausible_size(node.name or node.output[0], shape)
        convs.append(HeadConv(node.name or node.output[0], node.output[0], shape, stride))
    convs.sort(key=lambda c: c.stride)
    return tuple(convs)


def require_plausible_size(name: str, shape: tuple[int, ...]) -> None:
    """Check the size of a head's tensor before numbers are made for it.

    Args:
        name: of the node, for the message.
        shape: of its output.

    Raises:
        GraphError: it has more values than a head of any known model.
    """
    if math.prod(shape) > _MOST_VALUES:
        raise GraphError(
            f'Convolution "{name}" gives {shape}, {math.prod(shape):.3g} values, expected at most {_MOST_VALUES:.3g}.',
            "Use a smaller --imgsz.",
        )


def _stride(image: tuple[int, int], cells: tuple[int, ...]) -> int:
    """Input pixels per cell, 0 if they differ in height and width.

    Cells of a power of two may reach beyond the image: 416 pixels are 7 cells of 64 (NanoDet-Plus, PicoDet).
    """
    if not all(cells):
        return 0
    if not image[0] % cells[0] and image[0] // cells[0] * cells[1] == image[1]:
        return image[0] // cells[0]
    powers = (2**n for n in range(1, 9))
    return next((n for n in powers if (-(-image[0] // n), -(-image[1] // n)) == cells), 0)


def tail(graph: GraphView, convs: Iterable[HeadConv], *ends: str) -> onnx.ModelProto:
    """The part of the graph between the convolutions and the tensors `ends`; its inputs are all of the former."""
    model, given = graph.model, list(convs)
    needed, nodes = set(ends), []
    stops = {conv.tensor for conv in given}
    for node in reversed(model.graph.node):
        if (needed - stops).intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    part = helper.make_graph(
        nodes[::-1],
        "tail",
        [helper.make_tensor_value_info(conv.tensor, onnx.TensorProto.FLOAT, conv.shape) for conv in given],
        [helper.make_empty_tensor_value_info(name) for name in ends],
        [constant for constant in model.graph.initializer if constant.name in needed],
    )
    return helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)


def is_before(graph: GraphView, tensors: Collection[str], end: str) -> bool:
    """True if all of `tensors` take part in computing `end`."""
    wanted = set(tensors)
    met = {tensor for tensor, _ in graph.back([end], through=lambda node: wanted.isdisjoint(node.output))}
    return wanted <= met


def _takes_expectation(node: onnx.NodeProto, graph: GraphView) -> bool:
    """True if a convolution weights its inputs with 0, 1, 2, ... and adds them up."""
    weight = graph.constants.get(node.input[1]) if len(node.input) == 2 else None
    if weight is None or list(weight.dims[:1]) != [1] or list(weight.dims[2:]) != [1, 1]:
        return False
    return bool(np.array_equal(numpy_helper.to_array(weight).ravel(), np.arange(weight.dims[1])))
