"""Kinds with a head that the probes would take for another: recognized after simplification, before the probes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rkdeploy.host.graph.cell_head import find_cell_head
from rkdeploy.host.graph.graph_facts import GraphFacts
from rkdeploy.host.graph.graph_kinds import GraphKind
from rkdeploy.host.graph.graph_view import GraphView

_NORMALIZING = frozenset({"LpNormalization", "ReduceL2"})


def _is_other_yolox(facts: GraphFacts) -> bool:
    """Box, objectness and classes from three convolutions per level, with a decode that is not YOLOX's."""
    levels = set(facts.levels)
    if len(levels) != 1 or len(channels := next(iter(levels))) != 3 or 1 not in channels or 4 not in channels:
        return False
    fields = sum(channels)
    shown = facts.outputs_on_noise(silent=1)
    tables = [_columns(values, fields) for values in shown.values() if fields in values.shape[1:]]
    if not tables or len(tables) != len(shown):
        return False
    told = all(_objectness_first(columns) or np.abs(columns).max() <= 3 for columns in tables)
    return told and find_cell_head(facts.graph, list(facts.outputs)) is None


def _objectness_first(columns: NDArray[np.float32]) -> bool:
    """True if a probability of a silent convolution stands before the others.

    YOLO26's rotated boxes have as many columns as YOLOX, but in the order boxes, classes, angle.
    """
    behind = columns[5:]
    return bool(_bounded(columns)[4:].all() and np.ptp(columns[4]) == 0 and (len(behind) == 1 or np.ptp(behind) > 0))


def _columns(table: NDArray[np.float32], fields: int) -> NDArray[np.float32]:
    """A table of rows, or a map, as (fields, rows)."""
    axis = next(axis for axis in range(1, table.ndim) if table.shape[axis] == fields)
    return np.moveaxis(table, axis, 0).reshape(fields, -1)


def _bounded(columns: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Mask of the columns of (fields, rows) that only hold values from 0 to 1."""
    inside: NDArray[np.bool_] = (columns.min(axis=1) >= 0) & (columns.max(axis=1) <= 1)
    return inside


def _is_embedding(facts: GraphFacts) -> bool:
    """One vector that is normalized to length 1, or ends in a normalization without a softmax behind it."""
    shapes = list(facts.outputs.values())
    if len(shapes) != 1 or len(shapes[0]) not in (2, 4) or any(n != 1 for n in shapes[0][2:]) or shapes[0][0] != 1:
        return False
    last = facts.graph.producer(next(iter(facts.outputs)))
    if last is None:
        return False
    if last.op_type == "Div":
        return bool(_NORMALIZING.intersection(_ops_before(facts.graph, last.input)))
    return last.op_type in _NORMALIZING | {"BatchNormalization"}


def _ops_before(graph: GraphView, names: Sequence[str]) -> set[str]:
    """Operators up to four steps before some tensors."""
    found: set[str] = set()
    pending = list(names)
    for _ in range(4):
        nodes = [node for name in pending if (node := graph.producer(name)) is not None]
        found.update(node.op_type for node in nodes)
        pending = [name for node in nodes for name in node.input]
    return found


MISREAD = (
    GraphKind(
        "a detector with box, objectness and classes of each cell, decoded in a way of its own",
        _is_other_yolox,
        "YOLOX builds as its export_onnx.py writes it, with or without --decode_in_inference.",
    ),
    GraphKind("an embedding (face or object recognition), which has no classes", _is_embedding),
)
"""Recognized after simplification, before the head is searched."""
