"""The decode of heads of queries: logits and boxes as fractions of the input."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.spec import Activation, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.postprocessor import Postprocessor, decoder_for
from rkdeploy.device.postprocess.query_decode import QueryDecoder
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.both_ways import assert_same, both_ways
from tests.device.postprocess.tensor_layouts import in_every_layout

pytestmark = pytest.mark.usefixtures("decode")

HW = (40, 80)


def contract(classes: int = 3, queries: int = 5, activation: Activation = "linear") -> ModelSpec:
    outputs = (
        HeadOutput("query_boxes", "query_boxes", 0, HW[0], (1, 4, 1, queries)),
        HeadOutput("query_scores", "query_scores", 0, HW[0], (1, classes, 1, queries), activation),
    )
    names = tuple(f"class_{i}" for i in range(classes))
    image = InputSpec("images", *HW, fit="stretch")
    return ModelSpec("rtdetr", "detect", names, image, outputs, end_to_end=True)


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def quantized(real: NDArray[np.float32], scale: float, zero_point: int) -> HeadTensor:
    values = np.clip(np.round(real / scale) + zero_point, -128, 127).astype(np.int8)
    return HeadTensor(values, scale, zero_point)


def random_tensors(rng: np.random.Generator, classes: int, queries: int) -> list[HeadTensor]:
    boxes = rng.uniform(0.05, 0.95, (1, 4, 1, queries)).astype(np.float32)
    logits = rng.normal(-2, 2, (1, classes, 1, queries)).astype(np.float32)
    return [quantized(boxes, 1 / 255, -128), quantized(logits, 0.06, 20)]


def test_by_hand() -> None:
    """Query 3 holds two classes, query 1 one; the box of query 3 is a quarter of 80 wide and half of 40 high."""
    boxes = np.zeros((1, 4, 1, 5), np.float32)
    boxes[0, :, 0, 3] = 0.5, 0.25, 0.25, 0.5
    boxes[0, :, 0, 1] = 0.1, 0.5, 0.2, 0.2
    scores = np.full((1, 3, 1, 5), -20.0, np.float32)
    scores[0, [0, 2], 0, 3] = logit(0.6), logit(0.9)
    scores[0, 1, 0, 1] = logit(0.7)
    found = QueryDecoder(contract()).candidates(
        [HeadTensor(boxes), HeadTensor(scores)], np.array([0.5, 0.5, 0.5], np.float32)
    )
    assert found.rows.tolist() == [1, 3, 3]
    assert found.class_ids.tolist() == [1, 0, 2]
    np.testing.assert_allclose(found.scores, [0.7, 0.6, 0.9], rtol=1e-6)
    np.testing.assert_allclose(found.xyxy, [[0, 16, 16, 24], [30, 0, 50, 20], [30, 0, 50, 20]], atol=1e-5)


def test_best_pairs_in_source_pixels_without_suppression() -> None:
    """Two equal boxes of one class stay, best first, and come out in the pixels of a source twice as wide."""
    boxes = np.zeros((1, 4, 1, 5), np.float32)
    boxes[0, :, 0, 2:4] = np.array([[0.5, 0.5, 0.5, 0.5]]).T
    scores = np.full((1, 3, 1, 5), -20.0, np.float32)
    scores[0, 1, 0, 2:4] = logit(0.6), logit(0.9)
    decode = Postprocessor(contract(), Thresholds(confidence=0.3))
    found = decode([HeadTensor(boxes), HeadTensor(scores)], LetterboxTransform(0.5, 1.0, 0.0, 0.0, (40, 160)))
    np.testing.assert_allclose(found.scores, [0.9, 0.6], rtol=1e-6)
    np.testing.assert_allclose(found.xyxy, [[40, 10, 120, 30]] * 2, atol=1e-4)


def test_nothing_found() -> None:
    """Scores below the threshold give empty arrays, also where no integer can reach it."""
    low = HeadTensor(np.full((1, 3, 1, 5), -128, np.int8), 0.05, 0)
    boxes = HeadTensor(np.zeros((1, 4, 1, 5), np.int8), 1 / 255, -128)
    for threshold in (0.3, 1.0):
        found = QueryDecoder(contract()).candidates([boxes, low], np.full(3, threshold, np.float32))
        assert found.xyxy.shape == (0, 4)
        assert len(found.rows) == 0


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
def test_candidates_are_the_rows_of_the_dense_decode(activation: Activation) -> None:
    """Every pair above its class's threshold, and no other, with the dense decode's values."""
    rng = np.random.default_rng(1)
    spec = contract(7, 50, activation)
    tensors = random_tensors(rng, 7, 50)
    if activation == "sigmoid":
        tensors[1] = quantized(rng.uniform(0, 1, (1, 7, 1, 50)).astype(np.float32), 1 / 255, -128)
    limits = rng.uniform(0.2, 0.6, 7).astype(np.float32)
    decoder = QueryDecoder(spec)
    dense = {field.name: field.values for field in decoder.decode_dense(tensors)}
    found = decoder.candidates(tensors, limits)
    rows, classes = (dense["scores"] > limits).nonzero()
    assert 20 < len(rows) < 300
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.class_ids, classes)
    np.testing.assert_array_equal(found.scores, dense["scores"][rows, classes])
    corners = np.concatenate([dense["xy"] - dense["wh"] / 2, dense["xy"] + dense["wh"] / 2], axis=1)
    np.testing.assert_allclose(found.xyxy, corners[rows], atol=1e-4)
    again = decoder.candidates(tensors, np.full(3, 0.99, np.float32).repeat(3)[:7])
    assert len(again.rows) < len(found.rows)


def test_any_memory_layout_and_both_ways() -> None:
    """NHWC, slices and packed channels give the same; numpy and C agree to the bit."""
    rng = np.random.default_rng(2)
    spec, tensors = contract(5, 30), random_tensors(rng, 5, 30)
    limits = np.full(5, 0.3, np.float32)

    def decoded(given: list[HeadTensor]) -> Any:
        return QueryDecoder(spec).candidates(given, limits)

    expected = decoded(tensors)
    assert len(expected.rows) > 5
    for laid in in_every_layout(tensors).values():
        assert_same(decoded(laid), expected, largest_px=80)
    one, other = both_ways(lambda: decoded(tensors))
    assert_same(one, other, largest_px=80)


def test_contracts_that_do_not_fit() -> None:
    """The message names the output and what is expected of it."""
    good = contract()
    boxes, scores = good.outputs
    for outputs, message in (
        ((scores,), "expected query_scores and query_boxes, one each"),
        ((boxes, replace(scores, shape=(1, 4, 1, 5))), r'"query_scores" has shape \(1, 4, 1, 5\).*\(1, 3, 1, 5\)'),
        ((replace(boxes, shape=(1, 4, 1, 6)), scores), r'"query_boxes" has shape'),
        ((boxes, replace(scores, stride=8)), '"query_scores" has stride 8 in the contract, expected 40'),
        ((replace(boxes, activation="sigmoid"), scores), '"query_boxes" has activation "sigmoid", expected linear'),
    ):
        with pytest.raises(RkdeployError, match=message):
            decoder_for(replace(good, outputs=outputs))
    with pytest.raises(RkdeployError, match="is not end to end"):
        decoder_for(replace(good, end_to_end=False))
    with pytest.raises(BackendError, match="returned 1 outputs, expected 2"):
        QueryDecoder(good).candidates([HeadTensor(np.zeros((1, 4, 1, 5), np.int8))], np.ones(3, np.float32))
