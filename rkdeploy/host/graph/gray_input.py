"""Networks of gray images, converted to networks of color images.

A first convolution converts color to gray with the weights of ITU-R BT.601, those of OpenCV's conversion, with which
trainers read gray images.  Everything outside the graph (contract, calibration, board) then handles one kind of
image.  The weights add up to 1, so a gray image repeated three times stays unchanged, padding included.

`fold_gray` multiplies that convolution into the next one, so that the NPU has no further layer: it has neither bias nor
padding of its own, hence W (out, 1, h, w) becomes W (out, 1, h, w) * gray (1, 3, 1, 1).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.errors import GraphError

GRAY_OF_RGB: Final = (0.299, 0.587, 0.114)
"""Weights of red, green and blue, ITU-R BT.601."""
GRAY: Final = "gray"
"""Path of the convolution, as a module's."""
_NODE: Final = f"{GRAY}/Conv"  # named like the exporter's nodes of a path
GRAY_NOTE: Final = (
    "The network takes gray images. A first convolution now converts color images (0.299 red, 0.587 green, "
    "0.114 blue, as in OpenCV), so that the bundle takes the same images as any other; gray ones stay as they are."
)


def gray_weight() -> NDArray[np.float32]:
    """Weight of the convolution, (1, 3, 1, 1)."""
    return np.array(GRAY_OF_RGB, np.float32).reshape(1, 3, 1, 1)


def takes_gray(model: onnx.ModelProto) -> bool:
    """True if a graph's image input has one channel: (N, 1, H, W)."""
    dims = _image_dims(model)
    return dims is not None and dims[1].dim_value == 1


def is_made_gray(model: onnx.ModelProto) -> bool:
    """True if a graph converts its color input to gray first."""
    return any(node.name == _NODE and node.op_type == "Conv" for node in model.graph.node)


def with_color_input(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph of a gray network with an input (N, 3, H, W) in RGB; unchanged if its input is not gray.

    Args:
        model: a graph whose weights are not among its inputs.

    Raises:
        GraphError: when the graph already has tensors of the names that are added.
    """
    if not takes_gray(model):
        return model
    colored = onnx.ModelProto()
    colored.CopyFrom(model)
    graph = colored.graph
    image, gray, weight = graph.input[0].name, f"{GRAY}/Conv_output_0", f"{GRAY}.weight"
    names = {name for node in graph.node for name in (*node.input, *node.output)}
    if {gray, weight} & names or is_made_gray(model):
        raise GraphError(f'The graph already has a tensor "{gray}", "{weight}" or a convolution "{_NODE}".')
    for node in graph.node:
        for index, value in enumerate(node.input):
            if value == image:
                node.input[index] = gray
    graph.input[0].type.tensor_type.shape.dim[1].dim_value = 3
    del graph.value_info[:]
    graph.initializer.append(numpy_helper.from_array(gray_weight(), weight))
    graph.node.insert(0, helper.make_node("Conv", [image, weight], [gray], name=_NODE, kernel_shape=[1, 1]))
    return colored


def fold_gray(model: onnx.ModelProto) -> onnx.ModelProto:
    """A simplified graph with the gray convolution folded into the one behind it.

    Returns:
        The same graph if it has none, or if something other than one ungrouped convolution reads it.
    """
    gray = next((node for node in model.graph.node if node.name == _NODE and node.op_type == "Conv"), None)
    if gray is None or any(output.name == gray.output[0] for output in model.graph.output):
        return model
    readers = [node for node in model.graph.node if gray.output[0] in node.input]
    weights = {constant.name: constant for constant in model.graph.initializer}
    if len(readers) != 1 or not _is_foldable(readers[0], gray.output[0], weights):
        return model
    weight = numpy_helper.to_array(weights[readers[0].input[1]])
    name = f"{readers[0].input[1]}/{GRAY}"
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    del folded.graph.node[:]
    for node in model.graph.node:
        if node.name == gray.name and node.op_type == "Conv":
            continue
        folded.graph.node.append(node)
        if node.output == readers[0].output:
            folded.graph.node[-1].input[0] = gray.input[0]
            folded.graph.node[-1].input[1] = name
    folded.graph.initializer.append(numpy_helper.from_array(weight * gray_weight(), name))
    return folded


def _is_foldable(node: onnx.NodeProto, gray: str, weights: dict[str, onnx.TensorProto]) -> bool:
    """True for an ungrouped convolution of the gray image with constant weights (out, 1, h, w)."""
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return (
        node.op_type == "Conv"
        and groups == 1
        and node.input[0] == gray
        and node.input[1] in weights
        and list(weights[node.input[1]].dims[1:2]) == [1]
    )


def _image_dims(model: onnx.ModelProto) -> list[onnx.TensorShapeProto.Dimension] | None:
    """Dimensions of the only input if it has four; None for any other graph."""
    if len(model.graph.input) != 1:
        return None
    dims = list(model.graph.input[0].type.tensor_type.shape.dim)
    return dims if len(dims) == 4 else None
