"""Cut of a graph at its head: the NPU's part ends in the head's own tensors, not in one concatenated output.

The cut may split a level's last convolution by the meaning of its channels, so that boxes and scores get a quantization
scale each, and may leave the sigmoid to the NPU.  Both keep every value: output channels of a
convolution do not depend on each other, and the decode knows which activation is already applied.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from rkdeploy.contract.roles import OutputRole
from rkdeploy.contract.spec import Activation, HeadOutput
from rkdeploy.device.postprocess.query_decode import QUERY_ROLES
from rkdeploy.errors import GraphError
from rkdeploy.host.graph.cut_options import CutOptions
from rkdeploy.host.graph.graph_view import GraphView, attributes
from rkdeploy.host.graph.head import Head, Tap

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CutOutput:
    """One output made from a tap.

    Attributes:
        role: role of the output.
        channels: of the tap; None for all.
        sigmoid: True if it ends in one.
        subtracted: with `channels`, the channel that is subtracted from each; empty for none.
    """

    role: OutputRole
    channels: tuple[int, ...] | None = None
    sigmoid: bool = False
    subtracted: tuple[int, ...] = ()


_ENDINGS = ("", ".logits", ".weight", ".bias")
"""Suffixes of the tensors behind an output, after the contract's name."""


def cut(
    model: onnx.ModelProto, head: Head, options: CutOptions, *, scores_with_boxes: bool = False
) -> tuple[onnx.ModelProto, tuple[HeadOutput, ...]]:
    """The graph up to the head's tensors, and the meaning of each of its outputs.

    Args:
        model: the simplified graph.
        head: head of the graph.
        options: form of the cut.
        scores_with_boxes: True to let boxes and scores of anchors share a tensor next to mask coefficients, which
            `options.split` does not do.

    Raises:
        GraphError: when a last convolution's weights are not constants of the graph.
    """
    named = [
        (tap, part, _name(tap, part))
        for tap in head.taps
        for part in tap_parts(tap, head, options, together=scores_with_boxes)
    ]
    source, renamed = _with_free_names(model, {f"{name}{ending}" for _, _, name in named for ending in _ENDINGS})
    result = onnx.ModelProto()
    result.CopyFrom(source)
    graph = result.graph
    before = GraphView(source)
    del graph.output[:]
    outputs: list[HeadOutput] = []
    for tap, part, name in named:
        tensor = renamed.get(tap.tensor, tap.tensor)
        if part.role in QUERY_ROLES and part.sigmoid:
            _rename(graph, tensor, f"{name}.logits")
            graph.node.append(helper.make_node("Sigmoid", [f"{name}.logits"], [name], name=f"{name}/Sigmoid"))
        elif part.channels is None and not part.sigmoid:
            _rename(graph, tensor, name)
        else:
            channels = part.channels or tuple(range(tap.shape[1]))
            _add_part(graph, before, tensor, channels, name, sigmoid=part.sigmoid, subtracted=part.subtracted)
        outputs.append(output_of(tap, part))
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, outputs[-1].shape))
    prune(graph)
    _LOG.debug("%d of %d nodes; outputs %s", len(graph.node), len(model.graph.node), ", ".join(o.name for o in outputs))
    return result, tuple(outputs)


def output_of(tap: Tap, part: CutOutput) -> HeadOutput:
    """The contract's entry of an output."""
    n, c, h, w = tap.shape
    shape = (n, c if part.channels is None else len(part.channels), h, w)
    activation: Activation = "sigmoid" if part.sigmoid else tap.activation
    return HeadOutput(_name(tap, part), part.role, tap.level, tap.stride, shape, activation)


def _name(tap: Tap, part: CutOutput) -> str:
    """The contract's name of a part."""
    if part.role in QUERY_ROLES:
        return part.role
    return tap.name or f"stride{tap.stride}_{part.role.removeprefix('anchor_')}"


