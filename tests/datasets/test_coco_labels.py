"""Labels out of COCO files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.datasets.coco_labels import read_coco
from rkdeploy.datasets.truth import DataError, RunLengths
from tests.accuracy.tiny_model import SPEC


def write(folder: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "b.jpg", "width": 10, "height": 10}, {"id": 8, "file_name": "a.jpg"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "area": 5.5, "iscrowd": 1},
            {"id": 2, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
        ],
        "categories": [{"id": 90, "name": "Bolt"}, {"id": 3, "name": "screw"}],
    } | changes
    file = folder / "instances_val.json"
    file.write_text(json.dumps(content))
    (folder / "images").mkdir(exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / "images" / name).touch()
    return file


def test_categories_are_classes_by_name(tmp_path: Path) -> None:
    """Category 90 is the model's class 0; a category that it lacks is left out, and said."""
    data = read_coco(write(tmp_path), SPEC)
    assert [image.name for image in data.images] == ["a.jpg", "b.jpg"]
    assert data.images[0].file == tmp_path / "images" / "a.jpg"
    assert data.objects is not None
    truth = data.objects.of("b.jpg", (10, 10))
    assert truth.class_ids.tolist() == [0]
    assert truth.xyxy.tolist() == [[1, 2, 4, 6]]
    assert truth.areas.tolist() == [5.5]
    assert truth.crowd.tolist() == [True]
    assert len(data.objects.of("a.jpg", (10, 10))) == 0
    assert "1 annotations" in data.notes[0]
    assert "nut" in data.notes[1]


def test_masks(tmp_path: Path) -> None:
    """Polygons stay polygons, run lengths must be of the image's size, and without either the box is the outline."""
    spec = replace(SPEC, task="segment")
    shapes: list[Any] = [[[0, 0, 1, 0, 1, 1]], {"size": [10, 10], "counts": [0, 100]}, None]
    annotations = [{"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4], "segmentation": s} for s in shapes]
    data = read_coco(write(tmp_path, annotations=annotations), spec)
    assert data.objects is not None
    outlines: object = data.objects.of("b.jpg", (10, 10)).outlines
    assert outlines == ([[0, 0, 1, 0, 1, 1]], RunLengths((10, 10), [0, 100]), [[1, 2, 4, 2, 4, 6, 1, 6]])
    with pytest.raises(DataError, match="size"):
        data.objects.of("b.jpg", (20, 10))


def test_keypoints(tmp_path: Path) -> None:
    """Of the model's number, or refused; an object without any has none that is labeled."""
    spec = replace(SPEC, task="pose", keypoints=KeypointLayout(2, scored=True))
    annotation = {"image_id": 7, "category_id": 90, "bbox": [1, 2, 3, 4]}
    good = [annotation | {"keypoints": [1, 2, 2, 3, 4, 1]}, annotation]
    data = read_coco(write(tmp_path, annotations=good), spec)
    assert data.objects is not None
    keypoints = data.objects.of("b.jpg", (10, 10)).keypoints
    assert keypoints is not None
    assert keypoints.tolist() == [[[1, 2, 2], [3, 4, 1]], [[0, 0, 0], [0, 0, 0]]]
    with pytest.raises(DataError, match="3 keypoint numbers, expected 6"):
        read_coco(write(tmp_path, annotations=[annotation | {"keypoints": [1, 2, 2]}]), spec)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [{"id": 1, "name": "cat"}]}, "none of them a class"),
        ({"images": []}, "names no image"),
        ({"images": [{"id": 1, "file_name": "gone.jpg"}]}, 'no "gone.jpg" in'),
        ({"annotations": [{"image_id": 7, "category_id": 90, "bbox": [1, 2]}]}, "not a COCO file"),
        ({"annotations": [{"image_id": 7, "category_id": 90, "bbox": [1, 2, "x", 4]}]}, "not a COCO file"),
    ],
)
def test_unusable_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """Each is refused with what is wrong."""
    with pytest.raises(DataError, match=message):
        read_coco(write(tmp_path, **changes), SPEC)


def test_a_file_of_a_windows_machine(tmp_path: Path) -> None:
    """A byte order mark is accepted, and so are backslashes in file names; GBK is refused with the fix."""
    file = write(tmp_path, images=[{"id": 7, "file_name": "images\\b.jpg"}])
    text = file.read_text()
    for encoding in ("utf-8-sig", "utf-16"):
        file.write_text(text, encoding)
        assert read_coco(file, SPEC).images[0].file == tmp_path / "images" / "b.jpg"
    file.write_text(text.replace("Bolt", "螺栓"), "gbk")
    with pytest.raises(DataError, match=r'"螺栓".*Save it as UTF-8'):
        read_coco(file, SPEC)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"images": 1}'])
def test_no_coco_files(tmp_path: Path, text: str) -> None:
    """Other or damaged JSON ends in one message."""
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(DataError, match="not a COCO file"):
        read_coco(file, SPEC)
    with pytest.raises(DataError, match="cannot be read"):
        read_coco(tmp_path / "missing.json", SPEC)
