"""Probe for graphs that give maps of the whole image only: classes of pixels, or one value per pixel.

What lies behind the last tensor of scores, enlarging, a softmax, the choice of the highest, is left to the board's
decode.  Where to cut is not guessed from operators: the part of the graph behind each tensor is run on noise, and the
first tensor, seen from the network, for which the board's decode gives the same map is the one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from rkdeploy.contract.formulas import ClassMapSpec, DepthFormula
from rkdeploy.contract.spec import InputSpec
from rkdeploy.device.postprocess.best_classes import best_classes
from rkdeploy.device.postprocess.resampling import map_axes, resampled
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.area_probe import find_area_maps
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap
from rkdeploy.host.graph.head_kinds import DEPTH, MASK, PLANE, PLANES, SEMANTIC
from rkdeploy.host.graph.session import Session
from rkdeploy.images.fit import LetterboxTransform

_BEHIND: Final = frozenset({
    "Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Resize", "Upsample", "Softmax", "LogSoftmax",
    "Sigmoid", "ArgMax", "Greater", "GreaterOrEqual",
})  # fmt: skip
"""Operators that may lie behind the scores."""
_COARSEST: Final = 8.2
"""Largest ratio of the image's side to a map's: 513 pixels make 65 cells.  Scores that the graph itself enlarges may be
coarser.
"""
_COARSEST_SCORES: Final = 64.0
_ALIKE: Final = 0.998
"""Share of pixels that must get the same class: interpolated scores may tie up to rounding."""
_CLOSE: Final = 1e-4
_MAX_CLASSES: Final = 256


@dataclass(frozen=True, slots=True)
class _Found:
    """A tensor of scores, and how the graph enlarges it.

    Attributes:
        tensor: name in the graph.
        shape: (1, C, h, w).
        corners: whether corner cells lie on corner pixels.
    """

    tensor: str
    shape: tuple[int, int, int, int]
    corners: bool


def find_map_head(graph: GraphView) -> tuple[onnx.ModelProto, Head] | None:
    """The head of a simplified graph whose outputs are all maps; None for other graphs.

    Of several outputs with the same number of classes, more than two, the first is taken: the others serve training
    (`aux` of torchvision, the auxiliary heads of BiSeNet and PP-LiteSeg).
    """
    if graph.image_shape and (areas := find_area_maps(graph)) is not None:
        return graph.model, areas
    if not graph.image_shape or not all(_map_hw(graph, output) for output in graph.outputs):
        return None
    found = [_scores(graph, output) for output in graph.outputs]
    first = found[0]
    if first is None or any(one is not None and one.shape[1] != first.shape[1] for one in found):
        return None
    if len(found) > 1 and first.shape[1] <= 2:
        return None  # several results, not one with its auxiliaries
    return graph.model, _head(graph, graph.outputs[0], first)


def _head(graph: GraphView, output: str, found: _Found) -> Head:
    node = graph.producer(found.tensor)
    _, planes, height, _ = found.shape
    stride = max(1, round(graph.image_shape[2] / height))
    name = SEMANTIC if planes > 1 else DEPTH
    tap = Tap(
        node=(node.name if node is not None else "") or found.tensor,
        tensor=found.tensor,
        role="class_map" if planes > 1 else "depth_map",
        shape=found.shape,
        stride=stride,
        name=name,
    )
    tensors = (DecodedTensor(name, found.tensor, "linear"),)
    if planes > 1:
        names = tuple(f"class_{i}" for i in range(planes))
        stated = ClassMapSpec(SEMANTIC, names, background=False, corners=found.corners)
        return Head((tap,), planes, tensors=tensors, class_maps=(stated,), kind=PLANES)
    behind = [node.op_type for _, node in _chain(graph, output)]
    is_mask = any(op in ("Sigmoid", "Greater", "GreaterOrEqual") for op in behind)
    return Head(
        (tap,),
        1,
        tensors=(DecodedTensor(name, output, "sigmoid"),) if behind == ["Sigmoid"] else tensors,
        depth=DepthFormula("inverse", corners=found.corners),
        kind=MASK if is_mask else PLANE,
    )


def _scores(graph: GraphView, output: str) -> _Found | None:
    """The first tensor whose decode on the board equals the output; None if no decode does."""
    chain = _chain(graph, output)
    tensors = [output, *(node.input[0] for _, node in chain)]
    for position in range(len(tensors) - 1, -1, -1):
        shape = graph.shape(tensors[position])
        if len(shape) != 4 or shape[0] != 1 or shape[1] > _MAX_CLASSES or not _fits(graph, shape[2:], _COARSEST_SCORES):
            continue
        nodes = [node for _, node in chain[:position]][::-1]
        corners = _enlarged_as(graph, tensors[position], shape, nodes, output)
        if corners is not None:
            return _Found(tensors[position], (1, shape[1], shape[2], shape[3]), corners)
    return None


def _chain(graph: GraphView, output: str) -> list[tuple[str, onnx.NodeProto]]:
    """Nodes that may lie behind the scores, from the output back, each with the tensor that it computes."""
    found = []
    tensor = output
    while (node := graph.producer(tensor)) is not None and node.op_type in _BEHIND:
        if any(graph.value(name) is None for name in node.input[1:] if name):
            break
        found.append((tensor, node))
        tensor = node.input[0]
    return found


def _enlarged_as(
    graph: GraphView, tensor: str, shape: Sequence[int], nodes: Sequence[onnx.NodeProto], output: str
) -> bool | None:
    """True if the graph puts corners on corners from `tensor` to its output; None if the board's decode differs."""
    if not nodes:
        return _is_between_corners(graph, shape)
    noise = _noise(shape)
    theirs = _run(graph, tensor, shape, nodes, output, noise)
    if theirs is None:
        return None
    wanted = _map_hw(graph, output)
    agreeing = [corners for corners in (False, True) if _agrees(graph, noise, theirs, wanted, corners=corners)]
    if not agreeing:
        return None
    if len(agreeing) == 2:  # nothing is enlarged behind it
        return _is_between_corners(graph, shape)
    return agreeing[0]


