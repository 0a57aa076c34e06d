"""Anchors next to those that a family published."""

from __future__ import annotations

import pytest

from rkdeploy.contract.spec import Anchors
from rkdeploy.host.families.anchor_defaults import PUBLISHED, compare_anchors, published_anchors

TINY = PUBLISHED["yolov5"][0].levels_px


def test_tiny_yolov7_has_those_of_yolov5() -> None:
    """YOLOv7 published two sets of three levels: either is recognized, and none is called the other's change."""
    for levels in (TINY, PUBLISHED["yolor"][0].levels_px):
        compared = compare_anchors(Anchors(levels), "yolov7")
        assert (compared.are_defaults, compared.largest_ratio, compared.data_set) == (True, 1.0, "COCO")


def test_the_nearest_set_counts() -> None:
    """Own anchors are compared with the set that they were made from: 16 px became 17."""
    own = Anchors((((10.0, 13.0), (17.0, 30.0), (33.0, 23.0)), *TINY[1:]))
    assert published_anchors(own, "yolov7") is PUBLISHED["yolov7"][1]
    assert compare_anchors(own, "yolov7").largest_ratio == pytest.approx(17 / 16)


def test_faces() -> None:
    """Those of WIDER FACE are named so, for four levels too."""
    for known in PUBLISHED["yolov5-face"][:3]:
        compared = compare_anchors(Anchors(known.levels_px), "yolov5-face")
        assert (compared.are_defaults, compared.data_set) == (True, "WIDER FACE")


def test_another_number_of_levels() -> None:
    """Nothing is compared where no set has as many levels or anchors."""
    assert published_anchors(Anchors(TINY[:1]), "yolov7") is None
    assert compare_anchors(Anchors(TINY[:1]), "yolov7").largest_ratio is None
