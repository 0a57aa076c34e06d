"""Small graphs with the outputs of models that are not built, made of convolutions of the image and reshapes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper


class KindGraph:
    """A graph under construction: one image in, any outputs."""

    def __init__(self, hw: tuple[int, int] = (64, 64)) -> None:
        self.hw = hw
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[TensorProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._rng = np.random.default_rng(0)

    def constant(self, values: ArrayLike) -> str:
        """A further constant."""
        self.constants.append(numpy_helper.from_array(np.asarray(values), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A further node; returns its output."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"n{len(self.nodes)}", **attributes))
        return name

    def conv(self, stride: int, channels: int) -> str:
        """A convolution of the image with one cell for `stride` pixels, (1, channels, H, W)."""
        weight = self._rng.normal(size=(channels, 3, stride, stride)).astype(np.float32)
        return self.node("Conv", "images", self.constant(weight), strides=[stride, stride])

    def rows(self, tensor: str, width: int) -> str:
        """A map (1, C, H, W) as rows (1, anchors * H * W, width)."""
        split = self.node("Reshape", tensor, self.constant(np.array([1, -1, width, self.cells_of(tensor)])))
        turned = self.node("Transpose", split, perm=[0, 1, 3, 2])
        return self.node("Reshape", turned, self.constant(np.array([1, -1, width])))

    def cells_of(self, tensor: str) -> int:
        """Cells of the map that a chain of sigmoids and convolutions gives."""
        node = next(n for n in self.nodes if tensor in n.output)
        while node.op_type != "Conv":
            node = next(n for n in self.nodes if node.input[0] in n.output)
        stride = next(a.ints[0] for a in node.attribute if a.name == "strides")
        return prod(n // stride for n in self.hw)

    def of_shape(self, shape: Sequence[int], *, op: str = "Mul") -> str:
        """A tensor of any shape that depends on the image."""
        mean = self.node("ReduceMean", "images", keepdims=0)
        return self.node(op, mean, self.constant(self._rng.normal(size=shape).astype(np.float32)))

    def show(self, *tensors: str) -> KindGraph:
        """Make tensors outputs."""
        self.outputs += [helper.make_tensor_value_info(t, TensorProto.FLOAT, None) for t in tensors]
        return self

    def model(self, opset: int = 16) -> onnx.ModelProto:
        """The graph, with its shapes."""
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *self.hw])
        graph = helper.make_graph(self.nodes, "kind", [image], self.outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model, data_prop=True)


def yolox(
    *,
    decoded: bool = False,
    rows: bool = True,
    order: Sequence[int] = (4, 1, 3),
    sigmoid: bool = True,
    scrambled: bool = False,
    scale: float = 1.0,
) -> KindGraph:
    """Box, objectness and classes of three levels: as rows, decoded or not, or as maps.

    Args:
        decoded: centers and sizes in pixels, `scale` times too large.
        rows: one table of rows, otherwise a map of each level.
        order: channels of the three convolutions.
        sigmoid: whether objectness and classes end in one.
        scrambled: the maps' numbers in the shape of rows.
        scale: factor of the decoded boxes.
    """
    graph = KindGraph()
    tables = []
    for stride in (8, 16, 32):
        parts = [graph.conv(stride, channels) for channels in order]
        if sigmoid:
            parts = [part if n == 4 else graph.node("Sigmoid", part) for part, n in zip(parts, order, strict=True)]
        if decoded:
            parts[0] = _centers(graph, parts[0], stride, scale)
        whole = graph.node("Concat", *parts, axis=1)
        shape = graph.constant(np.array([(64 // stride) ** 2, sum(order), 1] if scrambled else [1, sum(order), -1]))
        tables.append(graph.node("Reshape", whole, shape) if rows else whole)
    if not rows:
        return graph.show(*tables)
    axis, perm = (0, [2, 0, 1]) if scrambled else (2, [0, 2, 1])
    return graph.show(graph.node("Transpose", graph.node("Concat", *tables, axis=axis), perm=perm))


def _centers(graph: KindGraph, box: str, stride: int, scale: float) -> str:
    """Centers and sizes in pixels of a map of raw boxes, as YOLOX decodes them."""
    xy, wh = (graph.node("Slice", box, *(graph.constant(np.array([v])) for v in s)) for s in ((0, 2, 1), (2, 4, 1)))
    side = 64 // stride
    cells = graph.constant(np.indices((side, side))[None, ::-1].astype(np.float32))
    factor = graph.constant(np.float32(stride * scale))
    return graph.node("Mul", graph.node("Concat", graph.node("Add", xy, cells), graph.node("Exp", wh), axis=1), factor)


def landmarks(points: int, classes: int) -> KindGraph:
    """An anchor head with x, y and score of each keypoint behind the classes, as YOLOv7-pose decodes it."""
    graph = KindGraph()
    fields = 5 + classes + 3 * points
    tables = []
    for stride in (8, 16, 32):
        rows = graph.rows(graph.conv(stride, 3 * fields), fields)
        firsts = [5 + classes + 3 * point for point in range(points)]
        bounds = [(0, 5 + classes), *(cut for first in firsts for cut in ((first, first + 2), (first + 2, first + 3)))]
        cut = [graph.node("Slice", rows, *(graph.constant(np.array([v])) for v in (a, b, 2))) for a, b in bounds]
        parts = [part if number % 2 else graph.node("Sigmoid", part) for number, part in enumerate(cut)]
        tables.append(graph.node("Concat", *parts, axis=2))
    return graph.show(graph.node("Concat", *tables, axis=1))


def per_level(widths: Sequence[int], *, maps: bool = False, sigmoid: Sequence[int] = ()) -> KindGraph:
    """Outputs of some widths for each of three levels, as rows or as maps."""
    graph = KindGraph()
    for number, width in enumerate(widths):
        for stride in (8, 16, 32):
            tensor = graph.conv(stride, width)
            tensor = graph.node("Sigmoid", tensor) if number in sigmoid else tensor
            graph.show(tensor if maps else graph.rows(tensor, width))
    return graph


def shapes(*wanted: Sequence[int], hw: tuple[int, int] = (64, 64)) -> KindGraph:
    """Outputs of some shapes, without any convolution."""
    graph = KindGraph(hw)
    return graph.show(*(graph.of_shape(shape) for shape in wanted))
