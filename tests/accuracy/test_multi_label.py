"""A box for each of its classes."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.accuracy.multi_label import MultiLabelDecoder
from rkdeploy.device.postprocess.postprocessor import Postprocessor, decoder_for
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.images.fit import LetterboxTransform
from tests.accuracy.tiny_model import SPEC, head_values

TENSORS = [HeadTensor(head_values())]
AS_IT_IS = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (32, 32))


def test_a_box_with_two_classes() -> None:
    """0.9 * 1.0 as a bolt and 0.9 * 0.5 as a nut: both above 0.001, one above 0.5; the best class alone otherwise."""
    thresholds = Thresholds(confidence=0.001)
    both = Postprocessor(SPEC, thresholds, decoder=MultiLabelDecoder(decoder_for(SPEC)))(TENSORS, AS_IT_IS)
    assert both.xyxy.tolist() == [[4, 4, 20, 20]] * 2
    assert both.scores.tolist() == pytest.approx([0.9, 0.45])
    assert both.class_ids.tolist() == [0, 1]
    strict = Postprocessor(SPEC, Thresholds(confidence=0.5), decoder=MultiLabelDecoder(decoder_for(SPEC)))
    assert strict(TENSORS, AS_IT_IS).class_ids.tolist() == [0]
    assert Postprocessor(SPEC, thresholds)(TENSORS, AS_IT_IS).class_ids.tolist() == [0]


def test_nothing_above_the_threshold() -> None:
    """An empty head gives no candidates."""
    empty = [HeadTensor(np.zeros((1, 7, 4, 4), np.float32))]
    found = MultiLabelDecoder(decoder_for(SPEC)).candidates(empty, np.full(2, 0.001, np.float32))
    assert found.xyxy.shape == (0, 4)


def test_the_best_class_agrees_with_the_fast_decoder() -> None:
    """On random values, the highest of a row's labels is what the decoder for detection finds, in value and place."""
    values = np.random.default_rng(5).random((1, 7, 4, 4), np.float32)
    limits = np.full(2, 0.2, np.float32)
    decoder = decoder_for(SPEC)
    single = decoder.candidates([HeadTensor(values)], limits)
    multi = MultiLabelDecoder(decoder).candidates([HeadTensor(values)], limits)
    assert len(multi.rows) > len(single.rows) > 3
    for row, score, class_id, box in zip(single.rows, single.scores, single.class_ids, single.xyxy, strict=True):
        mine = np.flatnonzero(multi.rows == row)
        best = mine[multi.scores[mine].argmax()]
        assert multi.class_ids[best] == class_id
        assert multi.scores[best] == pytest.approx(score)
        assert multi.xyxy[best] == pytest.approx(box)
