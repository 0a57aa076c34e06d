"""Published anchors of each family, and their comparison with a model's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rkdeploy.contract.spec import Anchors
from rkdeploy.host.families.model_info import AnchorComparison

Levels = tuple[tuple[tuple[float, float], ...], ...]


def _levels(*levels_px: Sequence[float]) -> Levels:
    return tuple(tuple(zip(level[::2], level[1::2], strict=True)) for level in levels_px)


_P6 = _levels(
    (19.0, 27.0, 44.0, 40.0, 38.0, 94.0),
    (96.0, 68.0, 86.0, 152.0, 180.0, 137.0),
    (140.0, 301.0, 303.0, 264.0, 238.0, 542.0),
    (436.0, 615.0, 739.0, 380.0, 925.0, 792.0),
)
_WONGKINYIU = _levels(
    (12.0, 16.0, 19.0, 36.0, 40.0, 28.0),
    (36.0, 75.0, 76.0, 55.0, 72.0, 146.0),
    (142.0, 110.0, 192.0, 243.0, 459.0, 401.0),
)
DEFAULTS: Mapping[str, Mapping[int, Levels]] = {
    # models/yolov5*.yaml and models/hub/yolov5*6.yaml
    "yolov5": {
        3: _levels(
            (10.0, 13.0, 16.0, 30.0, 33.0, 23.0),
            (30.0, 61.0, 62.0, 45.0, 59.0, 119.0),
            (116.0, 90.0, 156.0, 198.0, 373.0, 326.0),
        ),
        4: _P6,
    },
    # models/yolor-*.yaml (paper), cfg/yolor_*.cfg and cfg/yolov4_*.cfg (main)
    "yolor": {3: _WONGKINYIU, 4: _P6},
    # cfg/training/yolov7*.yaml but the tiny one, which has YOLOv5's
    "yolov7": {3: _WONGKINYIU, 4: _P6},
    # lib/models/YOLOP.py
    "yolop": {
        3: _levels(
            (3.0, 9.0, 5.0, 11.0, 4.0, 20.0),
            (7.0, 18.0, 6.0, 39.0, 12.0, 31.0),
            (19.0, 50.0, 38.0, 81.0, 68.0, 157.0),
        )
    },
}
"""[family][levels]: pixels of the network input, finest level first."""
_DATA_SETS = {"yolop": "BDD100K"}


def published_anchors(anchors: Anchors, family: str) -> Levels | None:
    """The family's defaults for the same number of levels and anchors, finest first; None if there are none.

    Args:
        anchors: of the model.
        family: its family; an unknown one gets YOLOv5's.
    """
    defaults = DEFAULTS[family if family in DEFAULTS else "yolov5"].get(len(anchors.levels_px))
    if defaults is None or any(len(a) != len(b) for a, b in zip(anchors.levels_px, defaults, strict=True)):
        return None
    return defaults


def compare_anchors(anchors: Anchors, family: str) -> AnchorComparison:
    """Compare anchors with the family's defaults for the same number of levels.

    Args:
        anchors: of the model, finest level first.
        family: its family; an unknown one is compared with YOLOv5's.
    """
    defaults = published_anchors(anchors, family)
    data_set = _DATA_SETS.get(family, "COCO")
    if defaults is None:
        return AnchorComparison(are_defaults=False, largest_ratio=None, data_set=data_set)
    own, published = np.array(anchors.levels_px), np.array(defaults)
    ratio = own / published
    return AnchorComparison(
        are_defaults=bool(np.abs(own - published).max() < 0.05),
        largest_ratio=float(np.maximum(ratio, 1 / ratio).max()),
        data_set=data_set,
    )
