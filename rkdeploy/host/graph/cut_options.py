"""Options of the cut of a graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from rkdeploy.errors import GraphError
from rkdeploy.option import GRAPH, Option

Split = Literal["none", "boxes_scores", "xy_wh_scores"]
Sigmoid = Literal["none", "all", "boxes", "scores"]

MOST_PARTS: Final = 4
"""Largest number of parts of a depthwise convolution; here, where options that need no onnx can say it."""


@dataclass(frozen=True, slots=True)
class CutOptions:
    """Form of the cut; docs/quantization.md has the measured table behind the defaults.

    Attributes:
        split: the channels that share a tensor, and so a quantization scale.
        sigmoid: the tensors whose sigmoid is left to the NPU.
    """

    split: Annotated[Split, Option("--split", "Which head channels get a tensor of their own.", GRAPH)] = "none"
    sigmoid: Annotated[
        Sigmoid,
        Option("--sigmoid", "Head tensors whose sigmoid the NPU computes; boxes and scores need --split.", GRAPH),
    ] = "all"

    def __post_init__(self) -> None:
        """Check that the two options fit together.

        Raises:
            GraphError: when boxes and scores share a tensor but only one of them is to have a sigmoid.
        """
        if self.split == "none" and self.sigmoid in {"boxes", "scores"}:
            raise GraphError(
                f"--sigmoid {self.sigmoid} needs boxes and scores in tensors of their own.", "Add --split boxes_scores."
            )
