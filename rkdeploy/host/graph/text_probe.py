"""Probe for a text recognizer in a graph: scores of characters in columns along a wide image (CTC).

Found by structure: one output with two axes longer than 1, behind nothing but an activation and changes of order from
the layer that computes it.  That layer shows which axis has the characters: the channels of a convolution, the columns
of a product.  Next to it may be scores of an attribute of the whole line, such as a plate's color.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from rkdeploy.host.graph.classifier_probe import CLASS_SCORES, with_class_scores
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap
from rkdeploy.host.graph.head_kinds import TEXT

_FEWEST: Final = 6
"""Scores of the smallest dictionary."""
_FINEST, _COARSEST, _WIDE = 3, 40, 1.25
"""Pixels per column: at least, at most; least ratio of width to height."""
_MOVES: Final = frozenset({"Identity", "Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten"})
_ENDS: Final = frozenset({"Softmax", "LogSoftmax"})
_PRODUCTS: Final = frozenset({"MatMul", "Gemm"})
_BEHIND_CHANNELS: Final = frozenset(
    {"ReduceMean", "AveragePool", "MaxPool", "Relu", "BatchNormalization", "Add", "Mul"}
)
_LINE_HEIGHTS, _LINE_WIDTH = (48, 32), 320
"""Of PP-OCR's v3 and later, and of its earlier versions; pixels."""
TEXT_LOGITS: Final = "text_logits"


@dataclass(frozen=True, slots=True)
class _Line:
    """Scores along a line.

    Attributes:
        output: name of the graph's output.
        tensor: the raw scores.
        shape: of that tensor.
        scores: number of characters and the blank.
        last: True if the scores of a column lie side by side.
    """

    output: str
    tensor: str
    shape: tuple[int, ...]
    scores: int
    last: bool

    @property
    def columns(self) -> int:
        """Number of columns."""
        return prod(self.shape) // self.scores


def find_text_head(graph: GraphView) -> tuple[onnx.ModelProto, Head] | None:
    """The graph with its raw scores as a tensor (1, K, 1, T), and the head; None if it is not a text recognizer."""
    image = graph.image_shape
    if len(image) != 4 or image[3] < _WIDE * image[2]:
        return None
    vectors = [name for name in graph.outputs if _is_vector(graph.shape(name))]
    tables = [name for name in graph.outputs if name not in vectors]
    line = _line(graph, tables[0]) if len(tables) == 1 and len(vectors) <= 1 else None
    if line is None or line.scores < _FEWEST or not _FINEST <= image[3] / line.columns <= _COARSEST:
        return None
    model, tensor = _as_map(graph.model, line)
    shape = (1, line.scores, 1, line.columns)
    taps = [Tap(_node(graph, line.tensor), tensor, "text_logits", shape, image[2], name=TEXT_LOGITS)]
    tensors = [DecodedTensor(TEXT_LOGITS, line.tensor, "linear", side_by_side=line.last)]
    classes = 1
    for output in vectors:
        model, tap, activation = with_class_scores(model, graph, output)
        taps.append(tap)
        tensors.append(DecodedTensor(CLASS_SCORES, output, activation))
        classes = tap.shape[1]
    return model, Head(tuple(taps), classes, tensors=tuple(tensors), kind=TEXT)


def _is_vector(shape: tuple[int, ...]) -> bool:
    return len(shape) in (2, 4) and shape[0] == 1 and shape[1] > 1 and all(n == 1 for n in shape[2:])


def _line(graph: GraphView, output: str) -> _Line | None:
    """The scores behind an output; None if it is something else."""
    sizes = [n for n in graph.shape(output) if n > 1]
    if len(sizes) != 2 or len(graph.shape(output)) < 2:
        return None
    raw = graph.shape(output)
    tensor, ended = output, False
    node = graph.producer(tensor)
    while node is not None and (node.op_type in _MOVES or (node.op_type in _ENDS and not ended)):
        ended = ended or node.op_type in _ENDS
        tensor = node.input[0]
        node, raw = graph.producer(tensor), graph.shape(tensor)
    if node is None or not raw or prod(raw) != prod(sizes) or sum(n > 1 for n in raw) != 2:
        return None
    axis = _score_axis(graph, node, len(raw))
    if axis is None or raw[axis] not in sizes:
        return None
    columns_axis = next(a for a, n in enumerate(raw) if n > 1 and a != axis)
    return _Line(output, tensor, raw, raw[axis], last=axis > columns_axis)


def _score_axis(graph: GraphView, node: onnx.NodeProto, rank: int) -> int | None:
    """The axis of the characters in the result of a node; None if it does not show it."""
    for _ in range(4):
        if node.op_type in _PRODUCTS:
            return rank - 1
        if node.op_type == "Conv":
            return 1
        if node.op_type not in _BEHIND_CHANNELS:
            return None
        before = [graph.producer(name) for name in node.input]
        found = next((each for each in before if each is not None), None)
        if found is None:
            return None
        node = found
    return None


def _as_map(model: onnx.ModelProto, line: _Line) -> tuple[onnx.ModelProto, str]:
    """The graph with the scores as (1, K, 1, T), and the tensor's name."""
    if len(line.shape) == 4 and line.shape[1:3] == (line.scores, 1):
        return model, line.tensor
    result = onnx.ModelProto()
    result.CopyFrom(model)
    source, name = line.tensor, f"{line.tensor}/{TEXT_LOGITS}"
    if line.last:
        flat, turned = f"{name}/flat", f"{name}/turned"
        _reshape(result, source, flat, (line.columns, line.scores))
        result.graph.node.append(helper.make_node("Transpose", [flat], [turned], name=turned, perm=[1, 0]))
        source = turned
    _reshape(result, source, name, (1, line.scores, 1, line.columns))
    return result, name


def _reshape(model: onnx.ModelProto, source: str, target: str, shape: tuple[int, ...]) -> None:
    """Append a Reshape node to a graph."""
    constant = numpy_helper.from_array(np.array(shape, np.int64), f"{target}.shape")
    model.graph.initializer.append(constant)
    model.graph.node.append(helper.make_node("Reshape", [source, constant.name], [target], name=target))


def _node(graph: GraphView, tensor: str) -> str:
    """Name of the node that computes a tensor."""
    node = graph.producer(tensor)
    return node.name if node is not None and node.name else tensor


def size_of_line(model: onnx.ModelProto, shape: tuple[int | None, ...]) -> tuple[int, int] | None:
    """The size (height, width) in pixels that PP-OCR gives a line whose width is free; None for other graphs.

    Args:
        model: the graph, as it was read.
        shape: (N, 3, H, W) of its image; None for a free axis.
    """
    height, width = shape[2:]
    if width is not None or height not in (None, *_LINE_HEIGHTS) or len(model.graph.output) != 1:
        return None
    dims = model.graph.output[0].type.tensor_type.shape.dim
    is_line = len(dims) == 3 and dims[2].dim_value >= _FEWEST and dims[1].dim_value <= 0
    return (height or _LINE_HEIGHTS[0], _LINE_WIDTH) if is_line else None
