"""Graphs of the families of YOLOv5's lineage against what each upstream's own code computed (tests/data)."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.host.checkpoint import read_checkpoint
from rkdeploy.host.export.stem_form import StemForm
from rkdeploy.host.families.registry import family_of
from rkdeploy.host.graph.session import Session
from tests.host.families.vectors import Vector, vectors

FAMILIES = {
    "yolov7": "yolov7",
    "yolov7_face": "yolov7",
    "yolov7_pose": "yolov7",
    "yolov5_face": "yolov5-face",
    "yolov5_lite": "yolov5-lite",
}
"""Folder of the records -> name of the family."""
CASES = [vector for vector in vectors() if vector.group in FAMILIES]
STEMS: tuple[StemForm, ...] = ("trained", "space_to_depth", "slices", "convolution")


def test_the_reference_set_is_complete() -> None:
    """Every form of head and of its blocks is recorded."""
    recorded = {vector.key for vector in CASES}
    assert {
        "yolov7-tiny_training", "yolov7-tiny_plain", "yolov7-v7_training", "yolov7-v7_deploy", "yolov7-w6_training",
        "yolov7-d6_deploy", "yolov7-e6e_training", "yolov7-blocks", "yolov7-orepa", "yolov7-bins", "yolov5_face-n05",
        "yolov5_face-s_classes", "yolov5_face-n6", "yolov7_face-lite_t", "yolov7_face-s", "yolov7_face-face",
        "yolov7_pose-w6_pose", "yolov5_face-blaze", "yolov5_lite-lite_e", "yolov5_lite-lite_s", "yolov5_lite-lite_c",
        "yolov5_lite-lite_g",
    } <= recorded  # fmt: skip


@pytest.mark.parametrize("vector", CASES, ids=lambda v: v.key)
def test_full_graph_equals_upstream(vector: Vector) -> None:
    """Pixels within 1e-3 and scores within 1e-5 of upstream torch, in every form of the first layer."""
    recorded = vector.recorded()
    checkpoint = read_checkpoint(vector.checkpoint)
    family = family_of(checkpoint)
    assert FAMILIES[vector.group] == family.NAME
    info = family.describe(checkpoint)
    assert info.anchors is not None
    assert np.abs(np.array(info.anchors.levels_px) - recorded["anchors_px"]).max() < 1e-3
    assert list(info.strides) == recorded["strides"].tolist()
    assert info.class_names == ("bolt", "nut", "washer")[: len(info.class_names)]
    image = recorded["input"]
    for stem in STEMS:
        exported = family.export(checkpoint, info, image.shape[2], image.shape[3], stem)
        decoded = Session(exported.model).run({"images": image.astype(np.float32) / 255})["output0"][0]
        assert decoded.shape[1] == recorded["pred"].shape[1]
        difference = np.abs(decoded[recorded["rows"]] - recorded["pred"])
        assert exported.head.rows is not None
        for field in exported.head.rows.fields:
            assert difference[:, list(field.columns)].max() < (1e-3 if field.unit == "px" else 1e-5), field.name
