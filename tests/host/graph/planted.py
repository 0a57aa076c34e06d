"""Faults planted in a network, its cut graph or its contract, one at a time: the proof must refuse each.

`test_planted_faults.py` plants them in small networks, `tests/benchmarks/planted_faults.py` in a folder of real ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from rkdeploy.contract.spec import Activation, Anchors, HeadOutput, ModelSpec
from rkdeploy.host.building.network import Network
from rkdeploy.host.graph.cut import cut
from rkdeploy.host.graph.cut_options import CutOptions

_BOXES = {"anchor_boxes", "ltrb_boxes", "dfl_boxes", "query_boxes"}
_SCORES = {"anchor_scores", "scores", "query_scores", "class_scores", "class_map"}


@dataclass(frozen=True, slots=True)
class Case:
    """Inputs of a build's proof: the network, its cut graph and the contract."""

    network: Network
    graph: onnx.ModelProto
    spec: ModelSpec

    @staticmethod
    def of(network: Network) -> Case:
        """A network cut with boxes and scores apart, the scores behind their sigmoid."""
        graph, outputs = cut(network.simplified, network.head, CutOptions("boxes_scores", "scores"))
        return Case(network, graph, network.contract(outputs))

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.spec.class_names)


def planted(case: Case) -> Iterator[tuple[str, Case]]:
    """Every fault that this network can have, by name.

    Args:
        case: without a fault.
    """
    for name, plant in FAULTS.items():
        faulty = plant(case)
        if faulty is not None:
            yield name, faulty


def _anchor_off(case: Case) -> Case | None:
    """The first anchor is 1 % too wide."""
    return _with_anchors(
        case, lambda levels: [[(1.01 * levels[0][0][0], levels[0][0][1]), *levels[0][1:]], *levels[1:]]
    )


def _anchors_swapped(case: Case) -> Case | None:
    """The first two anchors of the coarsest level, which has the most objects of unlike shape, are exchanged."""
    return _with_anchors(case, lambda levels: [*levels[:-1], [levels[-1][1], levels[-1][0], *levels[-1][2:]]])


Levels = Sequence[Sequence[tuple[float, float]]]


def _with_anchors(case: Case, change: Callable[[Levels], Levels]) -> Case | None:
    if case.spec.anchors is None:
        return None
    anchors = Anchors(tuple(tuple(level) for level in change(case.spec.anchors.levels_px)))
    return replace(case, spec=replace(case.spec, anchors=anchors))


def _stride(case: Case) -> Case | None:
    """Every stride is twice what it is."""
    return _with_outputs(case, lambda o: replace(o, stride=2 * o.stride), lambda o: o.stride > 0 and _has_rows(case))


def _level_order(case: Case) -> Case | None:
    """The reference is read with its levels in the opposite order."""
    head = case.network.reference_head
    if head.rows is None or len(head.rows.level_order) < 2:
        return None
    backwards = replace(head, rows=replace(head.rows, level_order=head.rows.level_order[::-1]))
    return replace(case, network=replace(case.network, reference_head=backwards))


def _columns_swapped(case: Case) -> Case | None:
    """x and y of the first anchor, or the first two sides of a distance head, are exchanged."""
    output = _first(case, _BOXES)
    if output is None:
        return None
    width = output.shape[1] // 4 if output.role == "dfl_boxes" else 1
    order = [*range(width, 2 * width), *range(width), *range(2 * width, output.shape[1])]
    return _reordered(case, output, order)


def _classes_swapped(case: Case) -> Case | None:
    """The first two classes (with one class: its score and the objectness) are exchanged."""
    output = _first(case, _SCORES)
    if output is None or output.shape[1] < 2:
        return None
    first = 1 if output.role == "anchor_scores" and case.classes > 1 else 0
    return _reordered(case, output, _exchanged(output.shape[1], first))


def _coefficients_swapped(case: Case) -> Case | None:
    """The first two mask coefficients are exchanged."""
    output = _first(case, {"anchor_coefficients", "mask_coefficients"})
    return None if output is None else _reordered(case, output, _exchanged(output.shape[1], 0))


def _prototypes_swapped(case: Case) -> Case | None:
    """The first two mask prototypes are exchanged."""
    output = _first(case, {"prototypes"})
    return None if output is None else _reordered(case, output, _exchanged(output.shape[1], 0))


