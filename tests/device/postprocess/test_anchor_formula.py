"""Boxes of anchor heads that are not read as YOLOv5's: darknet's, against its formula in double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AnchorFormula
from rkdeploy.contract.spec import Activation
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from tests.device.postprocess.anchor_heads import ANCHORS, LAYOUTS, STRIDES, AnchorHead

pytestmark = pytest.mark.usefixtures("decode")

FORMULAS = [
    AnchorFormula((1.0,), "exp"),
    AnchorFormula((1.2, 1.05), "exp"),
    AnchorFormula((1.2,), "square"),
    AnchorFormula((2.0,), "share", center_shift=-0.5),
]
THRESHOLDS = np.full(3, 0.25, np.float32)


def expected_boxes(levels: list[NDArray[np.float32]], formula: AnchorFormula) -> NDArray[np.float64]:
    """Rows of x, y, w, h: get_yolo_box of AlexeyAB/darknet, cell by cell, and FastestDet's shares of an anchor."""
    rows = []
    for level, fields in enumerate(levels):
        for anchor, y, x in np.ndindex(fields.shape[0], *fields.shape[2:]):
            raw = fields[anchor, :4, y, x].astype(np.float64)
            s = 1 / (1 + np.exp(-raw))
            gain = formula.center_gains[level % len(formula.center_gains)]
            center = (s[:2] * gain - (gain - 1) / 2 + formula.center_shift + (x, y)) * STRIDES[level]
            factor = {"exp": np.exp(raw[2:]), "share": s[2:], "square": (2 * s[2:]) ** 2}[formula.size]
            rows.append([*center, *factor * ANCHORS.levels_px[level][anchor]])
    return np.array(rows)


@pytest.mark.parametrize("formula", FORMULAS, ids=str)
@pytest.mark.parametrize("roles", LAYOUTS.values(), ids=LAYOUTS)
def test_every_row(roles: tuple[str, ...], formula: AnchorFormula) -> None:
    head = AnchorHead(roles=roles)  # type: ignore[arg-type]  # of the table of layouts
    levels = head.random(3)
    decoder = AnchorDecoder(replace(head.spec, anchor_formula=formula))
    tensors = head.tensors(levels)
    expected = expected_boxes(levels, formula)
    xy, wh = (field.values for field in decoder.decode_dense(tensors)[:2])
    np.testing.assert_allclose(np.hstack((xy, wh)), expected, rtol=1e-5, atol=1e-4)
    found = decoder.candidates(tensors, THRESHOLDS)
    assert len(found.rows) > 5
    kept = expected[found.rows]
    corners = np.hstack((kept[:, :2] - kept[:, 2:] / 2, kept[:, :2] + kept[:, 2:] / 2))
    np.testing.assert_allclose(found.xyxy, corners, rtol=1e-5, atol=1e-3)


def test_exponents_next_to_probabilities() -> None:
    """Sizes stay exponents where the NPU has computed the sigmoids of the others."""
    formula = AnchorFormula((1.05,), "exp")
    head = AnchorHead(roles=LAYOUTS["xy, wh and scores"])
    tensors = head.tensors(head.random(5))
    spec = replace(head.spec, anchor_formula=formula)
    plain = AnchorDecoder(spec).candidates(tensors, THRESHOLDS)
    activated: tuple[Activation, ...] = ("sigmoid", "linear", "sigmoid") * 2
    outputs = tuple(replace(o, activation=a) for o, a in zip(spec.outputs, activated, strict=True))
    mixed = [
        HeadTensor(1 / (1 + np.exp(-t.values))) if a == "sigmoid" else t
        for t, a in zip(tensors, activated, strict=True)
    ]
    found = AnchorDecoder(replace(spec, outputs=outputs)).candidates(mixed, THRESHOLDS)
    np.testing.assert_array_equal(found.rows, plain.rows)
    np.testing.assert_allclose(found.xyxy, plain.xyxy, rtol=1e-5, atol=1e-3)


