from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.contract.spec import Activation, Anchors
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.postprocess.decoder import Candidates, DenseField
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, RkdeployError
from tests.device.postprocess.anchor_heads import ANCHORS, LAYOUTS, MASK_LAYOUTS, STRIDES, AnchorHead

pytestmark = pytest.mark.usefixtures("decode")

DTYPES = ["float32", "float32", "int32"]


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def thresholds(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def assert_equal(found: Candidates, expected: Candidates, tolerance: float = 0.0) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=tolerance, atol=0)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=tolerance, atol=tolerance * 10)


def by_name(fields: tuple[DenseField, ...]) -> dict[str, NDArray[np.float32]]:
    return {field.name: field.values for field in fields}


def packed_tensor(tensor: HeadTensor, lanes: int) -> HeadTensor:
    """The same tensor as (1, C1, H, W, C2): channel c at block c // lanes, lane c % lanes; rubbish in the padding."""
    _, channels, height, width = tensor.values.shape
    blocks = -(-channels // (2 * lanes)) * 2
    packed = np.full((1, blocks, height, width, lanes), 99, tensor.values.dtype)
    for channel in range(channels):
        packed[0, channel // lanes, :, :, channel % lanes] = tensor.values[0, channel]
    return HeadTensor(packed, tensor.scale, tensor.zero_point, channels)


def reference_rows(levels: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    """Upstream's Detect.forward, cell by cell in double: rows of x, y, w, h, objectness, classes."""
    rows = []
    for level, fields in enumerate(levels):
        anchors, _, height, width = fields.shape
        for anchor in range(anchors):
            for y in range(height):
                for x in range(width):
                    s = 1 / (1 + np.exp(-fields[anchor, :, y, x].astype(np.float64)))
                    s[0] = (2 * s[0] - 0.5 + x) * STRIDES[level]
                    s[1] = (2 * s[1] - 0.5 + y) * STRIDES[level]
                    s[2:4] = (2 * s[2:4]) ** 2 * ANCHORS.levels_px[level][anchor]
                    rows.append(s)
    return np.array(rows)


def kept_densely(
    dense: dict[str, NDArray[np.float32]], rank: NDArray[Any], class_thresholds: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.intp]]:
    """The rule applied to every row: (rows, scores, class ids).  `rank` (N, nc) orders the classes of a row."""
    best = rank.argmax(axis=1)
    objectness = dense["objectness"][:, 0]
    scores = objectness * dense["scores"][np.arange(len(best)), best]
    kept = np.flatnonzero((objectness > class_thresholds.min()) & (scores > class_thresholds[best]))
    return kept, scores[kept], best[kept]


def class_rank(levels: list[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate([np.moveaxis(fields[:, 5:], 1, -1).reshape(-1, fields.shape[1] - 5) for fields in levels])


def test_by_hand() -> None:
    """One cell of 32x64 (height 32): second level, second anchor, x = 3, y = 1, all sigmoids chosen by hand."""
    head = AnchorHead()
    levels = head.full(-20.0)
    levels[1][1, :, 1, 3] = [logit(p) for p in (0.75, 0.25, 0.5, 0.8, 0.9, 0.1, 0.6, 0.2)]
    found = AnchorDecoder(head.spec).candidates(head.tensors(levels), thresholds(0.25, 0.25, 0.25))
    # x = (1.5 - 0.5 + 3) * 16 = 64, y = (0.5 - 0.5 + 1) * 16 = 16, w = 1 * 59, h = 1.6^2 * 119 = 304.64
    np.testing.assert_allclose(found.xyxy, [[34.5, -136.32, 93.5, 168.32]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.9 * 0.6], atol=1e-6)
    assert found.class_ids.tolist() == [1]
    assert [found.xyxy.dtype.name, found.scores.dtype.name, found.class_ids.dtype.name] == DTYPES


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "float32"])
@pytest.mark.parametrize("roles", LAYOUTS.values(), ids=LAYOUTS)
def test_nothing_found(roles: Any, dtype: str) -> None:
    """A head without a confident cell gives arrays with no rows, of the usual dtypes."""
    head = AnchorHead(roles=roles)
    zero_point = 0 if dtype.startswith("float") else 90
    tensors = head.tensors(head.full(10.0), dtype, scale=0.1, zero_point=zero_point + 30)
    found = AnchorDecoder(head.spec).candidates(tensors, thresholds(0.5, 0.6, 0.7))
    assert (found.xyxy.shape, found.scores.shape, found.class_ids.shape) == ((0, 4), (0,), (0,))
    assert [found.xyxy.dtype.name, found.scores.dtype.name, found.class_ids.dtype.name] == DTYPES


@pytest.mark.parametrize("input_hw", [(32, 64), (64, 32), (48, 16)])
@pytest.mark.parametrize("roles", LAYOUTS.values(), ids=LAYOUTS)
def test_dense_equals_upstream(roles: Any, input_hw: tuple[int, int]) -> None:
    """Every row, in upstream's order, equals upstream's formula in double precision, also for non-square inputs."""
    head = AnchorHead(input_hw=input_hw, roles=roles)
    levels = head.random(3)
    dense = AnchorDecoder(head.spec).decode_dense(head.tensors(levels))
    expected = reference_rows(levels)
    assert [(field.name, field.unit) for field in dense] == [
        ("xy", "px"),
        ("wh", "px"),
        ("objectness", "score"),
        ("scores", "score"),
    ]
    for field, columns in zip(dense, (slice(0, 2), slice(2, 4), slice(4, 5), slice(5, None)), strict=True):
        tolerance = 1e-4 if field.unit == "px" else 1e-6
        np.testing.assert_allclose(field.values, expected[:, columns], rtol=1e-5, atol=tolerance)


@pytest.mark.parametrize("roles", LAYOUTS.values(), ids=LAYOUTS)
def test_candidates_equal_upstream(roles: Any) -> None:
    """The candidates are upstream's rows that pass upstream's filter, in the same order."""
    head = AnchorHead(roles=roles)
    levels = head.random(4)
    rows = reference_rows(levels)
    scores = rows[:, 4:5] * rows[:, 5:]
    kept = (rows[:, 4] > 0.25) & (scores.max(axis=1) > 0.25)
    found = AnchorDecoder(head.spec).candidates(head.tensors(levels), thresholds(0.25, 0.25, 0.25))
    assert kept.sum() > 5
    np.testing.assert_array_equal(found.class_ids, scores[kept].argmax(axis=1))
    np.testing.assert_allclose(found.scores, scores[kept].max(axis=1), atol=1e-6)
    corners = np.concatenate((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), axis=1)
    np.testing.assert_allclose(found.xyxy, corners[kept], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("activation", ["linear", "sigmoid"])
@pytest.mark.parametrize("dtype", ["int8", "float32"])
def test_every_layout_equal(activation: Activation, dtype: str) -> None:
    """All layouts of the same raw values give the same candidates, bit for bit."""
    rng = np.random.default_rng(0)
    results = []
    raw = [rng.integers(-128, 128, fields.shape) for fields in AnchorHead().full(0.0)]
    for roles in LAYOUTS.values():
        head = AnchorHead(roles=roles, activation=activation)
        scale = 1 / 255 if activation == "sigmoid" else 0.07
        tensors = head.tensors(raw, "int8", scale, -128 if activation == "sigmoid" else 20)
        if dtype == "float32":
            tensors = [HeadTensor(tensor.dequantized()) for tensor in tensors]
        results.append(AnchorDecoder(head.spec).candidates(tensors, thresholds(0.3, 0.2, 0.4)))
    assert len(results[0].scores) > 5
    for result in results[1:]:
        assert_equal(result, results[0])


def test_activation_is_of_each_tensor() -> None:
    """Levels and roles may differ in activation: the result is that of the linear head."""
    head = AnchorHead(roles=LAYOUTS["xy, wh and scores"])
    tensors = head.tensors(head.random(5))
    expected = AnchorDecoder(head.spec).candidates(tensors, thresholds(0.2, 0.2, 0.2))
    for activated in ([0], [1, 2], [5], [0, 4, 5], range(6)):
        outputs = list(head.spec.outputs)
        mixed = list(tensors)
        for index in activated:
            outputs[index] = replace(outputs[index], activation="sigmoid")
            mixed[index] = HeadTensor(1 / (1 + np.exp(-tensors[index].values)))
        decoder = AnchorDecoder(replace(head.spec, outputs=tuple(outputs)))
        assert_equal(decoder.candidates(mixed, thresholds(0.2, 0.2, 0.2)), expected, 1e-5)
        np.testing.assert_allclose(
            by_name(decoder.decode_dense(mixed))["wh"],
            by_name(AnchorDecoder(head.spec).decode_dense(tensors))["wh"],
            rtol=1e-5,
            atol=1e-4,
        )


def test_outputs_in_any_order() -> None:
    """The order of the runtime's outputs follows the contract, not the levels."""
    head = AnchorHead(roles=LAYOUTS["xy, wh and scores"])
    tensors = head.tensors(head.random(6))
    expected = AnchorDecoder(head.spec).candidates(tensors, thresholds(0.2, 0.2, 0.2))
    order = [4, 2, 0, 5, 3, 1]
    spec = replace(head.spec, outputs=tuple(head.spec.outputs[index] for index in order))
    found = AnchorDecoder(spec).candidates([tensors[index] for index in order], thresholds(0.2, 0.2, 0.2))
    assert_equal(found, expected)


@pytest.mark.parametrize(("dtype", "lanes"), [("int8", 16), ("int8", 1), ("float32", 4), ("float16", 64)])
@pytest.mark.parametrize("roles", LAYOUTS.values(), ids=LAYOUTS)
def test_other_memory_layouts(roles: Any, dtype: str, lanes: int) -> None:
    """Tensors that lie in memory as NHWC, inside a padded buffer, or packed as the NPU has them, decode alike."""
    head = AnchorHead(roles=roles)
    levels = [np.round(fields * 20) for fields in head.random(7)]
    tensors = head.tensors(levels, dtype, 0.05, 3)
    expected = AnchorDecoder(head.spec).candidates(tensors, thresholds(0.2, 0.2, 0.2))
    assert len(expected.scores) > 5
    nhwc = [np.ascontiguousarray(tensor.values.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for tensor in tensors]
    padded = [np.pad(tensor.values, ((0, 0), (0, 5), (0, 1), (0, 3))) for tensor in tensors]
    sliced = [
        values[:, : tensor.values.shape[1], : tensor.values.shape[2], : tensor.values.shape[3]]
        for values, tensor in zip(padded, tensors, strict=True)
    ]
    as_packed = [packed_tensor(tensor, lanes) for tensor in tensors]
    views = [[HeadTensor(values, 0.05, 3) for values in arrays] for arrays in (nhwc, sliced)]
    dense = AnchorDecoder(head.spec).decode_dense(tensors)
    for others in (*views, as_packed):
        assert_equal(AnchorDecoder(head.spec).candidates(others, thresholds(0.2, 0.2, 0.2)), expected)
        for ours, wanted in zip(AnchorDecoder(head.spec).decode_dense(others), dense, strict=True):
            np.testing.assert_array_equal(ours.values, wanted.values)
    for tensor, plain in zip(as_packed, tensors, strict=True):
        assert tensor.shape == plain.shape
        np.testing.assert_array_equal(tensor.dequantized(), plain.dequantized())


def test_packed_with_an_anchor_without_boxes() -> None:
    """Of packed tensors too, a level may have boxes of one anchor only."""
    head = AnchorHead()
    levels = head.full(-20.0)
    levels[0][1, :, 2, 3] = [0, 0, 0, 0, 2, 2, 0, 0]
    tensors = head.tensors(levels)
    expected = AnchorDecoder(head.spec).candidates(tensors, thresholds(0.2, 0.2, 0.2))
    found = AnchorDecoder(head.spec).candidates([packed_tensor(t, 4) for t in tensors], thresholds(0.2, 0.2, 0.2))
    assert len(found.scores) == 1
    assert_equal(found, expected)


def test_per_class_thresholds() -> None:
    """The best class is chosen first; its own threshold decides, and the second best is not tried."""
    head = AnchorHead(class_count=2)
    levels = head.full(-20.0)
    levels[0][0, :, 0, 0] = [0, 0, 0, 0, logit(0.9), logit(0.6), logit(0.5)]  # 0.54 for class 0, 0.45 for class 1
    levels[0][0, :, 0, 1] = [0, 0, 0, 0, logit(0.9), logit(0.1), logit(0.5)]  # 0.45 for class 1
    decoder, tensors = AnchorDecoder(head.spec), head.tensors(levels)
    assert decoder.candidates(tensors, thresholds(0.5, 0.4)).class_ids.tolist() == [0, 1]
    assert decoder.candidates(tensors, thresholds(0.6, 0.4)).class_ids.tolist() == [1]
    assert decoder.candidates(tensors, thresholds(0.5, 0.5)).class_ids.tolist() == [0]
    assert decoder.candidates(tensors, thresholds(0.6, 0.5)).class_ids.tolist() == []


def test_one_class() -> None:
    """With a single class the score is still objectness times class probability."""
    head = AnchorHead(class_count=1)
    levels = head.full(-20.0)
    levels[0][1, :, 2, 3] = [0, 0, 0, 0, logit(0.8), logit(0.5)]
    decoder, tensors = AnchorDecoder(head.spec), head.tensors(levels)
    np.testing.assert_allclose(decoder.candidates(tensors, thresholds(0.3)).scores, [0.4], atol=1e-6)
    assert len(decoder.candidates(tensors, thresholds(0.41)).scores) == 0


def test_objectness_alone_must_pass() -> None:
    """As upstream, a cell needs objectness > threshold even where an activated class exceeds 1 by quantization."""
    head = AnchorHead(class_count=1, activation="sigmoid")
    levels = head.full(0.0)
    levels[0][0, :, 0, 0] = [0.5, 0.5, 0.5, 0.5, 0.5, 1.1]
    decoder, tensors = AnchorDecoder(head.spec), head.tensors(levels)
    assert len(decoder.candidates(tensors, thresholds(0.5)).scores) == 0
    assert len(decoder.candidates(tensors, thresholds(0.499)).scores) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_everything_found(dtype: str) -> None:
    """A threshold of 0 with every cell confident gives every row, equal to the dense decode."""
    head = AnchorHead()
    levels = [np.round(np.abs(fields)) for fields in head.random(8)]
    decoder, tensors = AnchorDecoder(head.spec), head.tensors(levels, dtype)
    found = decoder.candidates(tensors, thresholds(0.0, 0.0, 0.0))
    dense = by_name(decoder.decode_dense(tensors))
    assert found.rows.tolist() == list(range(2 * (4 * 8 + 2 * 4)))
    np.testing.assert_allclose((found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2, dense["xy"], atol=1e-3)
    np.testing.assert_allclose(found.xyxy[:, 2:] - found.xyxy[:, :2], dense["wh"], atol=1e-3)


def test_buffers_do_not_leak() -> None:
    """Calls on the same decoder don't influence one another, and results outlive the next call."""
    head = AnchorHead()
    decoder = AnchorDecoder(head.spec)
    limits = thresholds(0.2, 0.2, 0.2)
    first = decoder.candidates(head.tensors(head.random(1)), limits)
    copies = (first.xyxy.copy(), first.scores.copy(), first.class_ids.copy(), first.rows.copy())
    assert len(decoder.candidates(head.tensors(head.full(-20.0)), limits).scores) == 0
    decoder.candidates(head.tensors(head.random(2)), limits)
    assert_equal(first, Candidates(*copies))
    assert_equal(decoder.candidates(head.tensors(head.random(1)), limits), first)


RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@st.composite
def quantized_cases(draw: st.DrawFn) -> dict[str, Any]:
    dtype = draw(st.sampled_from(sorted(RANGES)))
    low, high = RANGES[dtype]
    scale = draw(
        st.one_of(st.sampled_from([1 / 255, 1 / 128, 0.05, 1.0, 1e-6, 1e-30, 40.0, 1e30]), st.floats(1e-4, 2.0))
    )
    zero_point = draw(st.one_of(st.sampled_from([low, 0, high]), st.integers(low, high)))
    activation = draw(st.sampled_from(["linear", "sigmoid"]))
    edge = st.sampled_from(
        [0.0, 1e-45, 1e-30, 1e-7, 1e-3, 0.25, 0.5, 0.999, 1 - 1e-6, float(np.float32(1 - 2**-24)), 1.0]
    )
    limits = draw(st.lists(st.one_of(edge, st.floats(0.0, 1.0, width=32)), min_size=3, max_size=3))
    if draw(st.booleans()):
        # A threshold that equals the probability of some raw value: strictness decides.
        real = (np.float32(draw(st.integers(low, high))) - np.float32(zero_point)) * np.float32(scale)
        exact = real if activation == "sigmoid" else 1 / (1 + np.exp(-np.maximum(real, np.float32(-80))))
        if 0.0 <= exact <= 1.0:
            limits[draw(st.integers(0, 2))] = float(exact)
    return {
        "dtype": dtype,
        "scale": scale,
        "zero_point": zero_point,
        "activation": activation,
        "limits": limits,
        "roles": draw(st.sampled_from(list(LAYOUTS.values()))),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "narrow": draw(st.booleans()),
    }


@settings(deadline=None, max_examples=300)
@given(case=quantized_cases())
def test_quantized_equals_float_rule(case: dict[str, Any]) -> None:
    """Comparing raw integers keeps exactly the rows that the rule keeps on the dequantized tensor: none lost or won."""
    head = AnchorHead(roles=case["roles"], activation=case["activation"])
    low, high = RANGES[case["dtype"]]
    if case["narrow"]:
        low, high = max(low, case["zero_point"] - 9), min(high, case["zero_point"] + 9)
    rng = np.random.default_rng(case["seed"])
    raw = [rng.integers(low, high + 1, fields.shape) for fields in head.full(0.0)]
    tensors = head.tensors(raw, case["dtype"], case["scale"], case["zero_point"])
    limits = thresholds(*case["limits"])
    decoder = AnchorDecoder(head.spec)
    with np.errstate(over="ignore", invalid="ignore"):
        found = decoder.candidates(tensors, limits)
        as_float = decoder.candidates([HeadTensor(tensor.dequantized()) for tensor in tensors], limits)
        dense = by_name(decoder.decode_dense(tensors))
        rows, scores, class_ids = kept_densely(dense, class_rank(raw), limits)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.class_ids, class_ids)
    np.testing.assert_array_equal(found.scores, scores)
    assert_equal(found, as_float)
    with np.errstate(over="ignore", invalid="ignore"):
        half = dense["wh"][rows] * np.float32(0.5)
        corners = np.concatenate((dense["xy"][rows] - half, dense["xy"][rows] + half), axis=1)
    np.testing.assert_array_equal(found.xyxy, corners)


@pytest.mark.parametrize("scale", [1e-5, 3e-4, 0.00392, 0.02])
@pytest.mark.parametrize("zero_point", [-32768, 0, 32767])
def test_neighboring_raw_values(scale: float, zero_point: int) -> None:
    """Around each threshold that a raw value just exceeds, or just fails to, neighboring raw values part exactly."""
    head = AnchorHead(class_count=1)
    decoder = AnchorDecoder(head.spec)
    for first in range(-32768, 32768 - 80, 2003):
        raw = head.full(32767)
        for fields, run in zip(raw, np.split(np.arange(first, first + 80), [64]), strict=True):
            fields[:, 4] = run.reshape(fields[:, 4].shape)
        tensors = head.tensors(raw, "int16", scale, zero_point)
        dense = by_name(decoder.decode_dense(tensors))
        objectness = dense["objectness"][40, 0]
        for exact in (objectness * dense["scores"][0, 0], objectness):
            for limit in (exact, np.nextafter(exact, np.float32(0)), np.nextafter(exact, np.float32(1))):
                found = decoder.candidates(tensors, thresholds(limit))
                _, scores, _ = kept_densely(dense, class_rank(raw), thresholds(limit))
                np.testing.assert_array_equal(found.scores, scores)


def test_threshold_below_every_probability() -> None:
    """A threshold near the smallest float32 still follows the rule, where the sigmoid itself ends."""
    head = AnchorHead(class_count=1)
    levels = head.full(-117.0)
    for fields in levels:
        fields[:, 5] = 20.0
    decoder, tensors = AnchorDecoder(head.spec), head.tensors(levels)
    assert len(decoder.candidates(tensors, thresholds(1e-45)).scores) == 80
    assert len(decoder.candidates(tensors, thresholds(1e-30)).scores) == 0


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    limits=st.lists(st.one_of(st.sampled_from([0.0, 1e-7, 0.5, 1.0]), st.floats(0.0, 1.0)), min_size=3, max_size=3),
    spread=st.sampled_from([0.1, 3.0, 30.0, 1000.0]),
    dtype=st.sampled_from(["float32", "float16"]),
    activation=st.sampled_from(["linear", "sigmoid"]),
)
def test_float_equals_rule(seed: int, limits: list[float], spread: float, dtype: str, activation: Activation) -> None:
    """Comparing raw floats keeps exactly the rows that the rule keeps."""
    head = AnchorHead(activation=activation)
    rng = np.random.default_rng(seed)
    raw = [rng.normal(0, spread, fields.shape).astype(dtype) for fields in head.full(0.0)]
    tensors = head.tensors(raw, dtype)
    decoder = AnchorDecoder(head.spec)
    found = decoder.candidates(tensors, thresholds(*limits))
    _, scores, class_ids = kept_densely(by_name(decoder.decode_dense(tensors)), class_rank(raw), thresholds(*limits))
    np.testing.assert_array_equal(found.class_ids, class_ids)
    np.testing.assert_array_equal(found.scores, scores)


def test_values_that_are_no_numbers() -> None:
    """Infinite logits are certain, NaN is never an object."""
    head = AnchorHead(class_count=1)
    levels = head.full(-np.inf)
    levels[0][0, :, 0, 0] = [0, 0, 0, 0, np.inf, np.inf]
    levels[0][0, :, 0, 1] = np.nan
    found = AnchorDecoder(head.spec).candidates(head.tensors(levels), thresholds(0.5))
    assert found.scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (
            HeadTensor(np.zeros((1, 2, 4, 8, 16), np.int8), 0.1, 0, 17),
            r"has shape \(1, 17, 4, 8\), expected \(1, 16, 4, 8\)",
        ),
        (
            HeadTensor(np.zeros((1, 16, 8, 4), np.float32)),
            r'Output "anchor_map.0" has shape \(1, 16, 8, 4\), expected \(1, 16, 4, 8\) for anchor_map at stride 8',
        ),
        (HeadTensor(np.zeros((16, 4, 8), np.int8)), r"has shape \(16, 4, 8\), expected \(1, 16, 4, 8\)"),
        (HeadTensor(np.zeros((1, 16, 4, 8), np.float64)), "has dtype float64, expected one of float16, float32, int16"),
        (HeadTensor(np.zeros((1, 16, 4, 8), np.int8), 0.0), "has scale 0.0, expected a positive number"),
        (HeadTensor(np.zeros((1, 16, 4, 8), np.int8), float("nan")), "has scale nan, expected"),
    ],
)
def test_tensor_against_the_contract(tensor: HeadTensor, message: str) -> None:
    """A tensor that is not what the contract says is refused by name, expected and got."""
    head = AnchorHead()
    tensors = head.tensors(head.random(0))
    tensors[0] = tensor
    with pytest.raises(BackendError, match=message):
        AnchorDecoder(head.spec).candidates(tensors, thresholds(0.5, 0.5, 0.5))
    with pytest.raises(BackendError, match=message):
        AnchorDecoder(head.spec).decode_dense(tensors)


def test_number_of_tensors() -> None:
    """A missing output is refused."""
    head = AnchorHead()
    with pytest.raises(BackendError, match="returned 1 outputs, expected 2"):
        AnchorDecoder(head.spec).candidates(head.tensors(head.random(0))[:1], thresholds(0.5, 0.5, 0.5))


def test_contract_that_does_not_fit_together() -> None:
    """A contract with missing anchors, outputs or levels, or with wrong sizes, is refused when the decoder is made."""
    spec = AnchorHead(roles=LAYOUTS["boxes and scores"]).spec
    masked = AnchorHead(roles=MASK_LAYOUTS["boxes, scores and coefficients"], coefficient_count=4).spec
    role: Any = "dfl_boxes"
    cases = [
        (replace(spec, anchors=None), "holds no anchors"),
        (replace(spec, anchors=Anchors(())), "anchors for 0 levels"),
        (replace(spec, class_names=()), "no class names"),
        (replace(spec, class_names=("a",)), r"anchor_scores.0.* expected \(1, 4, 4, 8\)"),
        (replace(spec, input=replace(spec.input, width=96)), r"expected \(1, 8, 4, 12\) .* 96x32"),
        (replace(spec, outputs=spec.outputs[:3]), "Level 1 of the contract has anchor_boxes; expected anchor_map"),
        (replace(spec, outputs=spec.outputs[:2]), "Level 1 of the contract has no output"),
        (replace(spec, outputs=(*spec.outputs, spec.outputs[3])), "anchor_boxes, anchor_scores, anchor_scores"),
        (replace(spec, anchors=Anchors(ANCHORS.levels_px[:1])), r"anchors for 1 levels, but outputs .* \[0, 1\]"),
        (replace(spec, outputs=(replace(spec.outputs[0], role=role), *spec.outputs[1:])), 'role "dfl_boxes"'),
        (
            replace(masked, outputs=masked.outputs[:-1]),
            '"anchor_coefficients.0" holds mask coefficients, but .* no proto',
        ),
        (
            replace(masked, outputs=(*masked.outputs[:2], *masked.outputs[3:])),
            "expected .* anchor_coefficients next to",
        ),
        (AnchorHead(coefficient_count=4, activation="sigmoid").spec, '"anchor_map.0" has activation "sigmoid"'),
    ]
    for broken, message in cases:
        with pytest.raises(RkdeployError, match=message):
            AnchorDecoder(broken)


@pytest.mark.parametrize(("dtype", "lanes"), [("float32", 0), ("int8", 0), ("int8", 16)])
@pytest.mark.parametrize("roles", MASK_LAYOUTS.values(), ids=MASK_LAYOUTS)
def test_mask_coefficients(roles: Any, dtype: str, lanes: int) -> None:
    """Coefficients behind the classes change no box and no class, and are read as they are, in the order asked for."""
    head = AnchorHead(roles=roles, coefficient_count=5)
    raw = [np.clip(np.round(fields * 20), -128, 67) for fields in head.random(12)]
    for fields in raw:
        fields[:, 8:] += 60  # greater than every class: taken for classes they would win
    tensors = head.tensors(raw, dtype, 0.05, 3)
    plain = AnchorHead(roles=("anchor_map",))
    expected = AnchorDecoder(plain.spec).candidates(
        plain.tensors([fields[:, :8] for fields in raw], dtype, 0.05, 3), thresholds(0.2, 0.3, 0.2)
    )
    if lanes:
        tensors = [packed_tensor(tensor, lanes) for tensor in tensors]
    decoder = AnchorDecoder(head.spec)
    found = decoder.candidates(tensors, thresholds(0.2, 0.3, 0.2))
    assert len(found.rows) > 5
    assert_equal(found, expected)
    rows = np.concatenate([np.moveaxis(fields[:, 8:], 1, -1).reshape(-1, 5) for fields in raw])
    real = (rows - 3) * 0.05
    order = np.random.default_rng(0).permutation(found.rows)
    details = decoder.details(tensors, order)
    assert details.keypoints is None
    assert details.coefficients is not None
    np.testing.assert_allclose(details.coefficients, real[order], atol=1e-6)
    np.testing.assert_allclose(by_name(decoder.decode_dense(tensors))["coefficients"], real, atol=1e-6)
    nothing = decoder.details(tensors, np.zeros(0, np.intp)).coefficients
    assert nothing is not None
    assert nothing.shape == (0, 5)


def test_no_mask_coefficients() -> None:
    """A head without them says so."""
    head = AnchorHead()
    assert AnchorDecoder(head.spec).details(head.tensors(head.random(0)), np.arange(3)).coefficients is None
