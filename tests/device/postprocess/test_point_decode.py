from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.spec import Activation
from rkdeploy.device.postprocess.decoder import Candidates, DenseField, RowDetails
from rkdeploy.device.postprocess.point_decode import PointDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, RkdeployError
from tests.device.postprocess.point_heads import HEADS, SIGMOID_ANGLE, STRIDES, PointHead, sigmoid
from tests.device.postprocess.tensor_layouts import in_every_layout

pytestmark = pytest.mark.usefixtures("decode")

UNITS = {
    "xy": "px",
    "wh": "px",
    "objectness": "score",
    "scores": "score",
    "keypoint_xy": "px",
    "keypoint_scores": "score",
    "coefficients": "value",
    "angle": "rad",
}


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def thresholds(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def by_name(fields: tuple[DenseField, ...]) -> dict[str, NDArray[np.float32]]:
    return {field.name: field.values for field in fields}


def assert_equal(found: Candidates, expected: Candidates, tolerance: float = 0.0) -> None:
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=tolerance, atol=0)
    np.testing.assert_allclose(found.xyxy, expected.xyxy, rtol=tolerance, atol=tolerance * 10)
    assert (found.rotated is None) == (expected.rotated is None)
    if found.rotated is not None and expected.rotated is not None:
        np.testing.assert_allclose(found.rotated, expected.rotated, rtol=tolerance, atol=tolerance * 10)


def assert_same_details(found: RowDetails, expected: RowDetails) -> None:
    for ours, wanted in ((found.keypoints, expected.keypoints), (found.coefficients, expected.coefficients)):
        assert (ours is None) == (wanted is None)
        if ours is not None and wanted is not None:
            np.testing.assert_array_equal(ours, wanted)


def upright(xy: NDArray[Any], wh: NDArray[Any], angle: NDArray[Any] | None) -> NDArray[np.float64]:
    """Corner by corner."""
    boxes = []
    for row in range(len(xy)):
        a = 0.0 if angle is None else float(angle[row, 0])
        corners = [
            (xy[row, 0] + dx * np.cos(a) - dy * np.sin(a), xy[row, 1] + dx * np.sin(a) + dy * np.cos(a))
            for dx in (-wh[row, 0] / 2, wh[row, 0] / 2)
            for dy in (-wh[row, 1] / 2, wh[row, 1] / 2)
        ]
        boxes.append([*np.min(corners, axis=0), *np.max(corners, axis=0)])
    return np.array(boxes, np.float64).reshape(-1, 4)


def test_by_hand() -> None:
    """One cell of 32x64 (height 32): second level, x = 2, y = 1, distances of 1, 0, 2.5 and 3 cells."""
    head = PointHead()
    levels = head.full(-20.0)
    boxes = levels[1]["dfl_boxes"].reshape(4, 4, 2, 4)
    boxes[0, 1, 1, 2] = boxes[1, 0, 1, 2] = boxes[3, 3, 1, 2] = 20.0
    boxes[2, 2:, 1, 2] = 20.0  # evenly 2 and 3
    levels[1]["scores"][:, 1, 2] = [logit(p) for p in (0.1, 0.6, 0.2)]
    found = PointDecoder(head.spec).candidates(head.tensors(levels), thresholds(0.25, 0.25, 0.25))
    # center of the cell (40, 24): x1 = 40 - 16, y1 = 24, x2 = 40 + 40, y2 = 24 + 48
    np.testing.assert_allclose(found.xyxy, [[24, 24, 80, 72]], atol=1e-4)
    np.testing.assert_allclose(found.scores, [0.6], atol=1e-6)
    assert found.class_ids.tolist() == [1]
    assert found.rows.tolist() == [4 * 8 + 1 * 4 + 2]
    assert found.rotated is None
    assert [array.dtype.name for array in (found.xyxy, found.scores, found.class_ids, found.rows)] == [
        "float32",
        "float32",
        "int32",
        "int64",
    ]


