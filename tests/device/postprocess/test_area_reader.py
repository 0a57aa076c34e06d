"""Areas of text in a map of probabilities, against RapidOCR's own post-processing and by hand."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AreaFormula
from rkdeploy.contract.spec import Activation, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.area_reader import AreaReader
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.postprocess.thresholds import Thresholds, default_confidence
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.tensor_layouts import in_every_layout

CASES = json.loads((Path(__file__).parents[2] / "data" / "areas" / "maps.json").read_text())["cases"]


HW = (160, 192)


def spec(hw: tuple[int, int], activation: Activation = "sigmoid", stride: int = 1) -> ModelSpec:
    height, width = (side * stride for side in hw)
    return ModelSpec(
        family="onnx",
        task="text_areas",
        class_names=("text",),
        input=InputSpec("x", height, width, place="top_left"),
        outputs=(HeadOutput("text_areas", "area_map", 0, stride, (1, 1, *hw), activation),),
        areas=AreaFormula(),
    )


def found_in(tensor: HeadTensor, contract: ModelSpec, transform: LetterboxTransform | None = None) -> Detections:
    hw = (contract.input.height, contract.input.width)
    whole = LetterboxTransform(1.0, 1.0, 0.0, 0.0, hw)
    limits = Thresholds(confidence=default_confidence(contract))
    return Postprocessor(contract, limits)([tensor], transform or whole)


def plane_of(case: dict[str, Any]) -> NDArray[np.uint8]:
    stored = np.frombuffer(base64.b64decode(case["map"]), np.uint8)
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE), np.uint8)


def rectangle_map(value: float = 0.9) -> NDArray[np.float32]:
    """Columns 10 to 29 and rows 20 to 29 of (60, 80)."""
    plane = np.zeros((1, 1, 60, 80), np.float32)
    plane[..., 20:30, 10:30] = value
    return plane


def require_packages_boxes(found: Detections, case: dict[str, Any]) -> None:
    """Every box and score of the package, each once; corners to 1/20 pixel of the map."""
    theirs = np.array(case["corners"], np.float32)
    assert len(found) == len(theirs) > 0
    assert found.rotated is not None
    ours = corners_of(found.rotated)
    for corners, score in zip(theirs, case["scores"], strict=True):
        far = [
            max(np.hypot(*(quad - corner).T).min() for corner in corners) + max(abs(found.scores[i] - score), 0)
            for i, quad in enumerate(ours)
        ]
        assert min(far) < 0.05


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
def test_boxes_equal_the_packages(case: dict[str, Any]) -> None:
    """Float and 8-bit probabilities in every layout, and logits, give RapidOCR's boxes and scores."""
    plane = plane_of(case)
    probabilities = plane.astype(np.float32)[None, None] / np.float32(255)
    contract = spec(HW)
    require_packages_boxes(found_in(HeadTensor(probabilities), contract), case)
    raw = HeadTensor((plane.astype(np.int16) - 128).astype(np.int8)[None, None], 1 / 255, -128)
    for tensors in ([raw], *in_every_layout([raw]).values()):
        require_packages_boxes(found_in(tensors[0], contract), case)
    kept = np.clip(probabilities.astype(np.float64), 1e-6, 1 - 1e-6)
    logits = np.log(kept / (1 - kept)).astype(np.float32)
    require_packages_boxes(found_in(HeadTensor(logits), spec(HW, "linear")), case)


def test_a_box_by_hand() -> None:
    """19 x 9 pixels between the outer pixels' centers; each side moves by 171 * 1.5 / 56 = 4.58, to whole pixels."""
    found = found_in(HeadTensor(rectangle_map()), spec((60, 80)))
    assert found.scores.tolist() == pytest.approx([0.9])
    np.testing.assert_allclose(found.xyxy, [[5, 15, 34, 34]], atol=1e-4)
    assert found.rotated is not None
    assert found.rotated[0].tolist() == pytest.approx([19.5, 24.5, 29, 19, 0], abs=1e-5)