def _sigmoid_missing(case: Case) -> Case | None:
    """The contract takes a tensor's probabilities for logits, or the other way round."""
    output = _first(case, {"anchor_scores", "scores", "query_scores"})
    if output is None:
        return None
    wrong: Activation = "linear" if output.activation == "sigmoid" else "sigmoid"
    return _with_outputs(case, lambda o: replace(o, activation=wrong), lambda o: o.name == output.name)


def _keypoint_formula(case: Case) -> Case | None:
    """Keypoints lie half a cell off."""
    layout = case.spec.keypoints
    return None if layout is None else _with_spec(case, keypoints=replace(layout, offset=layout.offset + 0.5))


def _angle_formula(case: Case) -> Case | None:
    """Angles are taken to start a hundredth of a radian elsewhere."""
    angle = case.spec.angle
    return None if angle is None else _with_spec(case, angle=replace(angle, offset=angle.offset + 0.01))


def _stem_weight(case: Case) -> Case | None:
    """The weakest living channel of the rewritten layer has weights that are 1 % too large."""

    def change(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        weight[_weakest(weight)] *= np.float32(1.01)

    return _in_stem(case, change)


def _stem_bias(case: Case) -> Case | None:
    """The largest bias of the rewritten layer is 1 % off."""

    def change(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        bias[np.abs(bias).argmax()] *= np.float32(1.01)

    return _in_stem(case, change)


def _stem_channel_lost(case: Case) -> Case | None:
    """One tap of the weakest living channel of the rewritten layer is exchanged with the next."""

    def change(weight: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
        filters = weight[_weakest(weight)]
        filters[...] = np.roll(filters, 1, axis=-1)

    return _in_stem(case, change)


def _stem_padding(case: Case) -> Case | None:
    """The rewritten layer's input is shifted down by a pixel: padded by one more above, one less below."""
    node = _stem_node(case)
    if node is None:
        return None
    pads = next(list(a.ints) for a in node.attribute if a.name == "pads")
    shifted = [pads[0] + 1, pads[1], pads[2] - 1, pads[3]]
    return None if pads[2] < 1 else _with_stem(case, lambda found: _set(found, "pads", shifted))


def _phases_swapped(case: Case) -> Case | None:
    """The convolution that takes the image apart gives its first two pixel phases in the wrong order."""
    if case.network.trained is case.network.reference:
        return None
    node = next((n for n in case.network.reference.graph.node if n.name.endswith(".space_to_depth/Conv")), None)
    if node is None:
        return None
    reference = _copy(case.network.reference)
    constant = next(c for c in reference.graph.initializer if c.name == node.input[1])
    weight = numpy_helper.to_array(constant)
    order = [*range(3, 6), *range(3), *range(6, len(weight))]
    constant.CopyFrom(numpy_helper.from_array(weight[order], constant.name))
    return replace(case, network=replace(case.network, reference=reference))


def _not_a_number(case: Case) -> Case | None:
    """One weight of the cut graph's last sum is NaN."""
    graph = _copy(case.graph)
    names = [name for node in graph.graph.node for name in node.input[1:] if node.op_type in {"Conv", "Gemm"}]
    constant = next(c for c in reversed(graph.graph.initializer) if c.name in names)
    values = numpy_helper.to_array(constant).copy()
    values.flat[0] = np.nan
    constant.CopyFrom(numpy_helper.from_array(values, constant.name))
    return replace(case, graph=graph)


def _wrong_fold(case: Case) -> Case | None:
    """The convolution in the middle of the cut graph is scaled by 1.01, as by a BatchNorm folded wrongly."""
    graph = _copy(case.graph)
    nodes = [node for node in graph.graph.node if node.op_type == "Conv"]
    _scale(graph, nodes[len(nodes) // 2].input[1], 1.01)
    return replace(case, graph=graph)


FAULTS: dict[str, Callable[[Case], Case | None]] = {
    "one anchor 1 % off": _anchor_off,
    "two anchors swapped": _anchors_swapped,
    "strides doubled": _stride,
    "levels in another order": _level_order,
    "two columns swapped": _columns_swapped,
    "two classes swapped": _classes_swapped,
    "two mask coefficients swapped": _coefficients_swapped,
    "two prototypes swapped": _prototypes_swapped,
    "sigmoid missing": _sigmoid_missing,
    "keypoint formula": _keypoint_formula,
    "angle formula": _angle_formula,
    "one rewritten channel 1 % off": _stem_weight,
    "one rewritten bias 1 % off": _stem_bias,
    "one rewritten channel's taps shifted": _stem_channel_lost,
    "rewritten layer padded one pixel off": _stem_padding,
    "two pixel phases swapped": _phases_swapped,
    "a weight that is NaN": _not_a_number,
    "a BatchNorm folded 1 % wrong": _wrong_fold,
}


def _has_rows(case: Case) -> bool:
    return any(not tap.name for tap in case.network.reference_head.taps)


def _first(case: Case, roles: set[str]) -> HeadOutput | None:
    return next((o for o in case.spec.outputs if o.role in roles), None)


def _exchanged(count: int, first: int) -> list[int]:
    return [*range(first), first + 1, first, *range(first + 2, count)]


def _with_spec(case: Case, **changes: object) -> Case:
    return replace(case, spec=replace(case.spec, **changes))  # type: ignore[arg-type]  # the fields' own types


def _with_outputs(
    case: Case, change: Callable[[HeadOutput], HeadOutput], which: Callable[[HeadOutput], bool]
) -> Case | None:
    if not any(which(o) for o in case.spec.outputs):
        return None
    return _with_spec(case, outputs=tuple(change(o) if which(o) else o for o in case.spec.outputs))


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _reordered(case: Case, output: HeadOutput, order: Sequence[int]) -> Case:
    """The cut graph with the channels of one output in another order."""
    graph = _copy(case.graph)
    before = f"{output.name}.in_order"
    for node in graph.graph.node:
        for index, name in enumerate(node.output):
            node.output[index] = before if name == output.name else name
    graph.graph.initializer.append(numpy_helper.from_array(np.array(order, np.int64), f"{output.name}.order"))
    graph.graph.node.append(helper.make_node("Gather", [before, f"{output.name}.order"], [output.name], axis=1))
    return replace(case, graph=graph)


def _set(node: onnx.NodeProto, name: str, values: Sequence[int]) -> None:
    attribute = next(a for a in node.attribute if a.name == name)
    attribute.ints[:] = values


def _scale(model: onnx.ModelProto, name: str, factor: float) -> None:
    constant = next(c for c in model.graph.initializer if c.name == name)
    values = (numpy_helper.to_array(constant) * np.float32(factor)).astype(np.float32)
    constant.CopyFrom(numpy_helper.from_array(values, name))


def _weakest(weight: NDArray[np.float32]) -> int:
    """The output channel with the smallest weights that are still a thousandth of the largest channel's."""
    sizes = np.sqrt((weight.astype(np.float64) ** 2).sum(axis=(1, 2, 3)))
    return int(np.where(sizes > 1e-3 * sizes.max(), sizes, np.inf).argmin())


def _stem_node(case: Case) -> onnx.NodeProto | None:
    """The first convolution with trained weights, in the graph that is built; None where nothing is rewritten."""
    if case.network.trained is case.network.reference:
        return None
    return next(n for n in case.network.reference.graph.node if n.op_type == "Conv" and len(n.input) == 3)


def _with_stem(case: Case, change: Callable[[onnx.NodeProto], None]) -> Case:
    """Change the rewritten layer's convolution in the reference; what is cut is proven against the trained graph."""
    node = _stem_node(case)
    assert node is not None
    reference = _copy(case.network.reference)
    change(next(n for n in reference.graph.node if n.name == node.name))
    return replace(case, network=replace(case.network, reference=reference))


def _in_stem(case: Case, change: Callable[[NDArray[np.float32], NDArray[np.float32]], None]) -> Case | None:
    """Change weight and bias of the rewritten layer's convolution, in place."""
    node = _stem_node(case)
    if node is None:
        return None
    reference = _copy(case.network.reference)
    constants = {c.name: c for c in reference.graph.initializer}
    weight, bias = (numpy_helper.to_array(constants[name]).copy() for name in node.input[1:3])
    change(weight, bias)
    for name, values in zip(node.input[1:3], (weight, bias), strict=True):
        constants[name].CopyFrom(numpy_helper.from_array(values, name))
    return replace(case, network=replace(case.network, reference=reference))
