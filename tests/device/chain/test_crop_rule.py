"""Choice of the detections that become crops, and the form of these."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.contract.formulas import AngleFormula, EmbeddingFormula, KeypointLayout
from rkdeploy.contract.spec import ModelSpec
from rkdeploy.device.chain.crop_rule import CropRule, box_region, crop_rule, crops_of
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.errors import RkdeployError
from tests.accuracy.tiny_model import SPEC

CLASSIFIER = replace(SPEC, task="classify")
POSE = replace(SPEC, task="pose", keypoints=KeypointLayout(4, scored=False))
FACES = replace(SPEC, task="pose", keypoints=KeypointLayout(5, scored=False))
OBB = replace(SPEC, task="obb", angle=AngleFormula(sigmoid=True, gain=1.0, offset=0.0))
VECTOR = replace(SPEC, task="embedding", embedding=EmbeddingFormula())
FACE_VECTOR = replace(VECTOR, embedding=EmbeddingFormula(alignment="face"))


@pytest.mark.parametrize(
    ("detector", "recognizer", "kind"),
    [
        (SPEC, CLASSIFIER, "box"),
        (POSE, CLASSIFIER, "corners"),
        (POSE, SPEC, "box"),
        (FACES, CLASSIFIER, "box"),
        (OBB, CLASSIFIER, "rotated"),
        (OBB, SPEC, "rotated"),
        (FACES, VECTOR, "box"),
        (POSE, VECTOR, "corners"),
        (FACES, FACE_VECTOR, "landmarks"),
    ],
)
def test_the_form_follows_from_both_contracts(detector: ModelSpec, recognizer: ModelSpec, kind: str) -> None:
    """Corners for a plate's class, not for a second detector; rotated boxes always."""
    assert crop_rule(detector, recognizer).kind == kind


def test_a_form_that_the_detector_cannot_give_is_refused() -> None:
    """The error lists the possible ones."""
    with pytest.raises(RkdeployError, match="four keypoints") as error:
        crop_rule(FACES, CLASSIFIER, crop="corners")
    assert "box, landmarks" in error.value.hint
    assert crop_rule(FACES, CLASSIFIER, crop="landmarks").kind == "landmarks"
    with pytest.raises(RkdeployError, match="not a form of crop"):
        crop_rule(SPEC, CLASSIFIER, crop="round")


def test_faces_that_need_landmarks_are_not_cut_by_their_boxes() -> None:
    """Not silently: the accuracy would suffer.  Asked for, it is done."""
    with pytest.raises(RkdeployError, match="aligned by five landmarks"):
        crop_rule(SPEC, FACE_VECTOR)
    assert crop_rule(SPEC, FACE_VECTOR, crop="box").kind == "box"


def test_numbers_and_classes_are_checked() -> None:
    """A margin, a limit, an unknown class, and a first model that finds no objects."""
    for wrong in ({"margin": -0.1}, {"margin": float("nan")}, {"limit": 0}, {"of": ["screw"]}):
        with pytest.raises(RkdeployError):
            crop_rule(SPEC, CLASSIFIER, **wrong)
    with pytest.raises(RkdeployError, match="finds objects"):
        crop_rule(CLASSIFIER, SPEC)
    assert crop_rule(SPEC, CLASSIFIER, of=["nut", 0]).class_ids == frozenset({0, 1})


def test_a_box_is_rounded_outward_and_clipped() -> None:
    """A margin of a tenth of 20 x 10 pixels; a box outside of the frame has no crop."""
    region = box_region(np.array((10.5, 5.0, 30.5, 15.0)), 0.1, (100, 100))
    assert region is not None
    assert (region.to_frame(np.zeros(2)).tolist(), region.width, region.height) == ([8.0, 4.0], 25, 12)
    edge = box_region(np.array((-5.0, -5.0, 3.5, 2.0)), 0.0, (100, 100))
    assert edge is not None
    assert (edge.width, edge.height) == (4, 2)
    assert box_region(np.array((100.0, 0.0, 120.0, 10.0)), 0.0, (100, 100)) is None
    assert box_region(np.array((np.nan, 0.0, 120.0, 10.0)), 0.0, (100, 100)) is None


def test_the_best_of_the_wanted_classes_are_taken() -> None:
    """Of five objects three are of the class; two are taken, and one is counted as left out."""
    xyxy = np.array([(i, i, i + 5, i + 5) for i in range(5)], np.float32)
    found = Detections(xyxy, np.linspace(0.9, 0.5, 5, dtype=np.float32), np.array((0, 1, 1, 0, 1), np.int32))
    crops = crops_of(found, CropRule(class_ids=frozenset({1}), limit=2), SPEC.input, (50, 50))
    assert [i for i, _ in crops.regions] == [1, 2]
    assert crops.left_out == 1
    empty = crops_of(Detections.empty(), CropRule(), SPEC.input, (50, 50))
    assert (empty.regions, empty.left_out) == ((), 0)