def _with_free_names(model: onnx.ModelProto, wanted: Collection[str]) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The graph with some names freed, and the new names of the tensors that had them.

    A graph that was cut before has them: the one in a bundle, given as a model.
    """
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    renamed: dict[str, str] = {}
    for old in sorted(names.intersection(wanted) - {image.name for image in model.graph.input}):
        new = f"{old}.before"
        while new in names:
            new += "."
        renamed[old] = new
    if not renamed:
        return model, renamed
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for old, new in renamed.items():
        _rename(result.graph, old, new)
        for constant in result.graph.initializer:
            constant.name = new if constant.name == old else constant.name
        for info in (*result.graph.value_info, *result.graph.output):
            info.name = new if info.name == old else info.name
    return result, renamed


def tap_parts(tap: Tap, head: Head, options: CutOptions, *, together: bool = False) -> tuple[CutOutput, ...]:
    """The outputs made from a tap.

    Args:
        tap: of the head.
        head: the head.
        options: form of the cut.
        together: as `scores_with_boxes` of `cut`.
    """
    boxes = options.sigmoid in {"all", "boxes"}
    scores = options.sigmoid in {"all", "scores"}
    if tap.role == "anchor_map":
        return _anchor_parts(tap, head, options, boxes=boxes, scores=scores, together=together)
    if tap.role == "keypoints":  # a scale each: pixels and logits have different ranges
        assert head.keypoints is not None
        dimensions = 3 if head.keypoints.scored else 2
        starts = range(0, tap.shape[1], dimensions)
        xy = CutOutput("keypoint_xy", tuple(start + i for start in starts for i in (0, 1)))
        return (xy, CutOutput("keypoint_scores", tuple(s + 2 for s in starts), scores)) if dimensions == 3 else (xy,)
    if tap.role in {"scores", "query_scores"}:
        shares = head.points is not None and head.points.score == "softmax"  # of a softmax, which no sigmoid is
        return (CutOutput(tap.role, tap.channels, scores and not shares, tap.subtracted),)
    return (CutOutput(tap.role, tap.channels),)


def _anchor_parts(
    tap: Tap, head: Head, options: CutOptions, *, boxes: bool, scores: bool, together: bool
) -> tuple[CutOutput, ...]:
    channels = np.arange(tap.shape[1]).reshape(head.anchors_per_level, -1)
    points, point_scores = _point_columns(head)
    bins = _bin_columns(head)
    rest = [column for column in range(channels.shape[1]) if column not in {*points, *point_scores, *bins}]

    def of(columns: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(c) for c in channels[:, list(columns)].ravel())

    scored = 5 + head.classes
    beside: tuple[CutOutput, ...] = ()
    if len(rest) > scored:  # otherwise coefficients are a separate tap, or there are none
        beside = (CutOutput("anchor_coefficients", of(rest[scored:])),)
    if points:
        beside += (CutOutput("anchor_keypoint_xy", of(points)),)
    if point_scores:
        beside += (CutOutput("anchor_keypoint_scores", of(point_scores), scores),)
    if bins:
        beside += (CutOutput("anchor_size_bins", of(bins)),)
    split = options.split
    if head.anchor_formula is not None and head.anchor_formula.classes == "softmax":
        scores = False  # shares of a softmax, which no sigmoid is; they cannot share a sigmoid with boxes either
        split = "boxes_scores" if split == "none" else split
    if split == "none" and head.masks and not together:  # they have no sigmoid, and need a scale of their own
        split = "boxes_scores"
    exponents = head.anchor_formula is not None and head.anchor_formula.size == "exp" and not bins
    if exponents:  # logarithms of sizes have no sigmoid either
        split = "xy_wh_scores"
    if split == "none":
        return (CutOutput("anchor_map", of(rest[:scored]), boxes), *beside)
    last = CutOutput("anchor_scores", of(rest[4:scored]), scores)
    if split == "boxes_scores":
        return (CutOutput("anchor_boxes", of(rest[:4]), boxes), last, *beside)
    sizes = CutOutput("anchor_wh", of(rest[2:4]), boxes and not exponents)
    return (CutOutput("anchor_xy", of(rest[:2]), boxes), sizes, last, *beside)


def _point_columns(head: Head) -> tuple[list[int], list[int]]:
    """An anchor's fields that hold x and y of keypoints, and those that hold their scores.

    Without scores they lie between objectness and classes, with scores behind the classes, x, y and score in turn.
    """
    layout = head.keypoints
    if layout is None:
        return [], []
    if not layout.scored:
        return list(range(5, 5 + 2 * layout.count)), []
    starts = range(5 + head.classes, 5 + head.classes + 3 * layout.count, 3)
    return [start + i for start in starts for i in (0, 1)], [start + 2 for start in starts]


def _bin_columns(head: Head) -> list[int]:
    """An anchor's fields that are bins of sizes: those of the width behind w, those of the height behind h."""
    bins = head.anchor_formula.bins if head.anchor_formula is not None else None
    if bins is None:
        return []
    count = len(bins.centers)
    return [*range(3, 3 + count), *range(4 + count, 4 + 2 * count)]


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new


def _add_part(
    graph: onnx.GraphProto,
    before: GraphView,
    tensor: str,
    channels: Sequence[int],
    name: str,
    *,
    sigmoid: bool,
    subtracted: Sequence[int] = (),
) -> None:
    """Append the convolution that computes `tensor`, restricted to `channels`, ending in tensor `name`.

    Channels that are `subtracted` are so in its weights: a convolution is linear.
    """
    node = before.producers[tensor]
    inputs = [node.input[0]]
    for source in node.input[1:]:
        values = before.value(source)
        if values is None:
            raise GraphError(f'The weights of convolution "{node.name}" are computed, expected constants.')
        if len(values) <= max(channels):  # onnx's shape inference ignores biases
            raise GraphError(
                f'"{source}" of convolution "{node.name}" has shape {values.shape}, expected {max(channels) + 1} '
                "output channels or more."
            )
        values = values[list(channels)] - values[list(subtracted)] if subtracted else values[list(channels)]
        part = f"{name}.{'weight' if values.ndim == 4 else 'bias'}"
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), part))
        inputs.append(part)
    settings = attributes(node)
    if settings.get("group", 1) != 1:
        raise GraphError(f'The last convolution "{node.name}" has {settings["group"]} groups, expected one.')
    target = f"{name}.logits" if sigmoid else name
    graph.node.append(helper.make_node("Conv", inputs, [target], name=f"{node.name or name}/{name}", **settings))
    if sigmoid:
        graph.node.append(helper.make_node("Sigmoid", [target], [name], name=f"{name}/Sigmoid"))


def prune(graph: onnx.GraphProto) -> None:
    """Remove, in place, everything that no output needs: nodes, constants, shape annotations."""
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


def ending_in(model: onnx.ModelProto, tensors: Iterable[str]) -> onnx.ModelProto:
    """The graph up to the given tensors."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    del part.graph.output[:]
    part.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(tensors))
    prune(part.graph)
    return part