def test_rotated_by_hand() -> None:
    """A quarter turn: what lies to the right of the cell in the box's own frame lies below it in the image."""
    head = PointHead(reg_max=1, angle=SIGMOID_ANGLE, class_count=1)
    levels = head.full(-20.0)
    levels[0]["ltrb_boxes"][:, 2, 3] = [1.0, 1.0, 3.0, 1.5]
    levels[0]["scores"][:, 2, 3] = 20.0
    levels[0]["angles"][:, 2, 3] = logit(0.75)  # (0.75 - 0.25) * pi
    found = PointDecoder(head.spec).candidates(head.tensors(levels), thresholds(0.5))
    # f = (1, 0.25) turned by 90 degrees is (-0.25, 1); center = (3.5 - 0.25, 2.5 + 1) * 8, size = (4, 2.5) * 8
    assert found.rotated is not None
    np.testing.assert_allclose(found.rotated, [[26, 28, 32, 20, np.pi / 2]], atol=1e-4)
    np.testing.assert_allclose(found.xyxy, [[16, 12, 36, 44]], atol=1e-4)


def test_keypoints_by_hand() -> None:
    """x = (raw * 2 + cell) * stride, or (raw + cell + 0.5) * stride; visibility is 1 where there is none."""
    for layout, expected in (
        (KeypointLayout(2, scored=True), [[[40, 16, 0.75], [8, 48, 0.5]]]),
        (KeypointLayout(2, scored=False, gain=1.0, offset=0.5), [[[36, 20, 1], [20, 36, 1]]]),
    ):
        head = PointHead(keypoints=layout)
        levels = head.full(-20.0)
        levels[0]["keypoint_xy"][:, 2, 3] = [1.0, 0.0, -1.0, 2.0]
        if layout.scored:
            levels[0]["keypoint_scores"][:, 2, 3] = [logit(0.75), 0.0]
        details = PointDecoder(head.spec).details(head.tensors(levels), np.array([2 * 8 + 3]))
        assert details.coefficients is None
        assert details.keypoints is not None
        np.testing.assert_allclose(details.keypoints, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "float16", "float32"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_nothing_found(head: PointHead, dtype: str) -> None:
    """A head without a confident cell gives arrays with no rows, and so do the details of no rows."""
    zero_point = 0 if dtype.startswith("float") else 90
    tensors = head.tensors(head.full(10.0), dtype, scale=0.1, zero_point=zero_point + 30)
    decoder = PointDecoder(head.spec)
    found = decoder.candidates(tensors, np.full(head.class_count, 0.5, np.float32))
    assert (found.xyxy.shape, found.scores.shape, found.class_ids.shape, found.rows.shape) == ((0, 4), (0,), (0,), (0,))
    assert (found.rotated is None) == (head.angle is None)
    assert found.rotated is None or found.rotated.shape == (0, 5)
    details = decoder.details(tensors, found.rows)
    assert details.keypoints is None or details.keypoints.shape == (0, head.channels["keypoint_xy"] // 2, 3)
    assert details.coefficients is None or details.coefficients.shape == (0, 6)


@pytest.mark.parametrize("input_hw", [(32, 64), (64, 32), (48, 16)])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_dense_equals_upstream(head: PointHead, input_hw: tuple[int, int]) -> None:
    """Every figure of every row, in upstream's order, equals upstream's formula in double precision."""
    head = replace(head, input_hw=input_hw)
    levels = head.random(3)
    dense = PointDecoder(head.spec).decode_dense(head.tensors(levels))
    expected = head.reference(levels)
    assert [field.name for field in dense] == [name for name in UNITS if name in expected]
    for field in dense:
        assert field.unit == UNITS[field.name]
        np.testing.assert_allclose(
            field.values, expected[field.name], rtol=1e-5, atol=1e-4 if field.unit == "px" else 2e-6
        )


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_candidates_equal_upstream(head: PointHead) -> None:
    """The candidates are upstream's rows whose best class passes, in upstream's order, with upstream's figures."""
    levels = head.random(4)
    rows = head.reference(levels)
    rows["scores"] = rows["scores"] * rows.get("objectness", 1.0)
    if head.end_to_end:
        kept, class_ids = np.nonzero(rows["scores"] > 0.6)
        assert len(set(kept.tolist())) < len(kept)
    else:
        kept = np.flatnonzero(rows["scores"].max(axis=1) > 0.6)
        class_ids = rows["scores"][kept].argmax(axis=1)
    decoder, tensors = PointDecoder(head.spec), head.tensors(levels)
    found = decoder.candidates(tensors, np.full(head.class_count, 0.6, np.float32))
    assert len(kept) > 5
    np.testing.assert_array_equal(found.rows, kept)
    np.testing.assert_array_equal(found.class_ids, class_ids)
    np.testing.assert_allclose(found.scores, rows["scores"][kept, class_ids], atol=1e-6)
    angle = rows["angle"][kept] if head.angle is not None else None
    np.testing.assert_allclose(found.xyxy, upright(rows["xy"][kept], rows["wh"][kept], angle), rtol=1e-5, atol=2e-4)
    if angle is not None:
        expected = np.concatenate((rows["xy"][kept], rows["wh"][kept], angle), axis=1)
        assert found.rotated is not None
        np.testing.assert_allclose(found.rotated, expected, rtol=1e-5, atol=1e-4)
    order = np.random.default_rng(0).permutation(np.concatenate((kept, kept[:3])))  # any order, some of them twice
    details = decoder.details(tensors, order)
    assert (details.keypoints is None) == (head.keypoints is None)
    assert (details.coefficients is None) == (not head.coefficient_count)
    if details.keypoints is not None:
        xy = details.keypoints[:, :, :2].reshape(len(order), -1)
        np.testing.assert_allclose(xy, rows["keypoint_xy"][order], rtol=1e-5, atol=1e-4)
        scores = rows["keypoint_scores"][order] if "keypoint_scores" in rows else 1.0
        np.testing.assert_allclose(details.keypoints[:, :, 2], scores, atol=1e-6)
    if details.coefficients is not None:
        np.testing.assert_allclose(details.coefficients, rows["coefficients"][order], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32"])
@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_other_memory_layouts(head: PointHead, dtype: str) -> None:
    """Tensors that lie in memory as NHWC, inside a larger buffer, or packed as the NPU has them, decode alike."""
    levels = [
        {role: np.clip(np.round(values * 20), -128, 127) for role, values in level.items()} for level in head.random(7)
    ]
    tensors = head.tensors(levels, dtype, 0.05, 3)
    limits = np.full(head.class_count, 0.4, np.float32)
    decoder = PointDecoder(head.spec)
    expected, dense = decoder.candidates(tensors, limits), decoder.decode_dense(tensors)
    details = decoder.details(tensors, expected.rows)
    assert len(expected.scores) > 5
    for others in in_every_layout(tensors).values():
        assert_equal(decoder.candidates(others, limits), expected)
        assert_same_details(decoder.details(others, expected.rows), details)
        for ours, wanted in zip(decoder.decode_dense(others), dense, strict=True):
            np.testing.assert_array_equal(ours.values, wanted.values)


def test_activation_is_of_each_tensor() -> None:
    """Levels and roles may differ in activation: the result is that of the linear head."""
    head = PointHead(keypoints=KeypointLayout(2, scored=True), angle=SIGMOID_ANGLE)
    tensors = head.tensors(head.random(5))
    limits = thresholds(0.5, 0.5, 0.5)
    expected = PointDecoder(head.spec).candidates(tensors, limits)
    dense = PointDecoder(head.spec).decode_dense(tensors)
    able = [i for i, o in enumerate(head.spec.outputs) if o.role in ("scores", "keypoint_scores", "angles")]
    for activated in (able[:1], able[1:3], able[3:], able):
        outputs = list(head.spec.outputs)
        mixed = list(tensors)
        for index in activated:
            outputs[index] = replace(outputs[index], activation="sigmoid")
            mixed[index] = HeadTensor(sigmoid(tensors[index].values))
        decoder = PointDecoder(replace(head.spec, outputs=tuple(outputs)))
        assert_equal(decoder.candidates(mixed, limits), expected, 2e-5)
        for ours, wanted in zip(decoder.decode_dense(mixed), dense, strict=True):
            np.testing.assert_allclose(ours.values, wanted.values, rtol=1e-5, atol=1e-4)


def test_outputs_in_any_order() -> None:
    """The order of the runtime's outputs follows the contract, not the levels."""
    head = HEADS["keypoints"]
    tensors = head.tensors(head.random(6))
    expected = PointDecoder(head.spec).candidates(tensors, thresholds(0.5, 0.5, 0.5))
    order = [4, 2, 0, 7, 5, 3, 1, 6]
    spec = replace(head.spec, outputs=tuple(head.spec.outputs[index] for index in order))
    decoder = PointDecoder(spec)
    others = [tensors[index] for index in order]
    assert_equal(decoder.candidates(others, thresholds(0.5, 0.5, 0.5)), expected)
    assert_same_details(decoder.details(others, expected.rows), PointDecoder(head.spec).details(tensors, expected.rows))


def test_per_class_thresholds() -> None:
    """The best class is chosen first, the first of equal ones; its own threshold decides, no second class is tried."""
    head = PointHead(class_count=2)
    levels = head.full(-20.0)
    levels[0]["scores"][:, 0, 0] = [logit(0.6), logit(0.5)]
    levels[0]["scores"][:, 0, 1] = [logit(0.1), logit(0.5)]
    levels[1]["scores"][:, 0, 0] = [logit(0.7), logit(0.7)]
    decoder, tensors = PointDecoder(head.spec), head.tensors(levels)
    assert decoder.candidates(tensors, thresholds(0.55, 0.4)).class_ids.tolist() == [0, 1, 0]
    assert decoder.candidates(tensors, thresholds(0.65, 0.4)).class_ids.tolist() == [1, 0]
    assert decoder.candidates(tensors, thresholds(0.75, 0.4)).class_ids.tolist() == [1]
    assert decoder.candidates(tensors, thresholds(0.75, 0.6)).class_ids.tolist() == []


def test_end_to_end_rows_come_out_for_each_class() -> None:
    """Of an end-to-end head a row is a candidate for every class that passes its own threshold."""
    head = PointHead(reg_max=1, end_to_end=True)
    levels = head.full(-20.0)
    levels[0]["scores"][:, 0, 0] = [logit(0.6), logit(0.2), logit(0.5)]
    levels[1]["scores"][:, 1, 1] = [logit(0.3), logit(0.8), logit(0.45)]
    decoder, tensors = PointDecoder(head.spec), head.tensors(levels)
    found = decoder.candidates(tensors, thresholds(0.4, 0.7, 0.4))
    assert found.rows.tolist() == [0, 0, 37, 37]
    assert found.class_ids.tolist() == [0, 2, 1, 2]
    np.testing.assert_allclose(found.scores, [0.6, 0.5, 0.8, 0.45], atol=1e-6)
    np.testing.assert_array_equal(found.xyxy[0], found.xyxy[1])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_everything_found(dtype: str) -> None:
    """A threshold of 0 gives every row, equal to the dense decode."""
    head = PointHead()
    levels = [{role: np.round(values) for role, values in level.items()} for level in head.random(8)]
    decoder, tensors = PointDecoder(head.spec), head.tensors(levels, dtype)
    found = decoder.candidates(tensors, thresholds(0.0, 0.0, 0.0))
    dense = by_name(decoder.decode_dense(tensors))
    assert found.rows.tolist() == list(range(4 * 8 + 2 * 4))
    np.testing.assert_array_equal(found.scores, dense["scores"].max(axis=1))
    np.testing.assert_allclose((found.xyxy[:, :2] + found.xyxy[:, 2:]) / 2, dense["xy"], atol=1e-4)


def test_buffers_do_not_leak() -> None:
    """Calls on the same decoder don't influence one another, and results outlive the next call."""
    head = PointHead(angle=SIGMOID_ANGLE)
    decoder = PointDecoder(head.spec)
    limits = thresholds(0.5, 0.5, 0.5)
    first = decoder.candidates(head.tensors(head.random(1)), limits)
    assert first.rotated is not None
    copies = Candidates(
        first.xyxy.copy(), first.scores.copy(), first.class_ids.copy(), first.rows.copy(), first.rotated.copy()
    )
    assert len(decoder.candidates(head.tensors(head.full(-20.0)), limits).scores) == 0
    decoder.candidates(head.tensors(head.random(2)), limits)
    assert_equal(first, copies)
    assert_equal(decoder.candidates(head.tensors(head.random(1)), limits), first)


RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767)}


@st.composite
def quantized_cases(draw: st.DrawFn) -> dict[str, Any]:
    dtype = draw(st.sampled_from(sorted(RANGES)))
    low, high = RANGES[dtype]
    scale = draw(st.one_of(st.sampled_from([1 / 255, 1 / 128, 0.05, 1.0, 1e-6, 40.0]), st.floats(1e-4, 2.0)))
    zero_point = draw(st.one_of(st.sampled_from([low, 0, high]), st.integers(low, high)))
    activations: list[Activation] = ["linear", "sigmoid"]
    activation = draw(st.sampled_from(activations))
    edge = st.sampled_from([0.0, 1e-45, 1e-7, 0.25, 0.5, 0.999, float(np.float32(1 - 2**-24)), 1.0])
    limits = draw(st.lists(st.one_of(edge, st.floats(0.0, 1.0, width=32)), min_size=3, max_size=3))
    if draw(st.booleans()):
        # A threshold that equals the probability of some raw value: strictness decides.
        real = (np.float32(draw(st.integers(low, high))) - np.float32(zero_point)) * np.float32(scale)
        exact = real if activation == "sigmoid" else sigmoid(np.maximum(real, np.float32(-80)))
        if 0.0 <= exact <= 1.0:
            limits[draw(st.integers(0, 2))] = float(exact)
    return {
        "dtype": dtype,
        "scale": scale,
        "zero_point": zero_point,
        "limits": limits,
        "head": PointHead(
            reg_max=draw(st.sampled_from([1, 4])),
            angle=draw(st.sampled_from([None, SIGMOID_ANGLE])),
            activation=activation,
            end_to_end=draw(st.booleans()),
        ),
        "seed": draw(st.integers(0, 2**32 - 1)),
        "narrow": draw(st.booleans()),
    }


@settings(deadline=None, max_examples=200)
@given(case=quantized_cases())
def test_quantized_equals_float_rule(case: dict[str, Any]) -> None:
    """Comparing raw integers keeps exactly the rows that the rule keeps on the dequantized tensor: none lost or won."""
    head: PointHead = case["head"]
    low, high = RANGES[case["dtype"]]
    if case["narrow"]:
        low, high = max(low, case["zero_point"] - 9), min(high, case["zero_point"] + 9)
    rng = np.random.default_rng(case["seed"])
    raw = [
        {role: rng.integers(low, high + 1, values.shape) for role, values in level.items()} for level in head.full(0.0)
    ]
    tensors = head.tensors(raw, case["dtype"], case["scale"], case["zero_point"])
    limits = thresholds(*case["limits"])
    decoder = PointDecoder(head.spec)
    with np.errstate(over="ignore", invalid="ignore"):
        found = decoder.candidates(tensors, limits)
        as_float = decoder.candidates([HeadTensor(tensor.dequantized()) for tensor in tensors], limits)
        dense = by_name(decoder.decode_dense(tensors))
    # The exponentials of eight bits come from a table.
    has_table = head.reg_max > 1 and case["dtype"] != "int16"
    np.testing.assert_array_equal(found.scores, as_float.scores)
    assert_equal(found, as_float, tolerance=2e-5 if has_table else 0.0)
    rank = np.concatenate([level["scores"].reshape(3, -1).T for level in raw])
    if head.end_to_end:
        rows, class_ids = np.nonzero(dense["scores"] > limits)
    else:
        best = rank.argmax(axis=1)
        rows = np.flatnonzero(dense["scores"][np.arange(len(best)), best] > limits[best])
        class_ids = best[rows]
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.class_ids, class_ids)
    np.testing.assert_array_equal(found.scores, dense["scores"][rows, class_ids])
    boxes = np.concatenate((dense["xy"][rows], dense["wh"][rows]), axis=1)
    if found.rotated is not None:
        np.testing.assert_array_equal(found.rotated, np.concatenate((boxes, dense["angle"][rows]), axis=1))
    else:
        half = boxes[:, 2:] * np.float32(0.5)
        np.testing.assert_array_equal(found.xyxy, np.concatenate((boxes[:, :2] - half, boxes[:, :2] + half), axis=1))


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
    head = PointHead(reg_max=1, activation=activation)
    rng = np.random.default_rng(seed)
    raw = [
        {role: rng.normal(0, spread, values.shape).astype(dtype) for role, values in level.items()}
        for level in head.full(0.0)
    ]
    decoder, tensors = PointDecoder(head.spec), head.tensors(raw, dtype)
    found = decoder.candidates(tensors, thresholds(*limits))
    scores = by_name(decoder.decode_dense(tensors))["scores"]
    best = np.concatenate([level["scores"].reshape(3, -1).T for level in raw]).argmax(axis=1)
    rows = np.flatnonzero(scores[np.arange(len(best)), best] > thresholds(*limits)[best])
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.scores, scores[rows, best[rows]])


