"""Boxes of anchor heads whose sizes are bins (YOLOv7's IBin), against their formula in double precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AnchorFormula, KeypointLayout, SizeBins
from rkdeploy.contract.spec import HeadOutput, ModelSpec
from rkdeploy.device.postprocess.anchor_decode import AnchorDecoder
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from tests.device.postprocess.anchor_heads import ANCHORS, LAYOUTS, STRIDES, AnchorHead
from tests.device.postprocess.tensor_layouts import as_nhwc, as_packed

pytestmark = pytest.mark.usefixtures("decode")

BINS = SizeBins((0.25, 0.75, 1.25, 1.75), 0.5, 0.0, 2.0)
THRESHOLDS = np.full(3, 0.25, np.float32)


def with_bins(head: AnchorHead, bins: SizeBins = BINS) -> ModelSpec:
    """The contract with one tensor of bins per level behind the others."""
    outputs: list[HeadOutput] = []
    for level, stride in enumerate(STRIDES):
        outputs += [output for output in head.spec.outputs if output.level == level]
        shape = (1, 2 * 2 * len(bins.centers), *(side // stride for side in head.input_hw))
        outputs.append(HeadOutput(f"bins.{level}", "anchor_size_bins", level, stride, shape))
    return replace(head.spec, outputs=tuple(outputs), anchor_formula=AnchorFormula(bins=bins))


def tensors_of(head: AnchorHead, seed: int, dtype: str = "float32") -> list[HeadTensor]:
    """Random tensors of such a head."""
    spec, rng = with_bins(head), np.random.default_rng(seed)
    if dtype == "int8":
        return [HeadTensor(rng.integers(-128, 128, o.shape).astype(np.int8), 0.05, -3) for o in spec.outputs]
    return [HeadTensor(rng.normal(0, 2, o.shape).astype(np.float32)) for o in spec.outputs]


def expected_boxes(tensors: list[HeadTensor], per_level: int) -> NDArray[np.float64]:
    """Rows of x, y, w, h, cell by cell: IBin.forward and SigmoidBin.forward of WongKinYiu/yolov7."""
    rows = []
    for level in range(len(STRIDES)):
        parts = [t.dequantized().astype(np.float64)[0] for t in tensors[level * per_level : (level + 1) * per_level]]
        *others, bins = (part.reshape(2, -1, *part.shape[1:]) for part in parts)
        fields = np.concatenate(others, axis=1)
        for anchor, y, x in np.ndindex(2, *fields.shape[2:]):
            s = 1 / (1 + np.exp(-fields[anchor, :4, y, x]))
            center = (2 * s[:2] - 0.5 + (x, y)) * STRIDES[level]
            chosen = [BINS.centers[int(np.argmax(each))] for each in bins[anchor, :, y, x].reshape(2, -1)]
            size = np.clip(np.array(chosen) + (2 * s[2:] - 1) * BINS.reach, BINS.low, BINS.high)
            rows.append([*center, *size * ANCHORS.levels_px[level][anchor]])
    return np.array(rows)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("roles", LAYOUTS.values(), ids=LAYOUTS)
def test_every_row(roles: tuple[str, ...], dtype: str) -> None:
    head = AnchorHead(roles=roles)  # type: ignore[arg-type]  # of the table of layouts
    decoder, tensors = AnchorDecoder(with_bins(head)), tensors_of(head, 3, dtype)
    expected = expected_boxes(tensors, len(roles) + 1)
    xy, wh = (field.values for field in decoder.decode_dense(tensors)[:2])
    np.testing.assert_allclose(np.hstack((xy, wh)), expected, rtol=1e-5, atol=1e-4)
    found = decoder.candidates(tensors, THRESHOLDS)
    assert len(found.rows) > 5
    kept = expected[found.rows]
    corners = np.hstack((kept[:, :2] - kept[:, 2:] / 2, kept[:, :2] + kept[:, 2:] / 2))
    np.testing.assert_allclose(found.xyxy, corners, rtol=1e-5, atol=1e-3)


def test_layouts_in_memory() -> None:
    head = AnchorHead()
    decoder, tensors = AnchorDecoder(with_bins(head)), tensors_of(head, 4, "int8")
    expected = decoder.candidates(tensors, THRESHOLDS).xyxy
    for other in ([as_nhwc(t) for t in tensors], [as_packed(t, 16) for t in tensors]):
        np.testing.assert_array_equal(decoder.candidates(other, THRESHOLDS).xyxy, expected)


def test_nothing_found() -> None:
    head = AnchorHead()
    tensors = [HeadTensor(np.full(output.shape, -20.0, np.float32)) for output in with_bins(head).outputs]
    assert AnchorDecoder(with_bins(head)).candidates(tensors, THRESHOLDS).xyxy.shape == (0, 4)


def test_contracts_that_do_not_fit() -> None:
    spec = with_bins(AnchorHead())
    with pytest.raises(RkdeployError, match="holds bins of sizes, but the contract has none"):
        AnchorDecoder(replace(spec, anchor_formula=None))
    with pytest.raises(RkdeployError, match=r"expected anchor_map, .*anchor_size_bins next to the scores"):
        AnchorDecoder(replace(spec, outputs=AnchorHead().spec.outputs))
    with pytest.raises(RkdeployError, match=r"has shape \(1, 16, 4, 8\) in the contract, expected \(1, 20, 4, 8\)"):
        AnchorDecoder(
            replace(spec, anchor_formula=AnchorFormula(bins=replace(BINS, centers=(0.5, 1.0, 1.2, 1.5, 1.9))))
        )
    with pytest.raises(RkdeployError, match="bins of sizes next to keypoints or masks"):
        AnchorDecoder(replace(spec, keypoints=KeypointLayout(5, scored=False)))