def test_a_size_beyond_float32_is_finite() -> None:
    head = AnchorHead()
    levels = head.full(20.0)
    levels[0][:, 2:4] = 1e4
    decoder = AnchorDecoder(replace(head.spec, anchor_formula=FORMULAS[0]))
    assert np.isfinite(decoder.candidates(head.tensors(levels), THRESHOLDS).xyxy).all()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_exponents_behind_a_sigmoid_are_refused(layout: str) -> None:
    head = AnchorHead(roles=LAYOUTS[layout], activation="sigmoid")
    with pytest.raises(RkdeployError, match=r"expected linear for the exponents of sizes"):
        AnchorDecoder(replace(head.spec, anchor_formula=FORMULAS[0]))


@pytest.mark.parametrize("layout", ["map", "boxes and scores", "xy, wh and scores"])
def test_classes_as_shares(layout: str) -> None:
    """A class's score is the objectness times its share of a softmax over all classes (Yolo-FastestV2)."""
    head = AnchorHead(roles=LAYOUTS[layout])
    levels = head.random(7)
    decoder = AnchorDecoder(replace(head.spec, anchor_formula=AnchorFormula(classes="softmax")))
    tensors = head.tensors(levels)
    flat = np.concatenate([fields.transpose(0, 2, 3, 1).reshape(-1, fields.shape[1]) for fields in levels])
    powers = np.exp(flat[:, 5:].astype(np.float64))
    expected = powers / powers.sum(axis=1, keepdims=True) / (1 + np.exp(-flat[:, 4:5].astype(np.float64)))
    dense = {field.name: field.values for field in decoder.decode_dense(tensors)}
    np.testing.assert_allclose(dense["scores"] * dense["objectness"], expected, rtol=1e-5)
    found = decoder.candidates(tensors, THRESHOLDS)
    rows = np.flatnonzero(expected.max(axis=1) > THRESHOLDS[0])
    assert len(rows) > 5
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_array_equal(found.class_ids, expected[rows].argmax(axis=1))
    np.testing.assert_allclose(found.scores, expected[rows].max(axis=1), rtol=1e-5)


@pytest.mark.parametrize("threshold", [0.05, 0.25, 0.6])
def test_powers(threshold: float) -> None:
    """Objectness below the threshold may give a score above it: 0.2^0.6 is 0.38."""
    head = AnchorHead()
    levels = head.random(9)
    formula = AnchorFormula(classes="softmax", powers=(0.6, 0.4))
    decoder = AnchorDecoder(replace(head.spec, anchor_formula=formula))
    tensors = head.tensors(levels)
    flat = np.concatenate([fields.transpose(0, 2, 3, 1).reshape(-1, fields.shape[1]) for fields in levels])
    powers = np.exp(flat[:, 5:].astype(np.float64))
    shares = powers / powers.sum(axis=1, keepdims=True)
    expected = (1 / (1 + np.exp(-flat[:, 4:5].astype(np.float64)))) ** 0.6 * shares**0.4
    found = decoder.candidates(tensors, np.full(3, threshold, np.float32))
    np.testing.assert_array_equal(found.rows, np.flatnonzero(expected.max(axis=1) > threshold))
    np.testing.assert_allclose(found.scores, expected.max(axis=1)[found.rows], rtol=1e-5)


def test_shares_behind_a_sigmoid_are_refused() -> None:
    head = AnchorHead(activation="sigmoid")
    with pytest.raises(RkdeployError, match=r"expected linear for classes of a softmax"):
        AnchorDecoder(replace(head.spec, anchor_formula=AnchorFormula(classes="softmax")))


def test_as_many_gains_as_levels() -> None:
    with pytest.raises(RkdeployError, match=r"3 gains of centers for 2 levels"):
        AnchorDecoder(replace(AnchorHead().spec, anchor_formula=AnchorFormula((1.2, 1.1, 1.05), "exp")))
