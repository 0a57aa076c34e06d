"""Heads of text recognizers: the scores of characters along the line, and of an attribute of the whole line."""

from __future__ import annotations

from typing import Final, Literal

from rkdeploy.contract.formulas import TextFormula
from rkdeploy.errors import GraphError
from rkdeploy.host.export.builder import GraphBuilder, Value
from rkdeploy.host.export.heads import four
from rkdeploy.host.graph.head import DecodedTensor, Head, Tap
from rkdeploy.host.graph.head_kinds import TEXT

TEXT_LOGITS: Final = "text_logits"
"""Role of the scores, and their name in the contract."""
CLASS_SCORES: Final = "class_scores"
OUTPUT: Final = "output0"
ATTRIBUTE: Final = "output1"


def text_head(
    builder: GraphBuilder, scores: Value, text: TextFormula | None, height: int, attribute: Value | None = None
) -> tuple[dict[str, Value], Head]:
    """The outputs of a recognizer's own export, (1, K, T) and (1, n), and the head.

    Args:
        builder: the graph.
        scores: (1, K, 1, T).
        text: formula of the scores; None where the checkpoint does not say its characters.
        height: of the network input in pixels.
        attribute: (1, n, 1, 1) scores of an attribute of the whole line; None without.

    Raises:
        GraphError: when the scores have several rows, since the input is too high.
    """
    if scores.shape[2] != 1:
        raise GraphError(
            f"The scores have {scores.shape[2]} rows at an input height of {height}, expected one.",
            "Leave out --imgsz: the network takes lines of one height.",
        )
    outputs = {OUTPUT: builder.reshape(TEXT_LOGITS, scores, (1, scores.channels, scores.shape[3]))}
    taps = [_tap(TEXT_LOGITS, scores, height)]
    tensors = [DecodedTensor(TEXT_LOGITS, OUTPUT, "linear")]
    if attribute is not None:
        outputs[ATTRIBUTE] = builder.reshape(CLASS_SCORES, attribute, attribute.shape[:2])
        taps.append(_tap(CLASS_SCORES, attribute, height))
        tensors.append(DecodedTensor(CLASS_SCORES, ATTRIBUTE, "linear"))
    classes = 1 if attribute is None else attribute.channels
    return outputs, Head(tuple(taps), classes, tensors=tuple(tensors), text=text, kind=TEXT)


def _tap(role: Literal["text_logits", "class_scores"], value: Value, height: int) -> Tap:
    """The tap of a tensor of the whole image, named after its role."""
    return Tap(value.name, value.name, role, four(value), height, name=role)
