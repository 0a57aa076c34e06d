"""Kinds of graphs that this version does not build, named by what they look like.

The kinds are three tables.  `input_kinds.INPUTS` are recognized by their inputs alone.  `misread_kinds.MISREAD` have a
head that the probes would take for another.  `unread_kinds.UNREAD` are asked only when no probe knows the head.  A
signature looks at shapes, channels of the last convolutions and operators, never at names of tensors; where shapes are
not enough it looks at the outputs for noise.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from rkdeploy.errors import GraphError
from rkdeploy.host.graph.graph_facts import GraphFacts, listed

_LIST = "docs/families.md lists the models that build."
WITHOUT_NMS = (
    "Export it without: nms=False (Ultralytics), export.py without --nms (YOLOv5), with --grid and without --end2end "
    "(YOLOv7)."
)
_SUPPRESSION = frozenset({"NonMaxSuppression", "EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT",
                          "EfficientNMSLandmark_TRT", "TRTBatchedNMS", "NMSRotated"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class GraphKind:
    """A kind of model.

    Attributes:
        name: with its article, as "is ..." takes it.
        matches: recognizes a graph of this kind.
        advice: hint for the user; may be empty.
    """

    name: str
    matches: Callable[[GraphFacts], bool]
    advice: str = ""


def kind_among(kinds: Sequence[GraphKind], facts: GraphFacts) -> GraphKind | None:
    """The first kind whose signature fits."""
    return next((kind for kind in kinds if kind.matches(facts)), None)


def advice_on_operators(ops: Collection[str]) -> str:
    """Hint for a graph that onnx rejects because of an unknown operator; may be empty.

    Args:
        ops: operators of the graph.
    """
    return WITHOUT_NMS if _SUPPRESSION.intersection(ops) else ""


def refusal(kind: GraphKind, facts: GraphFacts, *, by_inputs: bool = False) -> GraphError:
    """The error for a graph of a kind that is not built."""
    what = f"its inputs are {listed(facts.inputs)}; " if by_inputs else ""
    return GraphError(
        f"The graph is {kind.name}: {what}its outputs are {listed(facts.outputs)}. This version does not build it.",
        kind.advice or _LIST,
    )


def suppresses(facts: GraphFacts) -> bool:
    """True if it suppresses overlapping boxes itself, in a branch too (torchvision's detectors)."""
    inner = facts.graph.inner_operators
    return bool(_SUPPRESSION & (facts.ops.keys() | inner))
