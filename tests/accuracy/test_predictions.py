"""Predictions as they are kept in files."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from rkdeploy.accuracy.predictions import ImagePrediction, decoded, encoded, prediction_of, unreadable
from rkdeploy.device.postprocess.detections import Detections, InstanceMask, Ranking
from tests.accuracy.made import prediction

FULL = replace(
    prediction([(1, 2, 3, 4)], [0.5], keypoints=[[1, 2, 1]], rotated=[(1, 2, 3, 4, 0.5)], masks=["0b3"]),
    ranking=np.array([3, 1], np.int32),
    confusions=(np.array([[1, 2], [3, 4]], np.int64),),
    unlabeled=(7,),
    embedding=np.array([0.6, 0.8], np.float32),
)


def same(a: ImagePrediction, b: ImagePrediction) -> bool:
    return all(np.array_equal(getattr(a, f.name), getattr(b, f.name)) for f in fields(ImagePrediction))


def test_round_trip() -> None:
    """Everything is read back: arrays with their types, absent fields as None, names that are not UTF-8."""
    originals = [FULL, prediction([], []), unreadable("\udcc2\udcdd.jpg", '"\udcc2" is cut off')]
    found, figures_from = decoded(encoded(originals, "simulator"))
    assert figures_from == "simulator"
    assert all(same(a, b) for a, b in zip(originals, found, strict=True))
    assert found[0].xyxy.dtype == np.float32
    assert found[1].keypoints is None


def test_damaged_bytes() -> None:
    """Cut off anywhere, or with a byte changed, they are read as they are or refused, never a crash."""
    data = encoded([FULL], "x")
    for end in range(len(data)):
        with pytest.raises(ValueError):
            decoded(data[:end])
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x11
        try:
            found, _ = decoded(bytes(changed))
        except ValueError:
            continue
        assert isinstance(found, list)


def test_masks_become_run_lengths() -> None:
    """Of detections with masks: one text each, in the size of the image; 2x1 pixels at column 1, row 1 of 3x3."""
    mask = InstanceMask(1, 1, np.ones((2, 1), np.bool_))
    found = Detections(
        np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), masks=(mask,),
        ranking=Ranking(np.array([2], np.int32), np.ones(1, np.float32)),
    )  # fmt: skip
    kept = prediction_of("a", found, (3, 3), (), ())
    assert kept.masks == ("423",)  # four of background, two, three
    assert kept.ranking is not None
    assert kept.ranking.tolist() == [2]
