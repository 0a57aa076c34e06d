"""Probe for the scores of a classifier in a graph: one output, one number per class."""

from __future__ import annotations

import numpy as np
import onnx

from rkdeploy.contract.spec import Activation
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.foreign import image_input
from rkdeploy.host.graph.graph_view import GraphView
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap

CLASS_SCORES = "class_scores"


def is_classifier(graph: GraphView) -> bool:
    """True if the graph has one output of one row of scores: (1, classes), or (1, classes, 1, 1)."""
    if len(graph.outputs) != 1:
        return False
    shape = graph.shape(graph.outputs[0])
    return len(shape) in (2, 4) and shape[0] == 1 and shape[1] > 1 and all(n == 1 for n in shape[2:])


def with_classifier_head(graph: GraphView) -> tuple[onnx.ModelProto, Head]:
    """The graph with its raw scores, before a softmax, as a tensor (1, classes, 1, 1), and the head.

    Raises:
        GraphError: when the graph does not compute the output.
    """
    output = graph.outputs[0]
    model, tap, activation = with_class_scores(graph.model, graph, output)
    return model, Head((tap,), tap.shape[1], tensors=(DecodedTensor(CLASS_SCORES, output, activation),))


def with_class_scores(model: onnx.ModelProto, graph: GraphView, output: str) -> tuple[onnx.ModelProto, Tap, Activation]:
    """A graph with the raw scores behind an output, before a softmax, as a tensor (1, classes, 1, 1).

    Args:
        model: the graph, or one with further nodes at its end.
        graph: view of the graph.
        output: (1, classes), or (1, classes, 1, 1).

    Returns:
        The graph with that tensor, its tap, and the activation between the two.

    Raises:
        GraphError: when the graph does not compute the output.
    """
    classes = graph.shape(output)[1]
    scores, activation = output, "linear"
    node = graph.producer(output)
    while node is not None and node.op_type in ("Softmax", "Identity", "Flatten", "Squeeze", "Reshape"):
        if node.op_type == "Softmax":
            if activation == "softmax":
                break
            activation = "softmax"
        scores = node.input[0]
        node = graph.producer(scores)
    if node is None:
        raise GraphError(f'The output "{output}" is not computed by the graph.')
    result = onnx.ModelProto()
    result.CopyFrom(model)
    raw = scores
    if len(graph.shape(scores)) != 4:
        raw = f"{scores}/1x1"
        shape = onnx.numpy_helper.from_array(np.array([1, classes, 1, 1], np.int64), f"{raw}.shape")
        result.graph.initializer.append(shape)
        result.graph.node.append(onnx.helper.make_node("Reshape", [scores, shape.name], [raw], name=raw))
    height = graph.shape(image_input(graph.model)[0])[2]
    done: Activation = "softmax" if activation == "softmax" else "linear"
    tap = Tap(node.name or scores, raw, "class_scores", (1, classes, 1, 1), height, name=CLASS_SCORES)
    return result, tap, done
