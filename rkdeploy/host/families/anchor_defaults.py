"""Published anchors of each family, and their comparison with a model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rkdeploy.contract.spec import Anchors
from rkdeploy.host.families.model_info import AnchorComparison

Levels = tuple[tuple[tuple[float, float], ...], ...]


@dataclass(frozen=True, slots=True)
class PublishedAnchors:
    """Anchors of a configuration that a family published.

    Attributes:
        levels_px: width and height in pixels of the network input, finest level first.
        data_set: that they were made for.
    """

    levels_px: Levels
    data_set: str = "COCO"


def _anchors(*levels_px: Sequence[float], data_set: str = "COCO") -> PublishedAnchors:
    return PublishedAnchors(tuple(tuple(zip(level[::2], level[1::2], strict=True)) for level in levels_px), data_set)


_P5 = _anchors(
    (10.0, 13.0, 16.0, 30.0, 33.0, 23.0),
    (30.0, 61.0, 62.0, 45.0, 59.0, 119.0),
    (116.0, 90.0, 156.0, 198.0, 373.0, 326.0),
)
_P6 = _anchors(
    (19.0, 27.0, 44.0, 40.0, 38.0, 94.0),
    (96.0, 68.0, 86.0, 152.0, 180.0, 137.0),
    (140.0, 301.0, 303.0, 264.0, 238.0, 542.0),
    (436.0, 615.0, 739.0, 380.0, 925.0, 792.0),
)
_WONGKINYIU = _anchors(
    (12.0, 16.0, 19.0, 36.0, 40.0, 28.0),
    (36.0, 75.0, 76.0, 55.0, 72.0, 146.0),
    (142.0, 110.0, 192.0, 243.0, 459.0, 401.0),
)
PUBLISHED: Mapping[str, tuple[PublishedAnchors, ...]] = {
    # models/yolov5*.yaml and models/hub/yolov5*6.yaml
    "yolov5": (_P5, _P6),
    # models/yolor-*.yaml (paper), cfg/yolor_*.cfg and cfg/yolov4_*.cfg (main)
    "yolor": (_WONGKINYIU, _P6),
    # cfg/training/yolov7*.yaml, where the tiny one has YOLOv5's; cfg/*.yaml of derronqi/yolov7-face
    "yolov7": (
        _WONGKINYIU,
        _P5,
        _P6,
        _anchors(
            (4.0, 5.0, 6.0, 8.0, 10.0, 12.0),
            (15.0, 19.0, 23.0, 30.0, 39.0, 52.0),
            (72.0, 97.0, 123.0, 164.0, 209.0, 297.0),
            data_set="WIDER FACE",
        ),
    ),
    # models/*.yaml of deepcam-cn/yolov5-face
    "yolov5-face": (
        _anchors(
            (4.0, 5.0, 8.0, 10.0, 13.0, 16.0),
            (23.0, 29.0, 43.0, 55.0, 73.0, 105.0),
            (146.0, 217.0, 231.0, 300.0, 335.0, 433.0),
            data_set="WIDER FACE",
        ),
        _anchors(
            (6.0, 7.0, 9.0, 11.0, 13.0, 16.0),
            (18.0, 23.0, 26.0, 33.0, 37.0, 47.0),
            (54.0, 67.0, 77.0, 104.0, 112.0, 154.0),
            (174.0, 238.0, 258.0, 355.0, 445.0, 568.0),
            data_set="WIDER FACE",
        ),
        _anchors((5.0, 6.0, 10.0, 13.0, 21.0, 26.0), (55.0, 72.0, 225.0, 304.0, 438.0, 553.0), data_set="WIDER FACE"),
        _P5,
        _P6,
    ),
    # lib/models/YOLOP.py
    "yolop": (
        _anchors(
            (3.0, 9.0, 5.0, 11.0, 4.0, 20.0),
            (7.0, 18.0, 6.0, 39.0, 12.0, 31.0),
            (19.0, 50.0, 38.0, 81.0, 68.0, 157.0),
            data_set="BDD100K",
        ),
    ),
}
"""By family."""


def published_anchors(anchors: Anchors, family: str) -> PublishedAnchors | None:
    """The nearest of the family's for the same number of levels and anchors; None if there are none.

    Args:
        anchors: of the model, finest level first.
        family: its family; an unknown one gets YOLOv5's.
    """
    shape = [len(level) for level in anchors.levels_px]
    known = PUBLISHED[family if family in PUBLISHED else "yolov5"]
    fitting = [each for each in known if [len(level) for level in each.levels_px] == shape]
    return min(fitting, key=lambda each: _largest_ratio(anchors.levels_px, each.levels_px), default=None)


def compare_anchors(anchors: Anchors, family: str) -> AnchorComparison:
    """Compare anchors with the family's published ones, the nearest of the same number of levels.

    Args:
        anchors: of the model, finest level first.
        family: its family; an unknown one is compared with YOLOv5's.
    """
    published = published_anchors(anchors, family)
    if published is None:
        data_set = PUBLISHED[family if family in PUBLISHED else "yolov5"][0].data_set
        return AnchorComparison(are_defaults=False, largest_ratio=None, data_set=data_set)
    apart = np.abs(np.array(anchors.levels_px) - np.array(published.levels_px))
    return AnchorComparison(
        are_defaults=bool(apart.max() < 0.05),
        largest_ratio=_largest_ratio(anchors.levels_px, published.levels_px),
        data_set=published.data_set,
    )


def _largest_ratio(a: Levels, b: Levels) -> float:
    """The largest factor between a side of an anchor and its counterpart, 1 or more."""
    ratio = np.array(a) / np.array(b)
    return float(np.maximum(ratio, 1 / ratio).max())