def test_limits() -> None:
    """Pixels at the threshold, boxes at the lowest score, and small ones are left out."""
    assert len(found_in(HeadTensor(rectangle_map(0.3)), spec((60, 80)))) == 0
    assert len(found_in(HeadTensor(rectangle_map(0.59)), spec((60, 80)))) == 0
    low = Postprocessor(spec((60, 80)), Thresholds(confidence=0.5))
    assert len(low([HeadTensor(rectangle_map(0.59))], LetterboxTransform(1, 1, 0, 0, (60, 80)))) == 1
    thin = np.zeros((1, 1, 60, 80), np.float32)
    thin[..., 20:23, 10:40] = 1  # two pixels between the outer pixels' centers
    thin[..., 40, 10] = 1
    assert len(found_in(HeadTensor(thin), spec((60, 80)))) == 0


@pytest.mark.parametrize("limit", [0.0, 1e9])
def test_all_or_no_pixel_above(limit: float) -> None:
    """A tensor whose scale cannot reach the threshold has no area; one that cannot fall below it is a single one."""
    raw = np.zeros((1, 1, 60, 80), np.int8)
    tensor = HeadTensor(raw, 0.001 if limit else 1.0, 0 if limit else -100)
    assert len(found_in(tensor, spec((60, 80)))) == (0 if limit else 1)


def test_source_pixels() -> None:
    """A letterbox at the top left; a coarser map; a stretch keeps the longer side and the area."""
    half = LetterboxTransform(0.5, 0.5, 0.0, 0.0, (100, 160))
    np.testing.assert_allclose(
        found_in(HeadTensor(rectangle_map()), spec((60, 80)), half).xyxy, [[10, 30, 68, 68]], atol=1e-4
    )
    coarse = spec((60, 80), stride=4)
    same = LetterboxTransform(1, 1, 0, 0, (240, 320))
    np.testing.assert_allclose(
        found_in(HeadTensor(rectangle_map()), coarse, same).xyxy, [[20, 60, 136, 136]], atol=1e-4
    )
    stretched = replace(spec((60, 80)), input=InputSpec("x", 60, 80, fit="stretch", antialias=False))
    wide = LetterboxTransform(0.25, 1.0, 0.0, 0.0, (60, 320))
    np.testing.assert_allclose(
        found_in(HeadTensor(rectangle_map()), stretched, wide).xyxy, [[20, 15, 136, 34]], atol=1e-4
    )


def test_empty_map_and_budget() -> None:
    """No area gives empty arrays with rotated boxes; of thousands of areas as many as the formula says are read."""
    found = found_in(HeadTensor(np.zeros((1, 1, 60, 80), np.float32)), spec((60, 80)))
    assert found.rotated is not None
    assert (len(found), found.rotated.shape, found.xyxy.shape) == (0, (0, 5), (0, 4))
    many = np.zeros((1, 1, 240, 240), np.float32)
    for row in range(0, 240, 8):
        for column in range(0, 240, 8):
            many[..., row : row + 5, column : column + 5] = 1
    contract = replace(spec((240, 240)), areas=AreaFormula(most=50))
    assert len(found_in(HeadTensor(many), contract)) == 50


def test_contracts_that_cannot_be_read() -> None:
    """Without a formula, with several planes or classes, or with boxes of another head."""
    good = spec((60, 80))
    two = HeadOutput("text_areas", "area_map", 0, 1, (1, 2, 60, 80))
    scores = HeadOutput("scores", "scores", 0, 8, (1, 1, 8, 10))
    for broken, message in (
        (replace(good, areas=None), "no formula"),
        (replace(good, outputs=(two,)), "2 planes"),
        (replace(good, class_names=("a", "b")), "2 classes"),
        (replace(good, outputs=(*good.outputs, scores)), "expected one of them"),
        (replace(good, input=replace(good.input, height=120)), "does not fit"),
    ):
        with pytest.raises(RkdeployError, match=message):
            Postprocessor(broken, Thresholds())


def test_reader_alone() -> None:
    """Best score first, and not more than wanted."""
    plane = rectangle_map(0.7)
    plane[..., 40:50, 40:70] = 0.95
    reader = AreaReader(spec((60, 80)))
    whole = LetterboxTransform(1, 1, 0, 0, (60, 80))
    found = reader([HeadTensor(plane)], whole, confidence=0.6, max_det=10)
    assert found.scores.tolist() == pytest.approx([0.95, 0.7])
    assert len(reader([HeadTensor(plane)], whole, confidence=0.6, max_det=1)) == 1
