"""Landmarks of an ONNX file from another exporter, found from its decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.spec import Anchors
from rkdeploy.errors import GraphError
from rkdeploy.host.building.open_network import open_network
from rkdeploy.host.graph.landmark_probe import landmark_layout
from tests.host.families.vectors import Vector, vectors

FAMILIES = {"yolov5_face": "yolov5-face", "yolov7_face": "yolov7", "yolov7_pose": "yolov7"}
FACES = [vector for vector in vectors() if vector.group in FAMILIES]
ANCHORS = Anchors((((10.0, 20.0), (30.0, 40.0)),))


@pytest.mark.parametrize("vector", FACES, ids=lambda v: v.key)
def test_a_decoded_graph_says_its_landmarks(vector: Vector, tmp_path: Path) -> None:
    """Count, formula and classes of the ONNX file are those of the checkpoint."""
    own = vector.open()
    file = tmp_path / "face.onnx"
    onnx.save(own.trained, str(file))
    found = open_network(file)
    assert found.family == FAMILIES[vector.group]
    assert found.task == "pose"
    assert found.head.keypoints == own.head.keypoints
    assert found.head.classes == len(own.class_names)
    assert found.proves_decode


def rows(gain: float, unit: NDArray[np.float64], columns: int, landmarks: int) -> NDArray[np.float32]:
    """Rows of two anchors on one cell of stride 8, for raw outputs of `gain`."""
    table = np.full((2, columns), 0.5, np.float32)
    table[:, 5 : 5 + 2 * landmarks] = np.tile(gain * unit, landmarks)
    return table


def test_units() -> None:
    """The anchor's size or the stride, whichever the raw output of one adds."""
    sizes = np.array(ANCHORS.levels_px[0])
    by_anchor = landmark_layout(rows(0, sizes, 10, 2), rows(1, sizes, 10, 2), ANCHORS, [8], [2])
    assert by_anchor is not None
    assert (by_anchor.count, by_anchor.gain, by_anchor.offset, by_anchor.by_anchor) == (2, 1.0, 0.0, True)
    by_stride = landmark_layout(rows(0, sizes, 10, 2), rows(2, np.full((2, 2), 8.0), 10, 2), ANCHORS, [8], [2])
    assert by_stride is not None
    assert (by_stride.gain, by_stride.by_anchor) == (2.0, False)
    assert landmark_layout(rows(0, sizes, 6, 0), rows(1, sizes, 6, 0), ANCHORS, [8], [2]) is None


def test_other_columns() -> None:
    """Half a landmark, or no classes behind them, is an error that says the columns."""
    sizes = np.array(ANCHORS.levels_px[0])
    zeros = rows(0, sizes, 10, 2)
    zeros[:, 8] = 0.5
    with pytest.raises(GraphError, match="Columns 5, 6, 7 of the decoded rows are not scores"):
        landmark_layout(zeros, zeros, ANCHORS, [8], [2])
    with pytest.raises(GraphError, match="then the classes"):
        landmark_layout(rows(0, sizes, 9, 2), rows(1, sizes, 9, 2), ANCHORS, [8], [2])
