"""Precision, recall and Hmean of areas of text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rkdeploy.accuracy.predictions import prediction_of
from rkdeploy.accuracy.scoring import score
from rkdeploy.datasets.text_area_labels import text_area_set
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.rotated import upright_around
from rkdeploy.device.postprocess.thresholds import Thresholds
from tests.datasets.test_text_area_labels import AREA, CONTRACT, image, line


def found(*boxes: tuple[float, float, float, float, float], scores: tuple[float, ...]) -> Detections:
    rotated = np.array(boxes, np.float32).reshape(-1, 5)
    return Detections(
        upright_around(rotated), np.array(scores, np.float32), np.zeros(len(rotated), np.int32), rotated=rotated
    )


def test_precision_recall_and_hmean(tmp_path: Path) -> None:
    """Of three legible texts two are found, one of them turned; one box is wrong, one on an illegible text, one unsure.

    probiou would take the box of half the length for the text; intersection over union of 0.45 does not.
    """
    image(tmp_path / "a.jpg")
    image(tmp_path / "b.jpg")
    (tmp_path / "Label.txt").write_text(
        line("a.jpg", ("one", AREA), ("###", [[100, 100], [140, 100], [140, 120], [100, 120]]))
        + line("b.jpg", ("two", AREA), ("three", [[100, 0], [140, 0], [140, 10], [100, 10]]))
    )
    data = text_area_set(tmp_path)
    on_a = found((30, 30, 40, 20, 0), (120, 110, 36, 18, 0), (19, 30, 18, 20, 0), scores=(0.9, 0.8, 0.7))
    on_b = found((30, 30, 20, 40, np.pi / 2), (120, 5, 40, 10, 0), scores=(0.95, 0.5))
    predictions = [prediction_of(name, one, (160, 192), (), ()) for name, one in (("a.jpg", on_a), ("b.jpg", on_b))]
    limits = Thresholds(confidence=0.6)
    evaluation = score(data, predictions, CONTRACT, limits, backend="x", computes="float", figures_from="")
    (figures,) = evaluation.objects
    assert figures.kind == "text areas"
    assert figures.precision == pytest.approx(2 / 3)
    assert figures.recall == pytest.approx(2 / 3)
    assert figures.hmean == pytest.approx(2 / 3)
    assert figures.classes[0].truths == 3
