"""Which kind of head a graph from elsewhere has, and where."""

from __future__ import annotations

import onnx

from rkdeploy.families.model_info import ModelInfo
from rkdeploy.graph.anchor_probe import find_anchor_head
from rkdeploy.graph.head import Head


def find_head(model: onnx.ModelProto, info: ModelInfo | None) -> Head:
    """Find the head of a simplified graph with static shapes.

    Args:
        model: the graph.
        info: what the checkpoint beside it says, if there is one.

    Raises:
        GraphError: when there is none that is known, saying what was found instead.
    """
    return find_anchor_head(model, len(info.class_names) if info is not None else None)
