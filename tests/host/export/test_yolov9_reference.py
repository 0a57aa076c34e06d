"""Graphs of YOLOv9 against what its own code computed (tests/data/yolov9)."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.session import Session
from tests.host.families.vectors import Vector, vectors

CASES = [vector for vector in vectors() if vector.group == "yolov9"]


def test_every_head_is_recorded() -> None:
    """Each of the heads of models/yolo.py, in all of its tasks but the panoptic one."""
    heads = {
        family_of(checkpoint).describe(checkpoint).generation.split()[-2]
        for checkpoint in (read_checkpoint(vector.checkpoint) for vector in CASES)
    }
    assert heads == {
        "Detect", "DDetect", "DualDetect", "DualDDetect", "TripleDetect", "TripleDDetect", "Segment", "DSegment",
        "DualDSegment",
    }  # fmt: skip


@pytest.mark.parametrize("vector", CASES, ids=lambda v: v.key)
def test_full_graph_equals_upstream(vector: Vector) -> None:
    """Pixels within 1e-3, scores within 1e-5, coefficients and prototypes within 1e-4 of upstream torch."""
    recorded = vector.recorded()
    checkpoint = read_checkpoint(vector.checkpoint)
    family = family_of(checkpoint)
    assert family.NAME == "yolov9"
    info = family.describe(checkpoint)
    assert list(info.strides) == recorded["strides"].tolist()
    assert info.class_names == ("bolt", "nut", "washer")
    assert info.task == ("segment" if "proto" in recorded else "detect")
    image = recorded["input"]
    exported = family.export(checkpoint, info, image.shape[2], image.shape[3])
    outputs = Session(exported.model).run({"images": image.astype(np.float32) / 255})
    difference = np.abs(outputs["output0"][0] - recorded["pred"])
    assert difference[:4].max() < 1e-3
    assert difference[4:7].max() < 1e-5
    assert difference[7:].max(initial=0) < 1e-4
    if "proto" in recorded:
        assert np.abs(outputs["output1"][0] - recorded["proto"]).max() < 1e-4


def test_layers_of_auxiliary_heads_are_left_out() -> None:
    """Of yolov9-c's network only what the lead head needs is written."""
    vector = next(vector for vector in CASES if vector.case == "reversible_auxiliary")
    network = vector.open()
    layers = {node.name.split("/")[0].split(".")[1] for node in network.trained.graph.node if "model." in node.name}
    assert layers == {"1", "2", "3", "13", "14", "15"}
