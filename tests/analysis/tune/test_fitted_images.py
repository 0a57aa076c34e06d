"""Labeled images in an input set: scored from there they give the figures that they give where they lie."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.accuracy.evaluation import measuring_thresholds
from rkdeploy.accuracy.predictor import Predictor
from rkdeploy.accuracy.scoring import score
from rkdeploy.analysis.tune.fitted_images import read_labeled_images, write_labeled_images
from rkdeploy.datasets.open_data import open_data
from rkdeploy.datasets.truth import DataImage, LabeledSet, RunLengths, Truth
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import RkdeployError
from tests.accuracy.tiny_model import SIDE, SPEC, head_values, make_data


def predictor() -> Predictor:
    return Predictor(SPEC, measuring_thresholds(SPEC), multi_label=True)


def packed(folder: Path, data: LabeledSet) -> list[str]:
    folder.mkdir()
    return [p.name for p in write_labeled_images(folder, data, predictor(), (SIDE, SIDE), lambda _text: None)]


def test_the_figures_are_those_of_the_files(tmp_path: Path) -> None:
    """Evaluated from the input set, the tiny model has the very figures that it has from the images' files."""
    data = open_data(make_data(tmp_path / "set"), SPEC)
    packed(tmp_path / "inputs", data)
    found = read_labeled_images(tmp_path / "inputs")
    one, figures = predictor(), []
    tensors = [HeadTensor(head_values())]
    for source in (data, found.data):
        if source is data:
            predictions = []
            for image in data.images:
                loaded = one.load(image)
                assert not hasattr(loaded, "failure")
                predictions.append(one.prediction(image, tensors, loaded.transform))
        else:
            predictions = [one.prediction(image, tensors, transform) for image, _, transform in found]
        figures.append(
            score(source, predictions, SPEC, Thresholds(), backend="b", computes="float", figures_from="made up")
        )
    assert figures[0] == figures[1]
    assert figures[0].headlines()["mAP50-95 (boxes)"] > 0.5


def test_pixels_are_as_the_network_gets_them(tmp_path: Path) -> None:
    """Image by image the input set holds what the letterbox gives, in the order of names."""
    data = open_data(make_data(tmp_path / "set", 5), SPEC)
    packed(tmp_path / "inputs", data)
    for (image, pixels, _), original in zip(read_labeled_images(tmp_path / "inputs"), data.images, strict=True):
        assert image.name == original.name
        assert pixels.shape == (1, SIDE, SIDE, 3)
        loaded = predictor().load(original)
        assert not hasattr(loaded, "failure")
        np.testing.assert_array_equal(pixels, loaded.image)


def test_broken_images_are_left_out_and_named(tmp_path: Path) -> None:
    """The input set has the others, each with its own labels."""
    yaml = make_data(tmp_path / "set", 6)
    (tmp_path / "set/images/val/002.png").write_bytes(b"no picture")
    data = open_data(yaml, SPEC)
    assert packed(tmp_path / "inputs", data) == ["images/val/002.png"]
    found = read_labeled_images(tmp_path / "inputs")
    assert [Path(i.name).stem for i in found.data.images] == ["000", "001", "003", "004", "005"]
    assert found.data.objects is not None
    counts = [len(found.data.objects.of(i.name, (SIDE, SIDE))) for i in found.data.images]
    assert counts == [1, 0, 0, 1, 0]


class _Labels:
    """Every kind of label there is."""

    def of(self, name: str, source_hw: tuple[int, int]) -> Truth:
        number = int(Path(name).stem)
        rows = np.arange(number * 4, dtype=np.float64).reshape(number, 4)
        ids, areas, crowd = np.arange(number), np.ones(number), np.zeros(number, np.bool_)
        if number == 1:  # without what the others have
            return Truth(rows, ids, areas, crowd)
        points = np.full((number, 2, 3), number, np.float64)
        rotated = np.full((number, 5), number, np.float32)
        polygons: tuple[list[list[float]] | RunLengths, ...] = ([[0.0, 0.0, 1.5, 0.0, 1.0, 1.0]],) * (number - 1)
        return Truth(rows, ids, areas, crowd, points, rotated, (*polygons, RunLengths((4, 5), "04P"))[:number])


def test_every_kind_of_label_survives(tmp_path: Path) -> None:
    """Keypoints, rotated boxes, outlines and run lengths, and images that lack some of them."""
    images = []
    for number in range(4):
        file = tmp_path / f"{number}.png"
        cv2.imwrite(str(file), np.zeros((SIDE, SIDE, 3), np.uint8))
        images.append(DataImage(file.name, file))
    labels = _Labels()
    packed(tmp_path / "inputs", LabeledSet("made up", tuple(images), labels, from_coco=True))
    found = read_labeled_images(tmp_path / "inputs").data
    assert (found.source, found.from_coco) == ("made up", True)
    assert found.objects is not None
    for image in found.images:
        expected, got = labels.of(image.name, (SIDE, SIDE)), found.objects.of(image.name, (SIDE, SIDE))
        assert got.outlines == expected.outlines
        for name in ("xyxy", "class_ids", "areas", "crowd", "keypoints", "rotated"):
            a, b = getattr(got, name), getattr(expected, name)
            assert (a is None) == (b is None), (image.name, name)
            if b is not None:
                np.testing.assert_array_equal(a, b)
                assert a.dtype == b.dtype


def test_class_maps_travel_as_files(tmp_path: Path) -> None:
    """An image's masks are in the input set, byte for byte, in their order."""
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((SIDE, SIDE, 3), np.uint8))
    masks = tuple(tmp_path / f"mask{i}.png" for i in range(2))
    for i, mask in enumerate(masks):
        cv2.imwrite(str(mask), np.full((SIDE, SIDE), i, np.uint8))
    packed(tmp_path / "inputs", LabeledSet("made up", (DataImage("a.png", picture, 3, masks),), None))
    (image,) = read_labeled_images(tmp_path / "inputs").data.images
    assert image.class_id == 3
    assert [file.read_bytes() for file in image.maps] == [file.read_bytes() for file in masks]
    assert all(file.is_relative_to(tmp_path / "inputs") for file in image.maps)


def test_a_mask_that_is_gone(tmp_path: Path) -> None:
    """It is named."""
    picture = tmp_path / "a.png"
    cv2.imwrite(str(picture), np.zeros((SIDE, SIDE, 3), np.uint8))
    data = LabeledSet("made up", (DataImage("a.png", picture, None, (tmp_path / "gone.png",)),), None)
    with pytest.raises(RkdeployError, match=r"gone\.png"):
        packed(tmp_path / "inputs", data)
