"""Cuts a graph at its head: what the NPU runs ends in the head's own tensors, not in one concatenated output.

The cut may split a level's last convolution by what its channels mean, so that boxes and scores get a quantization
scale each, and may keep the sigmoid on the NPU's side.  Both leave every value as it was: output channels of a
convolution do not depend on each other, and the decode knows which activation is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.errors import GraphError
from rkdeploy.graph.head import AnchorHead, HeadConv
from rkdeploy.spec import Activation, HeadOutput, OutputRole

Split = Literal["none", "boxes_scores", "xy_wh_scores"]
Sigmoid = Literal["none", "all", "boxes", "scores"]

_FIELDS: dict[OutputRole, slice] = {
    "anchor_map": slice(0, None),
    "anchor_boxes": slice(0, 4),
    "anchor_xy": slice(0, 2),
    "anchor_wh": slice(2, 4),
    "anchor_scores": slice(4, None),
}
_SPLITS: dict[Split, tuple[OutputRole, ...]] = {
    "none": ("anchor_map",),
    "boxes_scores": ("anchor_boxes", "anchor_scores"),
    "xy_wh_scores": ("anchor_xy", "anchor_wh", "anchor_scores"),
}


@dataclass(frozen=True, slots=True)
class CutOptions:
    """Where the graph is cut; docs/quantization.md has the measured table behind the defaults.

    Attributes:
        split: which channels share a tensor, and so a quantization scale.
        sigmoid: on which tensors the sigmoid is left to the NPU.
    """

    split: Split = "none"
    sigmoid: Sigmoid = "all"

    def __post_init__(self) -> None:
        """Refuse a pair that means nothing.

        Raises:
            GraphError: when boxes and scores share a tensor but only one of them is to have a sigmoid.
        """
        if self.split == "none" and self.sigmoid in {"boxes", "scores"}:
            raise GraphError(
                f"--sigmoid {self.sigmoid} needs boxes and scores in tensors of their own.", "Add --split boxes_scores."
            )


def cut(
    model: onnx.ModelProto, head: AnchorHead, options: CutOptions
) -> tuple[onnx.ModelProto, tuple[HeadOutput, ...]]:
    """The graph up to the head's tensors, and what each of its outputs means.

    Raises:
        GraphError: when a last convolution's weights are not constants of the graph.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {c.name: c for c in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    del graph.output[:]
    outputs: list[HeadOutput] = []
    for level, conv in enumerate(head.convs):
        node = producers[conv.tensor]
        for role in _SPLITS[options.split]:
            channels = _channels(head, conv, role)
            name = f"stride{conv.stride}_{role.removeprefix('anchor_')}"
            sigmoid = _has_sigmoid(role, options.sigmoid)
            _add_part(graph, node, constants, channels, name, sigmoid=sigmoid)
            n, _, h, w = conv.shape
            shape = (n, len(channels), h, w)
            graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
            activation: Activation = "sigmoid" if sigmoid else "linear"
            outputs.append(HeadOutput(name, role, level, conv.stride, shape, activation))
    _prune(graph)
    return result, tuple(outputs)


def _channels(head: AnchorHead, conv: HeadConv, role: OutputRole) -> list[int]:
    """The convolution's output channels that belong to `role`, anchor-major."""
    fields = 5 + head.classes
    channels = np.arange(conv.shape[1]).reshape(head.anchors_per_level, fields)
    return [int(c) for c in channels[:, _FIELDS[role]].ravel()]


def _has_sigmoid(role: OutputRole, sigmoid: Sigmoid) -> bool:
    if role == "anchor_map":
        return sigmoid == "all"
    return sigmoid in {"all", "scores" if role == "anchor_scores" else "boxes"}


def _add_part(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    constants: Mapping[str, onnx.TensorProto],
    channels: list[int],
    name: str,
    *,
    sigmoid: bool,
) -> None:
    """Append the convolution restricted to `channels`, ending in tensor `name`."""
    inputs = [node.input[0]]
    for source in node.input[1:]:
        if source not in constants:
            raise GraphError(f'The weights of convolution "{node.name}" are computed, expected constants.')
        values = numpy_helper.to_array(constants[source])[channels]
        part = f"{name}.{'weight' if values.ndim == 4 else 'bias'}"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), part))
        inputs.append(part)
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if attributes.get("group", 1) != 1:
        raise GraphError(f'The last convolution "{node.name}" has {attributes["group"]} groups, expected one.')
    target = f"{name}.logits" if sigmoid else name
    graph.node.append(helper.make_node("Conv", inputs, [target], name=f"{node.name or name}/{name}", **attributes))
    if sigmoid:
        graph.node.append(helper.make_node("Sigmoid", [target], [name], name=f"{name}/Sigmoid"))


def _prune(graph: onnx.GraphProto) -> None:
    """Drop what no output needs: nodes, constants, shape notes."""
    needed = {o.name for o in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    kept.reverse()
    constants = [c for c in graph.initializer if c.name in needed]
    notes = [v for v in graph.value_info if v.name in needed]
    pruned = onnx.GraphProto()
    pruned.name = graph.name
    pruned.node.extend(kept)
    pruned.initializer.extend(constants)
    pruned.input.extend(graph.input)
    pruned.output.extend(graph.output)
    pruned.value_info.extend(notes)
    graph.CopyFrom(pruned)
