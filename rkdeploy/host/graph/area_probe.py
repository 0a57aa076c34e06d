"""Probe for the three maps of a DB head in its training form: shrunken areas, thresholds, and the step between them.

PaddleOCR's `DBHead` joins them along the planes where it trains; a file that was exported so has all three, and the
first is the one that is read (ppocr/modeling/heads/det_db_head.py).
"""

from __future__ import annotations

from typing import Final

from rkdeploy.contract.formulas import AreaFormula
from rkdeploy.host.graph.graph_view import GraphView, attributes
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap
from rkdeploy.host.graph.head_kinds import AREA_MAPS, AREAS

_STEP: Final = frozenset({"Sub", "Mul", "Exp", "Neg", "Add", "Div", "Reciprocal", "Sigmoid", "Identity"})
"""Operators of 1 / (1 + exp(-k (areas - thresholds)))."""
_MOST_STEPS: Final = 16


def find_area_maps(graph: GraphView) -> Head | None:
    """The head whose only output is the three maps; None for other graphs."""
    node = graph.producer(graph.outputs[0]) if len(graph.outputs) == 1 else None
    if node is None or node.op_type != "Concat" or len(node.input) != 3 or attributes(node).get("axis") not in (1, -3):
        return None
    areas, limits, step = node.input
    shape = graph.shape(areas)
    if shape != (1, 1, *graph.image_shape[2:]) or any(graph.shape(name) != shape for name in (limits, step)):
        return None
    if not {areas, limits} <= _behind(graph, step, {areas, limits}):
        return None
    producer = graph.producer(areas)
    tap = Tap(
        node=(producer.name if producer is not None else "") or areas,
        tensor=areas,
        role="area_map",
        shape=(1, 1, shape[2], shape[3]),
        stride=1,
        name=AREAS,
        activation="sigmoid",
    )
    return Head((tap,), 1, tensors=(DecodedTensor(AREAS, areas, "linear"),), areas=AreaFormula(), kind=AREA_MAPS)


def _behind(graph: GraphView, tensor: str, ends: set[str]) -> set[str]:
    """Tensors that a map is computed from by single values, up to the ends."""
    walked = graph.back([tensor], lambda node: node.op_type in _STEP and not ends.intersection(node.output))
    found: set[str] = set()
    for _, (_, node) in zip(range(_MOST_STEPS), walked, strict=False):
        if node.op_type in _STEP:
            found.update(node.input)
    return found
