"""Graphs that decode an anchor-free head in two tables, boxes and scores, by any formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.host.graph.kind_graphs import KindGraph

CLASSES = 3


@dataclass(frozen=True)
class CellGraph:
    """Form of a head.

    Attributes:
        bins: of each side, 1 for plain distances.
        offset: of the cells' point.
        distance: what is done to plain distances.
        corners: boxes are corners instead of centers and sizes.
        objectness: how it is joined with the classes; empty without.
        spare: classes that are computed and not used.
        order: strides, in the order of the rows.
        transposed: scores are (1, classes, rows).
        hw: of the image.
    """

    bins: int = 17
    offset: float = 0.5
    distance: str = "linear"
    corners: bool = True
    objectness: str = ""
    spare: int = 0
    order: tuple[int, ...] = (8, 16, 32)
    transposed: bool = False
    hw: tuple[int, int] = (64, 96)

    def graph(self) -> tuple[KindGraph, str, str]:
        """The graph without outputs, and its boxes and scores."""
        graph = KindGraph(self.hw)
        boxes, scores = [], []
        for stride in self.order:
            boxes.append(self._boxes(graph, stride))
            scores.append(self._scores(graph, stride))
        both = graph.node("Concat", *boxes, axis=1), graph.node("Concat", *scores, axis=1)
        return graph, both[0], graph.node("Transpose", both[1], perm=[0, 2, 1]) if self.transposed else both[1]

    def _boxes(self, graph: KindGraph, stride: int) -> str:
        """(1, cells, 4) in pixels."""
        distances = self._distances(graph, stride)
        grid = np.indices([side // stride for side in self.hw])[::-1].reshape(2, -1).T[None].astype(np.float32)
        point = graph.constant(np.float32(grid + self.offset))
        ends = [graph.constant(np.array([n])) for n in (0, 2, 4)]
        axis = graph.constant(np.array([2]))
        low = graph.node("Sub", point, graph.node("Slice", distances, ends[0], ends[1], axis))
        high = graph.node("Add", point, graph.node("Slice", distances, ends[1], ends[2], axis))
        if not self.corners:
            half = graph.constant(np.float32(0.5))
            center = graph.node("Mul", graph.node("Add", low, high), half)
            low, high = center, graph.node("Sub", high, low)
        cells = graph.node("Concat", low, high, axis=2)
        return graph.node("Mul", cells, graph.constant(np.float32(stride)))

    def _distances(self, graph: KindGraph, stride: int) -> str:
        """(1, cells, 4) in cells."""
        rows = graph.rows(graph.conv(stride, 4 * self.bins), 4 * self.bins)
        if self.distance == "pixels":
            return graph.node("Mul", rows, graph.constant(np.float32(1 / stride)))
        if self.bins == 1:
            operators = {"exp": "Exp", "relu": "Relu"}
            return graph.node(operators[self.distance], rows) if self.distance in operators else rows
        split = graph.node("Reshape", rows, graph.constant(np.array([1, -1, 4, self.bins])))
        bins = graph.constant(np.arange(self.bins, dtype=np.float32))
        return graph.node("MatMul", graph.node("Softmax", split, axis=3), bins)

    def _scores(self, graph: KindGraph, stride: int) -> str:
        """(1, cells, classes)."""
        width = CLASSES + self.spare
        scores = graph.node("Sigmoid", graph.rows(graph.conv(stride, width), width))
        if self.spare:
            ends = [graph.constant(np.array([n])) for n in (0, CLASSES, 2)]
            scores = graph.node("Slice", scores, *ends)
        if not self.objectness:
            return scores
        product = graph.node("Mul", scores, graph.node("Sigmoid", graph.rows(graph.conv(stride, 1), 1)))
        return graph.node("Sqrt", product) if self.objectness == "root" else product

    def model(self) -> onnx.ModelProto:
        """The two tables as outputs."""
        graph, boxes, scores = self.graph()
        return graph.show(boxes, scores).model()


def suppressed(form: CellGraph, *, clipped: bool = True) -> onnx.ModelProto:
    """Boxes divided by the image's scale, a second input, and clipped, then suppressed; one output of what is left."""
    graph, boxes, scores = form.graph()
    scaled = graph.node("Div", boxes, graph.node("Concat", "scale_factor", "scale_factor", axis=1))
    limits = [graph.constant(np.float32(n)) for n in (0, 96)]
    scaled = graph.node("Clip", scaled, *limits) if clipped else scaled
    wanted: Sequence[tuple[float, type]] = ((10, np.int64), (0.5, np.float32), (0.2, np.float32))
    found = graph.node("NonMaxSuppression", scaled, scores, *(graph.constant(np.array([v], t)) for v, t in wanted))
    kept = graph.node("Gather", found, graph.constant(np.array(2)), axis=1)
    model = graph.show(graph.node("Gather", scaled, kept, axis=1)).model()
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(model.graph.output[0].name, TensorProto.FLOAT, [1, -1, 4])
    )
    model.graph.input.append(helper.make_tensor_value_info("scale_factor", TensorProto.FLOAT, [1, 2]))
    return model
