"""A result's parts, as plain data, and as COCO JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

import rkdeploy
from rkdeploy.api.model_answer import Box
from rkdeploy.api.result import Result
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, FoundDepth, FoundText, Ranking
from rkdeploy.errors import RkdeployError
from tests.api.found import EMPTY, FOUND, FRAME, MASKS, NAMES, POINTS, ROTATED, STACKED, result


def test_boxes() -> None:
    """Arrays by the field's names, and one box at a time."""
    boxes = result().boxes
    assert len(boxes) == 2
    assert boxes.class_name == ("bolt", "nut")
    first, second = boxes
    assert first == Box((10, 5, 30, 25), float(FOUND.scores[0]), 1, "bolt")
    assert second.class_id == 2
    assert result().counts() == {"bolt": 1, "nut": 1}
    assert repr(result()) == "<Result of a.jpg, 60x40: 1 bolt, 1 nut>"
    plain = result()
    assert (plain.keypoints, plain.masks, plain.obb, plain.class_maps, plain.ranking) == (None, None, None, (), None)


def test_nothing_found() -> None:
    """Empty arrays of the right shapes in every form."""
    assert len(EMPTY) == len(EMPTY.boxes) == 0
    assert list(EMPTY.boxes) == []
    assert EMPTY.boxes.xyxy.shape == (0, 4)
    assert repr(EMPTY) == "<Result of an array, 60x40: nothing>"
    assert EMPTY.to_dict()["detections"] == []
    np.testing.assert_array_equal(EMPTY.plot(), FRAME)


def test_keypoints_masks_and_oriented_boxes() -> None:
    """Each in the order of the boxes."""
    points = result(keypoints=POINTS).keypoints
    assert points is not None
    np.testing.assert_array_equal(points.xy[0], [[12, 6], [28, 20]])
    np.testing.assert_array_equal(points.confidence[1], np.array([0.7, 0.6], np.float32))
    masks = result(masks=MASKS).masks
    assert masks is not None
    np.testing.assert_array_equal(masks.stacked(), STACKED)
    np.testing.assert_array_equal(masks[1], STACKED[1])
    assert [mask.sum() for mask in masks] == [400, 8]
    obb = result(rotated=ROTATED).obb
    assert obb is not None
    np.testing.assert_allclose(sorted(map(tuple, obb.corners[0])), [(10, 10), (10, 20), (30, 10), (30, 20)], atol=1e-4)
    np.testing.assert_allclose(sorted(map(tuple, obb.corners[1])), [(15, 5), (15, 25), (25, 5), (25, 25)], atol=1e-4)


def test_maps_and_ranking() -> None:
    """Results for the whole image."""
    ids = np.zeros((40, 60), np.uint8)
    ids[:10] = 1
    maps = (FoundClassMap("road", ("background", "lane"), ids),)
    ranking = Ranking(np.array([2, 0], np.int32), np.array([0.7, 0.2], np.float32))
    whole = Result(FRAME, NAMES, replace(Detections.empty(), class_maps=maps, ranking=ranking))
    (road,) = whole.class_maps
    assert (road.name, road.names, int(road.class_id.sum())) == ("road", ("background", "lane"), 600)
    assert whole.ranking is not None
    assert whole.ranking.class_name == ("nut", "nut")
    probs = whole.to_ultralytics().probs
    assert probs is not None
    assert (probs.top1, probs.top5) == (2, [2, 0])
    assert float(probs.top1conf) == pytest.approx(0.7)
    np.testing.assert_allclose(probs.data.numpy(), np.array([0.2, 0, 0.7], np.float32))


def test_depth_and_the_only_map() -> None:
    """Values of every pixel with their unit; the share of a class; None for models without."""
    ids = np.zeros((40, 60), np.uint8)
    ids[:10] = 1
    scene = FoundClassMap("scene", ("road", "car"), ids, background=False)
    depth = FoundDepth(np.full((40, 60), 2.5, np.float32), "metric")
    whole = Result(FRAME, NAMES, replace(Detections.empty(), class_maps=(scene,), depth=depth))
    assert whole.class_map is not None
    assert whole.class_map.share("car") == 0.25
    assert not whole.class_map.background
    with pytest.raises(RkdeployError, match='no class "tree", expected one of road, car'):
        whole.class_map.share("tree")
    assert whole.depth is not None
    assert (whole.depth.unit, float(whole.depth.values[3, 4])) == ("m", 2.5)
    assert result().class_map is None
    assert result().depth is None


def test_plain_data() -> None:
    """The dictionary is what `run --jsonl` writes, and its JSON holds no NaN."""
    told = result(keypoints=POINTS).to_dict()
    assert (told["source"], told["frame"]) == ("a.jpg", 3)
    assert told["detections"][0] | {"keypoints": 0} == {
        "xyxy": [10, 5, 30, 25], "confidence": 0.9, "class_id": 1, "class_name": "bolt", "keypoints": 0,
    }  # fmt: skip
    assert json.loads(result(keypoints=POINTS).to_json()) == told


def test_drawn_and_saved(tmp_path: Path) -> None:
    """A copy is drawn on; the file has the image's size."""
    drawn = result(masks=MASKS).plot()
    assert (drawn != FRAME).any()
    assert (FRAME == 128).all()
    saved = result().save(tmp_path / "x.png")
    read = cv2.imread(str(saved))
    assert read is not None
    np.testing.assert_array_equal(read, result().plot())
    with pytest.raises(RkdeployError, match="cannot be encoded"):
        result().save(tmp_path / "x.xyz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png"]


def test_coco() -> None:
    """The format of COCO's tool and FiftyOne: numbered from 1, boxes by width and height, masks as run lengths."""
    told = rkdeploy.to_coco([result(keypoints=POINTS, masks=MASKS), EMPTY, result()])
    assert [image["file_name"] for image in told["images"]] == ["a.jpg", "", "a.jpg"]
    assert told["images"][0] == {"id": 1, "file_name": "a.jpg", "frame": 3, "width": 60, "height": 40}
    assert told["categories"] == [{"id": 1, "name": "nut"}, {"id": 2, "name": "bolt"}, {"id": 3, "name": "nut"}]
    first = told["annotations"][0]
    assert first["bbox"] == [10, 5, 20, 20]
    assert (first["id"], first["image_id"], first["category_id"], first["area"]) == (1, 1, 2, 400)
    assert first["keypoints"] == [12, 6, 2, 28, 20, 1]
    np.testing.assert_array_equal(coco_mask.decode(first["segmentation"]).astype(bool), STACKED[0])
    assert [one["image_id"] for one in told["annotations"]] == [1, 1, 3, 3]
    assert json.loads(json.dumps(told)) == told
    assert rkdeploy.to_coco([]) == {"images": [], "annotations": [], "categories": []}


def test_text() -> None:
    """The line as an object, which prints as its text; None for other models."""
    line = FoundText(("苏", "E"), np.array([0.5, 1.0], np.float32), np.array([2, 5], np.int32))
    found = Result(FRAME, NAMES, replace(Detections.empty(), text=line))
    assert found.text is not None
    assert (str(found.text), found.text.confidence, found.text.characters) == ("苏E", 0.75, ("苏", "E"))
    assert repr(found).endswith(": '苏E'>")
    assert result().text is None
