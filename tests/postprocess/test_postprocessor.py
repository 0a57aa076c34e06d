from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from anchor_heads import AnchorHead
from numpy.typing import NDArray

from rkdeploy.errors import RkdeployError
from rkdeploy.postprocess.postprocessor import Postprocessor, decoder_for
from rkdeploy.postprocess.thresholds import Thresholds
from rkdeploy.preprocess import LetterboxTransform
from rkdeploy.runtime.protocol import HeadTensor

HEAD = AnchorHead()
# A 128x128 source in a 32 high, 64 wide input: scale 1/4, 16 pixels left and right.
TRANSFORM = LetterboxTransform(0.25, 0.25, 16.0, 0.0, (128, 128))


def tensors_with(cells: dict[tuple[int, int, int, int], tuple[float, int]]) -> list[HeadTensor]:
    """A head in which the cells (level, anchor, y, x) hold (objectness logit, class id), centred in the cell."""
    levels: list[NDArray[np.float32]] = HEAD.full(-20.0)
    for (level, anchor, y, x), (objectness, class_id) in cells.items():
        levels[level][anchor, :, y, x] = [0, 0, 0, 0, objectness, -20, -20, -20]
        levels[level][anchor, 5 + class_id, y, x] = 20
    return HEAD.tensors(levels)


def test_source_pixels_by_hand() -> None:
    """Boxes come back in source pixels, clipped, the best first."""
    tensors = tensors_with({(0, 0, 0, 0): (0.0, 2), (0, 0, 2, 4): (2.0, 1)})
    found = Postprocessor(HEAD.spec, Thresholds())(tensors, TRANSFORM)
    # Input boxes (31, 13.5, 41, 26.5) and (-1, -2.5, 9, 10.5): the second lies wholly in the padding on the left.
    np.testing.assert_allclose(found.xyxy, [[60, 54, 100, 106], [0, 0, 0, 42]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-2.0)), 0.5], atol=1e-6)
    assert found.class_ids.tolist() == [1, 2]
    assert [found.xyxy.dtype.name, found.scores.dtype.name, found.class_ids.dtype.name] == [
        "float32",
        "float32",
        "int32",
    ]


def test_overlap_within_and_between_classes() -> None:
    """Neighbouring cells of one class give one object, of two classes two."""
    processor = Postprocessor(HEAD.spec, Thresholds(iou=0.1))
    for class_id, expected in ((1, [1]), (2, [1, 2])):
        tensors = tensors_with({(1, 1, 0, 1): (3.0, 1), (1, 1, 0, 2): (1.0, class_id)})
        assert processor(tensors, TRANSFORM).class_ids.tolist() == expected


def test_nothing_found() -> None:
    """An empty head gives no detections."""
    found = Postprocessor(HEAD.spec, Thresholds())(tensors_with({}), TRANSFORM)
    assert (found.xyxy.shape, found.scores.shape, found.class_ids.shape) == ((0, 4), (0,), (0,))


def test_thresholds_and_max_det() -> None:
    """A class threshold and the limit on the number of detections are respected."""
    tensors = tensors_with({(0, 0, 0, 2): (0.0, 0), (0, 0, 0, 5): (1.0, 1), (0, 0, 3, 3): (2.0, 2)})
    stricter = Postprocessor(HEAD.spec, Thresholds(per_class={1: 0.9}))
    assert stricter(tensors, TRANSFORM).class_ids.tolist() == [2, 0]
    fewer = Postprocessor(HEAD.spec, Thresholds(max_det=2))
    assert fewer(tensors, TRANSFORM).class_ids.tolist() == [2, 1]


def test_unreadable_outputs_and_unknown_class() -> None:
    """Outputs without a decode and a threshold for a missing class are refused before the first image."""
    with pytest.raises(RkdeployError, match="outputs hold nothing, which no decoder reads"):
        decoder_for(replace(HEAD.spec, outputs=()))
    with pytest.raises(RkdeployError, match="class 3, but the model has 3 classes"):
        Postprocessor(HEAD.spec, Thresholds(per_class={3: 0.5}))
