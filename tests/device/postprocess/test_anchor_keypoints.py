"""Keypoints on anchors: both formulas by hand, both decodes alike, and contracts that do not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, Quantization
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError

FACE = KeypointLayout(2, scored=False, gain=1.0, offset=0.0, by_anchor=True)
POSE = KeypointLayout(2, scored=True, gain=2.0, offset=-0.5)


def contract(layout: KeypointLayout) -> ModelSpec:
    """One level of 2 x 2 cells, stride 8, two anchors, one class, two keypoints."""
    outputs = [
        HeadOutput("map", "anchor_map", 0, 8, (1, 12, 2, 2)),
        HeadOutput("xy", "anchor_keypoint_xy", 0, 8, (1, 8, 2, 2)),
    ]
    if layout.scored:
        outputs.append(HeadOutput("scores", "anchor_keypoint_scores", 0, 8, (1, 4, 2, 2)))
    return ModelSpec(
        "yolov5-face", "pose", ("face",), InputSpec("images", 16, 16), tuple(outputs),
        Anchors((((10.0, 20.0), (30.0, 40.0)),)), keypoints=layout,
    )  # fmt: skip


def tensors(spec: ModelSpec) -> list[HeadTensor]:
    """Raw values of 0 everywhere but for the second anchor's last cell, which has an object."""
    values = [np.zeros(output.shape, np.float32) for output in spec.outputs]
    values[0][:] = -9
    values[0][0, 6:, 1, 1] = [0, 0, 0, 0, 9, 9]
    values[1][0, 4:, 1, 1] = [0.5, 1.0, -1.0, 0.25]
    if len(values) > 2:
        values[2][0, 2:, 1, 1] = [0, 9]
    return [HeadTensor(v) for v in values]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        # raw * anchor + cell * stride; anchor 30 x 40, cell (1, 1), stride 8
        (FACE, [[15 + 8, 40 + 8, 1], [-30 + 8, 10 + 8, 1]]),
        # (2 raw - 0.5 + cell) * stride, sigmoid
        (POSE, [[12, 20, 0.5], [-12, 8, 1 / (1 + np.exp(-9))]]),
    ],
)
def test_formulas_by_hand(layout: KeypointLayout, expected: list[list[float]]) -> None:
    """Keypoints of the one object, and the same in the decode of all rows."""
    spec = contract(layout)
    decoder = AnchorDecoder(spec)
    given = tensors(spec)
    found = decoder.candidates(given, np.array([0.5], np.float32))
    assert found.rows.tolist() == [7]
    assert np.allclose(found.xyxy, [[-3, -8, 27, 32]])
    details = decoder.details(given, found.rows)
    assert details.keypoints is not None
    assert np.allclose(details.keypoints[0], expected)
    dense = {field.name: field.values for field in decoder.decode_dense(given)}
    assert np.allclose(dense["keypoint_xy"][7].reshape(2, 2), np.array(expected)[:, :2])
    assert ("keypoint_scores" in dense) == layout.scored


@pytest.mark.parametrize("layout", [FACE, POSE], ids=["face", "pose"])
@pytest.mark.parametrize("decode", ["numpy", "native"])
def test_both_decodes(layout: KeypointLayout, decode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers in any row order give the keypoints of their own real values."""
    monkeypatch.setenv("RKDEPLOY_DECODE", decode)
    spec = contract(layout)
    rng = np.random.default_rng(0)
    quantized, real = [], []
    for output in spec.outputs:
        values = rng.integers(-128, 128, output.shape).astype(np.int8)
        scale, zero_point = 0.05, -3
        quantized.append(HeadTensor(values, scale=scale, zero_point=zero_point))
        real.append(HeadTensor(((values.astype(np.float32) - zero_point) * np.float32(scale)).astype(np.float32)))
    integers = tuple(replace(o, quantization=Quantization("int8", 0.05, -3)) for o in spec.outputs)
    decoder, plain = AnchorDecoder(replace(spec, outputs=integers)), AnchorDecoder(spec)
    limits = np.array([0.01], np.float32)
    found, expected = decoder.candidates(quantized, limits), plain.candidates(real, limits)
    assert len(found.rows) > 2
    assert found.rows.tolist() == expected.rows.tolist()
    rows: NDArray[np.intp] = found.rows[::-1].copy()
    ours, theirs = decoder.details(quantized, rows), plain.details(real, expected.rows)
    assert ours.keypoints is not None
    assert theirs.keypoints is not None
    assert np.allclose(ours.keypoints[::-1], theirs.keypoints, atol=1e-4)


def test_contracts_that_do_not_fit() -> None:
    """Keypoints without their tensor, a tensor without keypoints, a sigmoid on positions."""
    spec = contract(FACE)
    with pytest.raises(RkdeployError, match="anchor_keypoint_xy next to the scores"):
        AnchorDecoder(replace(spec, outputs=spec.outputs[:1]))
    with pytest.raises(RkdeployError, match="the contract has no such keypoints"):
        AnchorDecoder(replace(spec, keypoints=None))
    bent = (spec.outputs[0], replace(spec.outputs[1], activation="sigmoid"))
    with pytest.raises(RkdeployError, match="expected linear for keypoints"):
        AnchorDecoder(replace(spec, outputs=bent))
