"""Example pictures: what is kept of a comparison, and what of a damaged folder is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rkdeploy.accuracy.kept_examples import FOLDER, INDEX, detections_of, kept_result, read_examples, read_picture
from rkdeploy.contract.agreement import Agreement
from rkdeploy.contract.formulas import AngleFormula, ClassMapSpec, KeypointLayout
from rkdeploy.contract.spec import InputSpec, ModelSpec
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask, Ranking
from rkdeploy.errors import BundleError
from rkdeploy.host.building.agreement_meter import Comparison
from rkdeploy.host.building.detection_matching import Matches
from rkdeploy.host.building.example_keeper import ExampleKeeper

SPEC = ModelSpec("yolov5", "detect", ("bolt", "nut"), InputSpec("images", 64, 64), ())
AGREEMENT = Agreement("simulator", 2, "here", 0.25, (), 3, 2, 1, 0.85, 0.15, 0.9, 0.01)
POINTS = np.array([[[10.5, 20.25, 0.5], [1, 2, 1]], [[3, 4, 0.25], [5, 6, 0]]], np.float32)
ROTATED = np.array([[20, 20, 10, 5, 0.5], [40, 30, 8, 8, -1.25]], np.float32)


def boxes(count: int = 2) -> Detections:
    xyxy = np.array([[10, 20, 110.5, 220.25], [0, 0, 5, 5]], np.float32)[:count]
    return Detections(xyxy, np.array([0.9, 0.3], np.float32)[:count], np.array([1, 0], np.int32)[:count])


def kept(tmp_path: Path, found: Detections, *, hw: tuple[int, int] = (480, 600), count: int = 2) -> Path:
    """A bundle's folder with examples of `found`, the built model having found its first object only."""
    keeper = ExampleKeeper(tmp_path, count)
    image = np.random.default_rng(0).integers(0, 256, (*hw, 3), np.uint8)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        pairs = ((0, 0),) if len(found) else ()
        keeper.add(name, image, Comparison(found, boxes(1), Matches(len(found), 1, (0.9,), (0.0,), pairs)))
    keeper.write("onnxruntime", AGREEMENT)
    return tmp_path


def test_the_first_images_are_kept_small(tmp_path: Path) -> None:
    """Two of three images are kept, no side above 640, and boxes are in the small picture's pixels."""
    folder = kept(tmp_path, boxes(), hw=(960, 1280))
    found = read_examples(folder, SPEC)
    assert found is not None
    assert [(one.source, one.width, one.height) for one in found.images] == [("a.jpg", 640, 480), ("b.jpg", 640, 480)]
    assert read_picture(folder, found.images[0]).shape == (480, 640, 3)
    assert found.images[0].reference.objects[0].xyxy == (5.0, 10.0, 55.25, 110.12)
    assert (found.images[0].pairs, found.reference_from, found.built_from) == (((0, 0),), "onnxruntime", "simulator")
    assert len(found.images[0].built.objects) == 1


def test_a_picture_without_objects(tmp_path: Path) -> None:
    """An image in which float finds nothing is kept and read like the others."""
    found = read_examples(kept(tmp_path, Detections.empty()), SPEC)
    assert found is not None
    assert [len(one.reference.objects) for one in found.images] == [0, 0]


def test_none_are_kept_when_none_are_wanted(tmp_path: Path) -> None:
    """With 0 there is no folder, and a bundle without one reads as having no examples."""
    assert read_examples(kept(tmp_path, boxes(), count=0), SPEC) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("found", "spec"),
    [
        (replace(boxes(), keypoints=POINTS), replace(SPEC, task="pose", keypoints=KeypointLayout(2, scored=True))),
        (replace(boxes(), rotated=ROTATED), replace(SPEC, task="obb", angle=AngleFormula(True, 1, 0))),
        (Detections.empty(), SPEC),
    ],
)
def test_objects_of_every_kind_come_back(found: Detections, spec: ModelSpec) -> None:
    """Boxes, keypoints and rotated boxes, and none at all, are the same after writing and reading."""
    again = detections_of(kept_result(found, (300, 300)), spec, (300, 300))
    for name in ("xyxy", "scores", "class_ids", "keypoints", "rotated"):
        before, after = getattr(found, name), getattr(again, name)
        assert (before is None) == (after is None)
        if before is not None:
            assert after.dtype == before.dtype
            np.testing.assert_allclose(after, before, atol=0.006)


