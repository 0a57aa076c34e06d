"""Kinds with a head that the probes would take for another: recognized after simplification, before the probes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rkdeploy.host.graph.cell_head import find_cell_head
from rkdeploy.host.graph.fastest_head import fastest_parts
from rkdeploy.host.graph.graph_facts import GraphFacts
from rkdeploy.host.graph.graph_kinds import GraphKind


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
    if fastest_parts(facts.graph, list(facts.outputs)) is not None:
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


MISREAD = (
    GraphKind(
        "a detector with box, objectness and classes of each cell, decoded in a way of its own",
        _is_other_yolox,
        "YOLOX builds as its export_onnx.py writes it, with or without --decode_in_inference.",
    ),
)
"""Recognized after simplification, before the head is searched."""
