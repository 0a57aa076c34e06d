"""Which kind of head a graph from elsewhere has, and where."""

from __future__ import annotations

import onnx

from rkdeploy.graph.anchor_probe import find_anchor_head
from rkdeploy.graph.classifier_probe import is_classifier, with_classifier_head
from rkdeploy.graph.head import Head
from rkdeploy.graph.head_walk import last_convolutions, tensor_shapes
from rkdeploy.graph.point_probe import find_point_head


def find_head(model: onnx.ModelProto, classes: int | None) -> tuple[onnx.ModelProto, Head]:
    """Find the head of a simplified graph with static shapes.

    Args:
        model: the graph.
        classes: how many there are, where a checkpoint beside the graph says so.

    Returns:
        The graph, in which every tap of the head is a tensor, and the head.

    Raises:
        GraphError: when there is none that is known, saying what was found instead.
    """
    if is_classifier(model):
        return with_classifier_head(model)
    shapes = tensor_shapes(model)
    ends = [o.name for o in model.graph.output if len(shapes.get(o.name, ())) != 4]
    strides = [conv.stride for conv in last_convolutions(model, shapes, ends or [o.name for o in model.graph.output])]
    # An anchor head has one last convolution a level, an anchor-free one has one for boxes and one for scores.
    if len(strides) == len(set(strides)):
        return model, find_anchor_head(model, classes)
    return model, find_point_head(model)