def test_values_that_are_no_numbers() -> None:
    """Infinite logits are certain, NaN is never an object, in whatever layout."""
    head = PointHead(class_count=1, reg_max=1)
    levels = head.full(-np.inf)
    levels[0]["ltrb_boxes"][:] = 1.0
    levels[0]["scores"][0, 0, 0] = np.inf
    levels[0]["scores"][0, 0, 1] = np.nan
    for dtype in ("float32", "float16"):
        tensors = head.tensors(levels, dtype)
        for others in (tensors, *in_every_layout(tensors).values()):
            found = PointDecoder(head.spec).candidates(others, thresholds(0.5))
            assert found.scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("index", "tensor", "message"),
    [
        (0, HeadTensor(np.zeros((1, 2, 4, 8, 16), np.int8), 0.1, 0, 17), r"shape \(1, 17, 4, 8\), expected \(1, 16, 4"),
        (
            1,
            HeadTensor(np.zeros((1, 3, 8, 4), np.float32)),
            r'Output "scores.0" has shape \(1, 3, 8, 4\), expected \(1, 3, 4, 8\) for scores at stride 8',
        ),
        (1, HeadTensor(np.zeros((1, 3, 4, 8), np.float64)), "has dtype float64, expected one of float16, float32"),
        (3, HeadTensor(np.zeros((1, 3, 2, 4), np.int8), 0.0), "has scale 0.0, expected a positive number"),
    ],
)
def test_tensor_against_the_contract(index: int, tensor: HeadTensor, message: str) -> None:
    """A tensor that is not what the contract says is refused by name, expected and got."""
    head = PointHead()
    tensors = head.tensors(head.random(0))
    tensors[index] = tensor
    with pytest.raises(BackendError, match=message):
        PointDecoder(head.spec).candidates(tensors, thresholds(0.5, 0.5, 0.5))
    with pytest.raises(BackendError, match=message):
        PointDecoder(head.spec).decode_dense(tensors)


