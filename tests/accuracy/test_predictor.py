"""One labeled image through a network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.accuracy.predictions import ImagePrediction
from rkdeploy.accuracy.predictor import Predictor, read_mask
from rkdeploy.contract.formulas import ClassMapSpec, DepthFormula
from rkdeploy.contract.spec import HeadOutput, ModelSpec
from rkdeploy.datasets.truth import DataError, DataImage
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from tests.accuracy.tiny_model import SIDE, SPEC, head_values

ROAD = replace(
    SPEC,
    outputs=(*SPEC.outputs, HeadOutput("road", "class_map", 0, 1, (1, 2, SIDE, SIDE))),
    class_maps=(ClassMapSpec("road", ("no", "yes")),),
)


def predicted(image: DataImage, spec: ModelSpec, *tensors: HeadTensor, multi_label: bool = True) -> ImagePrediction:
    predictor = Predictor(spec, Thresholds(confidence=0.001), multi_label=multi_label)
    loaded = predictor.load(image)
    assert not isinstance(loaded, ImagePrediction)
    return predictor.prediction(image, tensors, loaded.transform)


@pytest.fixture
def image(tmp_path: Path) -> DataImage:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((SIDE, SIDE, 3), np.uint8))
    return DataImage("a.png", tmp_path / "a.png")


def test_each_class_or_the_best(image: DataImage) -> None:
    """`multi_label` decides whether a box counts once or for both classes."""
    head = HeadTensor(head_values())
    assert predicted(image, SPEC, head).class_ids.tolist() == [0, 1]
    assert predicted(image, SPEC, head, multi_label=False).class_ids.tolist() == [0]


def test_boxes_at_the_edge(image: DataImage) -> None:
    """A box that reaches 4 pixels beyond the image is cut there, or left whole, as the family's validator has it."""
    values = np.zeros((1, 7, 4, 4), np.float32)
    values[0, :, 1, 0] = head_values()[0, :, 1, 1]  # one cell to the left
    cut = predicted(image, SPEC, HeadTensor(values))
    whole = predicted(image, replace(SPEC, family="ultralytics"), HeadTensor(values))
    assert cut.xyxy[0].tolist() == [0, 4, 12, 20]
    assert whole.xyxy[0].tolist() == [-4, 4, 12, 20]


def test_an_unreadable_image(tmp_path: Path) -> None:
    """It becomes a prediction that says why, and the evaluation goes on."""
    (tmp_path / "b.png").write_bytes(b"nothing")
    found = Predictor(SPEC, Thresholds(), multi_label=True).load(DataImage("b.png", tmp_path / "b.png"))
    assert isinstance(found, ImagePrediction)
    assert "is not a picture" in found.failure


def test_a_class_map_by_hand(image: DataImage, tmp_path: Path) -> None:
    """Found: road in the lower half.  Labeled: road in the left half, nothing said in the last row."""
    scores = np.zeros((1, 2, SIDE, SIDE), np.float32)
    scores[0, 0, : SIDE // 2], scores[0, 1, SIDE // 2 :] = 1.0, 1.0
    truth = np.zeros((SIDE, SIDE), np.uint8)
    truth[:, : SIDE // 2] = 1
    truth[-1] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), truth)
    labeled = replace(image, maps=(tmp_path / "mask.png",))
    found = predicted(labeled, ROAD, HeadTensor(head_values()), HeadTensor(scores))
    upper, lower = 16 * 16, 15 * 16
    assert found.confusions[0].tolist() == [[upper, lower], [upper, lower]]
    assert found.unlabeled == (SIDE,)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((SIDE, SIDE, 3), np.uint8), "3 channels"),
        (np.zeros((SIDE, SIDE), np.uint16), "uint16"),
        (np.zeros((8, SIDE), np.uint8), f"is {SIDE}x8, its image {SIDE}x{SIDE}"),
        (np.full((SIDE, SIDE), 7, np.uint8), "class 7, expected 0 to 1"),
    ],
)
def test_unusable_masks(tmp_path: Path, mask: np.ndarray, message: str) -> None:  # type: ignore[type-arg]  # any image
    """Colors, another depth or size, an unknown class: each is refused."""
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    with pytest.raises(DataError, match=message):
        read_mask(tmp_path / "m.png", (SIDE, SIDE), 2)
    (tmp_path / "n.png").write_bytes(b"nothing")
    for name in ("n.png", "missing.png"):
        with pytest.raises(DataError):
            read_mask(tmp_path / name, (SIDE, SIDE), 2)


def test_a_depth_by_hand(image: DataImage, tmp_path: Path) -> None:
    """2 m found everywhere; 4 m measured in one half, nothing in the other."""
    contract = replace(
        SPEC,
        task="depth",
        outputs=(HeadOutput("depth", "depth_map", 0, 1, (1, 1, SIDE, SIDE)),),
        anchors=None,
        depth=DepthFormula("metric"),
    )
    truth = np.zeros((SIDE, SIDE), np.float32)
    truth[:, SIDE // 2 :] = 4.0
    np.save(tmp_path / "a.npy", truth)
    tensor = HeadTensor(np.full((1, 1, SIDE, SIDE), 2.0, np.float32))
    found = predicted(replace(image, depth=tmp_path / "a.npy"), contract, tensor)
    assert found.depth == pytest.approx((0.5, 0.0, 2.0))
    assert predicted(image, contract, tensor).depth is None
