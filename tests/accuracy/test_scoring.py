"""Figures from predictions and labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.accuracy.predictions import ImagePrediction, unreadable
from rkdeploy.accuracy.scoring import kinds_of, score
from rkdeploy.contract.accuracy import Evaluation
from rkdeploy.contract.formulas import ClassMapSpec, KeypointLayout
from rkdeploy.contract.spec import HeadOutput
from rkdeploy.datasets.truth import DataError, DataImage, LabeledSet, Truth
from rkdeploy.device.postprocess.thresholds import Thresholds
from tests.accuracy.made import prediction, truth
from tests.accuracy.tiny_model import SPEC


class Labels:
    """The same objects in every image."""

    def __init__(self, found: Truth) -> None:
        self._found = found

    def of(self, name: str, source_hw: tuple[int, int]) -> Truth:
        return self._found


def scored(
    predictions: list[ImagePrediction], labels: Labels | None = None, class_ids: list[int] | None = None, **spec: object
) -> Evaluation:
    images = tuple(
        DataImage(p.name, Path(p.name), class_ids[i] if class_ids else None) for i, p in enumerate(predictions)
    )
    return score(
        LabeledSet("x", images, labels),
        predictions,
        replace(SPEC, **spec),  # type: ignore[arg-type]  # fields of the contract
        Thresholds(confidence=0.5),
        backend="b",
        computes="int8",
        figures_from="there",
    )


def test_objects_by_hand() -> None:
    """A bolt found and a nut missed: mAP is their mean, recall too, and precision is that of the bolt alone."""
    labels = Labels(truth([(10, 10, 20, 20), (50, 50, 60, 60)], [0, 1]))
    found = scored([prediction([(10, 10, 20, 20)], [0.9])], labels).objects[0]
    assert found.kind == "boxes"
    assert found.coco_map50 == pytest.approx(0.5)
    assert found.map50 == pytest.approx(0.995 / 2, abs=0.005)
    assert (found.precision, found.recall) == (1.0, 0.5)
    assert [c.truths for c in found.classes] == [1, 1]
    assert found.classes[1].precision is None


def test_a_class_without_objects_is_left_out_of_the_mean() -> None:
    """Only bolts are labeled, and found: a wrong nut does not pull the mean down."""
    labels = Labels(truth([(10, 10, 20, 20)]))
    found = scored([prediction([(10, 10, 20, 20), (0, 0, 5, 5)], [0.9, 0.8], [0, 1])], labels)
    assert found.objects[0].coco_map50_95 == pytest.approx(1.0)
    assert found.objects[0].classes[1].map50 is None
    assert found.headlines() == {"mAP50-95 (boxes)": pytest.approx(0.995)}


def test_kinds() -> None:
    """A pose model is measured by boxes and keypoints, a segmenter by boxes and masks, rotated boxes by themselves."""
    assert kinds_of(replace(SPEC, task="pose", keypoints=KeypointLayout(2, scored=True))) == ("boxes", "keypoints")
    prototypes = HeadOutput("p", "prototypes", 0, 4, (1, 8, 8, 8))
    assert kinds_of(replace(SPEC, task="segment", outputs=(*SPEC.outputs, prototypes))) == ("boxes", "masks")
    assert kinds_of(replace(SPEC, task="obb")) == ("rotated boxes",)


def test_first_classes() -> None:
    """Of four images two have their class first, three among the first five."""
    rankings = [[1, 0], [0, 1], [5, 4, 3, 2, 1, 0], [0]]
    predictions = [
        replace(prediction([], [], name=str(i)), ranking=np.array(r, np.int32)) for i, r in enumerate(rankings)
    ]
    found = scored(predictions, class_ids=[1, 1, 0, 0])
    assert found.ranking is not None
    assert (found.ranking.top1, found.ranking.top5) == (0.5, 0.75)
    assert found.headlines() == {"top-1": 0.5}


def mapped(*confusions: list[list[int]], unlabeled: int = 0) -> Evaluation:
    predictions = [
        replace(prediction([], [], name=str(i)), confusions=(np.array(c, np.int64),), unlabeled=(unlabeled,))
        for i, c in enumerate(confusions)
    ]
    names = ("no", "yes", "maybe")[: len(confusions[0])]
    return scored(predictions, class_maps=(ClassMapSpec("road", names),))


def test_class_maps_by_hand() -> None:
    """Pixels of both images together: road 3 of 3 + 1 + 2, the rest 4 of 4 + 1 + 2; a class that is nowhere is out."""
    found = mapped([[4, 1, 0], [0, 1, 0], [0, 0, 0]], [[0, 0, 0], [2, 2, 0], [0, 0, 0]]).class_maps[0]
    assert [c.iou for c in found.classes] == [pytest.approx(4 / 7), pytest.approx(3 / 6), None]
    assert found.mean_iou == pytest.approx((4 / 7 + 3 / 6) / 2)
    assert found.pixel_accuracy == pytest.approx(7 / 10)


def test_masks_of_0_and_255_are_refused() -> None:
    """255 says nothing; a two-class mask without a single 1 was surely meant otherwise."""
    with pytest.raises(DataError, match="0 and 255 only"):
        mapped([[4, 1], [0, 0]], unlabeled=3)
    assert mapped([[4, 1], [0, 0]]).class_maps[0].mean_iou == pytest.approx(4 / 5)


def test_broken_images_are_left_out() -> None:
    """A few are named in a note; most are an error."""
    good = prediction([(10, 10, 20, 20)], [0.9])
    labels = Labels(truth([(10, 10, 20, 20)]))
    found = scored([good, replace(good, name="b"), unreadable("c", 'Image "c" is empty.')], labels)
    assert found.images == 2
    assert 'Image "c" is empty.' in found.notes[0]
    with pytest.raises(DataError, match="2 of 3 images"):
        scored([good, unreadable("b", "gone"), unreadable("c", "gone")], labels)