def test_number_of_tensors() -> None:
    """A missing output is refused."""
    head = PointHead()
    with pytest.raises(BackendError, match="returned 1 outputs, expected 4"):
        PointDecoder(head.spec).candidates(head.tensors(head.random(0))[:1], thresholds(0.5, 0.5, 0.5))


def test_contract_that_does_not_fit_together() -> None:
    """A contract with missing or surplus outputs, or with wrong sizes, is refused when the decoder is made."""
    spec, masked = PointHead().spec, HEADS["masks"].spec
    posed, turned = HEADS["keypoints"].spec, HEADS["rotated"].spec
    first = spec.outputs[0]
    anchor: Any = "anchor_map"

    def with_first(**changes: Any) -> Any:
        return replace(spec, outputs=(replace(first, **changes), *spec.outputs[1:]))

    cases = [
        (replace(spec, class_names=()), "no class names"),
        (
            replace(spec, class_names=("a",)),
            r'"scores.0" has shape \(1, 3, 4, 8\) .* expected \(1, 1, 4, 8\) .* 1 classes',
        ),
        (replace(spec, input=replace(spec.input, width=96)), r"expected \(1, 16, 4, 12\) .* 96x32"),
        (replace(spec, outputs=spec.outputs[:3]), "Level 1 of the contract has dfl_boxes; expected dfl_boxes, scores"),
        (replace(spec, outputs=spec.outputs[2:]), r"outputs for the levels \[1\], expected 0, 1"),
        (replace(spec, outputs=(*spec.outputs, spec.outputs[3])), "dfl_boxes, scores, scores; expected"),
        (with_first(role=anchor), '"dfl_boxes.0" has role "anchor_map", which an anchor-free head does not have'),
        (with_first(shape=(1, 18, 4, 8)), r"expected \(1, 64, 4, 8\) for dfl_boxes"),
        (with_first(shape=(1, 32, 4, 8)), "levels have different numbers of channels"),
        (with_first(activation="sigmoid"), 'activation "sigmoid", expected linear for dfl_boxes'),
        (with_first(role="ltrb_boxes", shape=(1, 4, 4, 8)), "levels have different numbers of channels"),
        (with_first(stride=16), r"expected \(1, 16, 2, 4\)"),
        (replace(posed, keypoints=None), "expected dfl_boxes, scores .no keypoints"),
        (replace(spec, keypoints=KeypointLayout(5, scored=False)), "expected dfl_boxes, scores, keypoint_xy"),
        (replace(posed, keypoints=KeypointLayout(4, scored=True)), r'"keypoint_xy.0" .* expected \(1, 8, 4, 8\)'),
        (replace(masked, outputs=masked.outputs[:-1]), "expected dfl_boxes, scores .no keypoints, no prototypes"),
        (replace(turned, angle=None), "has dfl_boxes, scores, angles; expected dfl_boxes, scores .*no angle"),
        (replace(turned, angle=replace(SIGMOID_ANGLE, gain=0.0)), "has gain 0"),
    ]
    for broken, message in cases:
        with pytest.raises(RkdeployError, match=message):
            PointDecoder(broken)


def test_strides_of_one_level() -> None:
    """Outputs of one level have one stride: the cells of both tensors are the same."""
    spec = PointHead().spec
    outputs = (spec.outputs[0], replace(spec.outputs[1], stride=16, shape=(1, 3, 2, 4)), *spec.outputs[2:])
    assert STRIDES == (8, 16)
    with pytest.raises(RkdeployError, match="Level 0 of the contract has outputs of different strides"):
        PointDecoder(replace(spec, outputs=outputs))