def test_masks_maps_and_rankings_come_back() -> None:
    """A mask lies where it lay, a class map has its classes, a ranking its order; five of a ranking are kept."""
    pixels = np.zeros((4, 3), np.bool_)
    pixels[1:3, 1] = True
    class_ids = np.zeros((20, 30), np.uint8)
    class_ids[5:8, 10:20] = 2
    found = replace(
        boxes(1),
        masks=(InstanceMask(7, 9, pixels),),
        class_maps=(FoundClassMap("lanes", ("back", "a", "b"), class_ids),),
        ranking=Ranking(np.arange(7, dtype=np.int32), np.linspace(0.9, 0.1, 7).astype(np.float32)),
    )
    spec = replace(SPEC, class_maps=(ClassMapSpec("lanes", ("back", "a", "b")),), class_names=tuple("abcdefg"))
    again = detections_of(kept_result(found, (20, 30)), spec, (20, 30))
    assert again.masks is not None
    assert (again.masks[0].left, again.masks[0].top, again.masks[0].pixels.shape) == (8, 10, (2, 1))
    assert again.masks[0].pixels.all()
    assert np.array_equal(again.class_maps[0].class_ids, class_ids)
    assert again.class_maps[0].class_names == ("back", "a", "b")
    assert again.ranking is not None
    assert again.ranking.class_ids.tolist() == [0, 1, 2, 3, 4]


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def apply(folder: Path) -> None:
        index = folder / FOLDER / INDEX
        document = json.loads(index.read_text())
        change(document)
        index.write_text(json.dumps(document))

    return apply


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / FOLDER / INDEX).write_text("{"), "is not JSON with named fields"),
        (lambda f: (f / FOLDER / INDEX).write_bytes(b"\xff\xfe"), "is not JSON with named fields"),
        (_edit(lambda d: d.update(schema_version=2)), "schema version 2, expected 1"),
        (_edit(lambda d: d["images"][0].update(file="../../x.jpg")), r"matching regex .* - at `\$\.images\[0\]\.file`"),
        (_edit(lambda d: d["images"][0].update(width=100000)), r"<= 640 - at `\$\.images\[0\]\.width`"),
        (_edit(lambda d: d["images"][0].update(pairs=[[0, 5]])), "object that does not exist"),
        (_edit(lambda d: d["images"][0]["built"]["objects"][0].update(class_id=9)), "not one of the contract's 2"),
        (
            _edit(lambda d: d["images"][0]["built"]["objects"][0].update(xyxy=[0, 0, 1e9, 1])),
            r"< 1000000\.0 - at .*xyxy",
        ),
        (_edit(lambda d: d["images"][0]["built"]["objects"][0].update(keypoints=[[1, 2, 3]])), "other keypoints"),
        (_edit(lambda d: d["images"][0]["built"].update(class_maps=[{"name": "x", "classes": []}])), "class map"),
        (_edit(lambda d: d.update(images=d["images"] * 40)), "length <= 32"),
    ],
)
def test_damaged_examples_are_refused(tmp_path: Path, damage: Callable[[Path], object], said: str) -> None:
    """Whatever is wrong with the file is one message that names it."""
    folder = kept(tmp_path, boxes())
    damage(folder)
    with pytest.raises(BundleError, match=said) as failure:
        read_examples(folder, SPEC)
    assert INDEX in failure.value.message


def test_a_picture_that_is_none(tmp_path: Path) -> None:
    """A picture that is missing, or is another, is named."""
    folder = kept(tmp_path, boxes())
    found = read_examples(folder, SPEC)
    assert found is not None
    (folder / FOLDER / "1.jpg").write_bytes(b"no picture")
    (folder / FOLDER / "2.jpg").unlink()
    for example in found.images:
        with pytest.raises(BundleError, match=example.file):
            read_picture(folder, example)
