"""Areas of text in a map, cut out as lines that a recognizer reads."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rkdeploy.contract.formulas import TextFormula
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.chain.crop_rule import crop_rule, crops_of
from rkdeploy.device.postprocess.area_reader import AreaReader
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.images.fit import LetterboxTransform
from tests.device.chain.test_region import lettered
from tests.device.postprocess.test_area_reader import spec

SIDE = 320
READER = ModelSpec(
    "ppocr", "text", ("text",), InputSpec("images", 48, 320, fit="stretch"),
    (HeadOutput("text", "text_logits", 0, 48, (1, 3, 1, 40)),), text=TextFormula(("", "a", "b")),
)  # fmt: skip


@pytest.mark.parametrize("degrees", [0, 20, -35, 90])
def test_a_turned_text_is_cut_out_lying(degrees: int) -> None:
    """The rectangle in the map, enlarged, holds the text; one that reads downward is turned, as PaddleOCR does."""
    detector, text = spec((SIDE, SIDE)), lettered()
    turned = cv2.getRotationMatrix2D((59.5, 19.5), -degrees, 1.0)
    turned = np.asarray(turned + np.array(((0, 0, 90), (0, 0, 130))), np.float64)
    frame = cv2.warpAffine(text, turned, (SIDE, SIDE), borderValue=(255, 255, 255), flags=cv2.INTER_CUBIC)
    shrunken = np.zeros((40, 120), np.float32)
    shrunken[13:28, 13:108] = 0.9  # each side moves outward by 14 * 94 * 1.5 / (2 * 108) = 9
    plane = cv2.warpAffine(shrunken, turned, (SIDE, SIDE))[None, None]
    whole = LetterboxTransform(1.0, 1.0, 0.0, 0.0, (SIDE, SIDE))
    found = AreaReader(detector)([HeadTensor(np.asarray(plane))], whole, confidence=0.6, max_det=10)
    rule = crop_rule(detector, READER)
    ((index, region),) = crops_of(found, rule, READER.input, (SIDE, SIDE)).regions
    assert (rule.kind, index) == ("rotated", 0)
    crop = region.cut(np.asarray(frame, np.uint8))
    assert crop.shape[0] == pytest.approx(32, abs=4)
    assert crop.shape[1] == pytest.approx(112, abs=4)
    inside = cv2.matchTemplate(crop, text[8:34, 10:100], cv2.TM_CCOEFF_NORMED)
    assert inside.max() > 0.8
