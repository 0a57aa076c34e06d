"""Which kind of head a graph from elsewhere has, and where."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from rkdeploy.contract.spec import ClassMap
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.anchor_probe import find_anchor_head
from rkdeploy.host.graph.class_map_probe import map_outputs, with_class_maps
from rkdeploy.host.graph.classifier_probe import is_classifier, with_classifier_head
from rkdeploy.host.graph.head import Head
from rkdeploy.host.graph.head_walk import NO_HEAD, last_convolutions, tensor_shapes
from rkdeploy.host.graph.point_probe import find_point_head
from rkdeploy.host.graph.raw_head import find_raw_head


def find_head(
    model: onnx.ModelProto, classes: int | None, known_maps: Mapping[str, ClassMap] | None = None
) -> tuple[onnx.ModelProto, Head]:
    """Find the head of a simplified graph with static shapes.

    Args:
        model: the graph.
        classes: how many there are, where a checkpoint beside the graph says so.
        known_maps: how the contract calls a class map, by the name of the graph's output.

    Returns:
        The graph, in which every tap of the head is a tensor, and the head.

    Raises:
        GraphError: when there is none that is known, saying what was found instead.
    """
    if is_classifier(model):
        return with_classifier_head(model)
    maps = map_outputs(model)
    map_names = {found.output for found in maps}
    outputs = [o.name for o in model.graph.output if o.name not in map_names]
    if not outputs:
        listed = ", ".join(f"{found.output} {found.shape}" for found in maps)
        raise GraphError(f"The graph has no head: all that it gives are whole-image maps ({listed}).", NO_HEAD)
    raw = find_raw_head(model, outputs)
    if raw is not None:
        return model, with_class_maps(model, raw, maps, known_maps or {})
    shapes = tensor_shapes(model)
    ends = [name for name in outputs if len(shapes.get(name, ())) != 4] or outputs
    strides = [conv.stride for conv in last_convolutions(model, shapes, ends)]
    # An anchor head has one last convolution a level, an anchor-free one has one for boxes and one for scores.
    has_anchors = len(strides) == len(set(strides))
    head = find_anchor_head(model, classes, outputs) if has_anchors else find_point_head(model)
    return model, with_class_maps(model, head, maps, known_maps or {})