def _is_between_corners(graph: GraphView, shape: Sequence[int]) -> bool:
    """True if the map's cells fit between the image's corner pixels and do not cover it edge to edge: 65 in 513."""
    image = graph.image_shape[2:]
    return any(a % b for a, b in zip(image, shape[2:], strict=True)) and all(
        b > 1 and (a - 1) % (b - 1) == 0 for a, b in zip(image, shape[2:], strict=True)
    )


def _agrees(
    graph: GraphView, noise: NDArray[np.float32], theirs: NDArray[np.generic], hw: tuple[int, ...], *, corners: bool
) -> bool:
    """True if the board's decode of scores gives the graph's output."""
    height, width = graph.image_shape[2:]
    image = InputSpec("images", height, width, fit="stretch")
    transform = LetterboxTransform(width / hw[1], height / hw[0], 0.0, 0.0, (hw[0], hw[1]))
    rows, columns = map_axes(transform, (noise.shape[2], noise.shape[3]), image, corners=corners)
    if noise.shape[1] > 1:
        every = (slice(0, noise.shape[2]), slice(0, noise.shape[3]))
        ours = best_classes(HeadTensor(noise), every, rows, columns)
        return float((ours == _class_ids(theirs, noise.shape[1], hw)).mean()) >= _ALIKE
    values, given = resampled(noise[0, 0], rows, columns), np.asarray(theirs).reshape(hw)
    if given.dtype.kind != "f":
        return float(((values > 0) == given.astype(bool)).mean()) >= _ALIKE
    real = given.astype(np.float64)
    shown = (values.astype(np.float64), 1 / (1 + np.exp(-values.astype(np.float64))))
    return any(float(np.abs(one - real).max()) < _CLOSE * max(1.0, float(np.abs(real).max())) for one in shown)


def _class_ids(theirs: NDArray[np.generic], classes: int, hw: tuple[int, ...]) -> NDArray[np.generic]:
    """The graph's output as class ids, (h, w)."""
    if theirs.size == hw[0] * hw[1]:
        return theirs.reshape(hw)
    axis = 1 if theirs.ndim == 4 and theirs.shape[1] == classes and theirs.shape[2:] == tuple(hw) else theirs.ndim - 1
    ids: NDArray[np.generic] = theirs.argmax(axis=axis).reshape(hw)
    return ids


def _run(
    graph: GraphView,
    tensor: str,
    shape: Sequence[int],
    nodes: Sequence[onnx.NodeProto],
    output: str,
    values: NDArray[np.float32],
) -> NDArray[np.generic] | None:
    """The output computed from the scores by the part of the graph behind them; None if it cannot be run."""
    needed = {name for node in nodes for name in node.input}
    part = onnx.helper.make_graph(
        list(nodes),
        "behind",
        [onnx.helper.make_tensor_value_info(tensor, onnx.TensorProto.FLOAT, list(shape))],
        [info for info in graph.model.graph.output if info.name == output],
        [constant for constant in graph.model.graph.initializer if constant.name in needed],
    )
    model = onnx.helper.make_model(part, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)
    try:
        return np.asarray(Session(model).run({tensor: values})[output])
    except GraphError:
        return None


def _noise(shape: Sequence[int]) -> NDArray[np.float32]:
    """Scores that vary from cell to cell, the same in every run."""
    return np.random.default_rng(0).normal(0, 2, tuple(shape)).astype(np.float32)


def _map_hw(graph: GraphView, output: str) -> tuple[int, ...]:
    """Height and width of an output that is a map, with its planes first, last or left out; empty for others."""
    shape = graph.shape(output)
    if len(shape) not in (3, 4) or shape[0] != 1:
        return ()
    return next((hw for hw in _sides(shape) if _fits(graph, hw)), ())


def _sides(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Possible heights and widths of a map."""
    yield tuple(shape[-2:])
    if len(shape) == 4:
        yield tuple(shape[1:3])


def _fits(graph: GraphView, hw: Sequence[int], coarsest: float = _COARSEST) -> bool:
    """True if a map is fine enough, and has the image's proportions."""
    ratios = [image / side for image, side in zip(graph.image_shape[2:], hw, strict=True)]
    return max(ratios) <= coarsest and min(ratios) >= 0.99 and max(ratios) / min(ratios) < 1.1
