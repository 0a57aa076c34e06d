from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.contract.formulas import AngleFormula, ClassMapSpec, KeypointLayout
from rkdeploy.contract.spec import HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.postprocessor import Postprocessor, decoder_for
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.errors import BackendError, RkdeployError
from rkdeploy.images.fit import LetterboxTransform
from tests.device.postprocess.anchor_heads import AnchorHead
from tests.device.postprocess.point_heads import SIGMOID_ANGLE, PointHead

pytestmark = pytest.mark.usefixtures("decode")

HEAD = AnchorHead()
# A 128x128 source in a 32 high, 64 wide input: scale 1/4, 16 pixels left and right.
TRANSFORM = LetterboxTransform(0.25, 0.25, 16.0, 0.0, (128, 128))


def tensors_with(cells: dict[tuple[int, int, int, int], tuple[float, int]]) -> list[HeadTensor]:
    """A head in which the cells (level, anchor, y, x) hold (objectness logit, class id), centered in the cell."""
    levels: list[NDArray[np.float32]] = HEAD.full(-20.0)
    for (level, anchor, y, x), (objectness, class_id) in cells.items():
        levels[level][anchor, :, y, x] = [0, 0, 0, 0, objectness, -20, -20, -20]
        levels[level][anchor, 5 + class_id, y, x] = 20
    return HEAD.tensors(levels)


def test_source_pixels_by_hand() -> None:
    """Boxes come back in source pixels, clipped, the best first."""
    tensors = tensors_with({(0, 0, 0, 0): (0.0, 2), (0, 0, 2, 4): (2.0, 1)})
    found = Postprocessor(HEAD.spec, Thresholds())(tensors, TRANSFORM)
    # Input boxes (31, 13.5, 41, 26.5) and (-1, -2.5, 9, 10.5): the second lies wholly in the padding on the left.
    np.testing.assert_allclose(found.xyxy, [[60, 54, 100, 106], [0, 0, 0, 42]], atol=1e-3)
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-2.0)), 0.5], atol=1e-6)
    assert found.class_ids.tolist() == [1, 2]
    assert [found.xyxy.dtype.name, found.scores.dtype.name, found.class_ids.dtype.name] == [
        "float32",
        "float32",
        "int32",
    ]


def test_overlap_within_and_between_classes() -> None:
    """Neighboring cells of one class give one object, of two classes two."""
    processor = Postprocessor(HEAD.spec, Thresholds(iou=0.1))
    for class_id, expected in ((1, [1]), (2, [1, 2])):
        tensors = tensors_with({(1, 1, 0, 1): (3.0, 1), (1, 1, 0, 2): (1.0, class_id)})
        assert processor(tensors, TRANSFORM).class_ids.tolist() == expected


def test_nothing_found() -> None:
    """An empty head gives no detections."""
    found = Postprocessor(HEAD.spec, Thresholds())(tensors_with({}), TRANSFORM)
    assert (found.xyxy.shape, found.scores.shape, found.class_ids.shape) == ((0, 4), (0,), (0,))


def test_thresholds_and_max_det() -> None:
    """A class threshold and the limit on the number of detections are respected."""
    tensors = tensors_with({(0, 0, 0, 2): (0.0, 0), (0, 0, 0, 5): (1.0, 1), (0, 0, 3, 3): (2.0, 2)})
    stricter = Postprocessor(HEAD.spec, Thresholds(per_class={1: 0.9}))
    assert stricter(tensors, TRANSFORM).class_ids.tolist() == [2, 0]
    fewer = Postprocessor(HEAD.spec, Thresholds(max_det=2))
    assert fewer(tensors, TRANSFORM).class_ids.tolist() == [2, 1]


def test_unreadable_outputs_and_unknown_class() -> None:
    """Outputs without a decode and a threshold for a missing class are refused before the first image."""
    with pytest.raises(RkdeployError, match="outputs hold nothing, which no decoder reads"):
        decoder_for(replace(HEAD.spec, outputs=()))
    with pytest.raises(RkdeployError, match="class 3, but the model has 3 classes"):
        Postprocessor(HEAD.spec, Thresholds(per_class={3: 0.5}))


def point_tensors(head: PointHead, cells: dict[tuple[int, int, int], dict[str, list[float]]]) -> list[HeadTensor]:
    """A head in which the cells (level, y, x) hold the given values by role; scores are logits."""
    levels = head.full(-20.0)
    for (level, y, x), values in cells.items():
        for role, column in values.items():
            levels[level][role][:, y, x] = column
    return head.tensors(levels)


def test_anchor_free_by_hand() -> None:
    """An anchor-free head's boxes come back in source pixels, overlapping ones of a class once."""
    head = PointHead(reg_max=1)
    tensors = point_tensors(
        head,
        {
            (0, 1, 3): {"ltrb_boxes": [1, 1, 1, 1], "scores": [2, -20, -20]},  # (20, 4, 36, 20)
            (0, 1, 4): {"ltrb_boxes": [1.9, 1, 0.1, 1], "scores": [1, -20, -20]},  # nearly the same
            (1, 1, 2): {"ltrb_boxes": [1, 1, 2, 1], "scores": [-20, -20, 0]},  # (24, 8, 72, 40)
        },
    )
    found = Postprocessor(head.spec, Thresholds())(tensors, TRANSFORM)
    np.testing.assert_allclose(found.xyxy, [[16, 16, 80, 80], [32, 32, 128, 128]], atol=1e-3)
    assert found.class_ids.tolist() == [0, 2]
    assert (found.keypoints, found.rotated, found.masks, found.class_maps, found.ranking) == (
        None,
        None,
        None,
        (),
        None,
    )


def test_end_to_end_without_suppression() -> None:
    """An end-to-end head's rows stay next to one another, also several classes of one row; at most 300 come out."""
    head = PointHead(reg_max=1, end_to_end=True, input_hw=(64, 128))
    levels = head.full(20.0)
    for level in levels:
        level["ltrb_boxes"][:] = 1.0
    levels[0]["scores"][:] = np.linspace(1, 2, 3 * 8 * 16).reshape(3, 8, 16)
    levels[1]["scores"][:] = -20.0
    found = Postprocessor(head.spec, Thresholds(max_det=1000))(head.tensors(levels), TRANSFORM)
    assert len(found) == 300
    assert (np.diff(found.scores) <= 0).all()
    assert found.class_ids.tolist() == [2] * 128 + [1] * 128 + [0] * 44
    np.testing.assert_array_equal(found.xyxy[0], found.xyxy[128])  # the same row
    assert len(Postprocessor(head.spec, Thresholds(max_det=7))(head.tensors(levels), TRANSFORM)) == 7


def test_rotated_by_hand() -> None:
    """Rotated boxes come back in source pixels, below a quarter turn, not clipped; the upright one is clipped."""
    head = PointHead(reg_max=1, angle=SIGMOID_ANGLE)
    three_quarters = float(np.log(3.0))  # its sigmoid, 0.75, is a quarter turn
    tensors = point_tensors(
        head,
        {
            (0, 1, 3): {"ltrb_boxes": [2, 0.5, 2, 0.5], "scores": [2, -20, -20], "angles": [three_quarters]},
            (0, 1, 4): {"ltrb_boxes": [2, 0.5, 2, 0.5], "scores": [1, -20, -20], "angles": [0.0]},
        },
    )
    found = Postprocessor(head.spec, Thresholds())(tensors, TRANSFORM)
    assert found.rotated is not None
    # centers (28, 12) and (36, 12), 32 by 8 pixels, the first standing; source = (x - 16, y) * 4
    expected = np.array([[48, 48, 32, 128, 0], [80, 48, 128, 32, np.pi / 4]])
    np.testing.assert_allclose(found.rotated, expected, atol=1e-3)
    half = float((128 + 32) / 2 * np.sqrt(0.5))
    np.testing.assert_allclose(found.xyxy, np.array([[32, 0, 64, 112], [80 - half, 0, 128, 48 + half]]), atol=1e-3)


def test_rotated_suppression() -> None:
    """Rotated boxes suppress one another by their own overlap, not by that of the upright boxes around them."""
    head = PointHead(reg_max=1, angle=AngleFormula(sigmoid=False, gain=1.0, offset=0.0))
    cells = {
        (0, 1, 3): {"ltrb_boxes": [4.0, 0.2, 4.0, 0.2], "scores": [2.0, -20, -20], "angles": [0.8]},
        (0, 1, 4): {"ltrb_boxes": [4.0, 0.2, 4.0, 0.2], "scores": [1.0, -20, -20], "angles": [-0.8]},
    }
    assert len(Postprocessor(head.spec, Thresholds())(point_tensors(head, cells), TRANSFORM)) == 2
    cells[0, 1, 4]["angles"] = [0.8]
    cells[0, 1, 4]["ltrb_boxes"] = [4.697, -0.517, 3.303, 0.917]  # moved back onto the first
    assert len(Postprocessor(head.spec, Thresholds())(point_tensors(head, cells), TRANSFORM)) == 1


def test_keypoints_by_hand() -> None:
    """Keypoints come back in source pixels, clipped to the image, in the order of their boxes."""
    head = PointHead(reg_max=1, keypoints=KeypointLayout(2, scored=True))
    tensors = point_tensors(
        head,
        {
            (0, 1, 3): {
                "ltrb_boxes": [1, 1, 1, 1],
                "scores": [1, -20, -20],
                "keypoint_xy": [0.5, 0, -5, 0],  # x = (1 + 3) * 8 and (-10 + 3) * 8
                "keypoint_scores": [0, 20],
            },
            (1, 1, 2): {
                "ltrb_boxes": [0, 0, 1, 1],
                "scores": [2, -20, -20],
                "keypoint_xy": [0, 0, 0, 5],  # y = (10 + 1) * 16
                "keypoint_scores": [20, 0],
            },
        },
    )
    found = Postprocessor(head.spec, Thresholds())(tensors, TRANSFORM)
    assert found.keypoints is not None
    np.testing.assert_allclose(
        found.keypoints, np.array([[[64, 64, 1], [64, 128, 0.5]], [[64, 32, 0.5], [0, 32, 1]]]), atol=1e-4
    )


@pytest.mark.parametrize("kind", ["anchor-free", "anchors"])
def test_masks_by_hand(kind: str) -> None:
    """Every object has the mask that its own coefficients make, cropped to its box in source pixels."""
    point_head, anchor_head = PointHead(reg_max=1, coefficient_count=2), AnchorHead(coefficient_count=2)
    if kind == "anchors":
        levels = anchor_head.full(-20.0)
        # center (12, 12), 20 x 26 and 10 x 13 pixels: x of the source (2 - 16) * 4 to (22 - 16) * 4
        levels[0][0, :, 1, 1] = [0, 0, 0, 0, 2, 20, -20, -20, 1, 0]
        levels[0][0, :, 1, 5] = [0, 0, 0, 0, 1, -20, 20, -20, 0, 1]
        spec, tensors = anchor_head.spec, anchor_head.tensors(levels)
        boxes = [[0, 22, 4, 74], [92, 22, 132, 74]]
    else:
        spec = point_head.spec
        tensors = point_tensors(
            point_head,
            {
                (0, 1, 1): {"ltrb_boxes": [0, 1, 1, 1], "scores": [2, -20, -20], "mask_coefficients": [1, 0]},
                (0, 1, 5): {"ltrb_boxes": [1, 1, 1, 1], "scores": [-20, 1, -20], "mask_coefficients": [0, 1]},
            },
        )
        boxes = [[0, 16, 16, 80], [80, 16, 144, 80]]
    prototypes = np.full((1, 2, 8, 16), 1.0, np.float32)
    prototypes[0, 1, 4:] = -1.0  # the zero lies at input row 16, source row 64
    tensors[-1] = HeadTensor(prototypes)
    found = Postprocessor(spec, Thresholds())(tensors, TRANSFORM)
    np.testing.assert_allclose(found.xyxy, np.clip(boxes, 0, 128), atol=1e-3)
    assert found.masks is not None
    first, second = found.masks
    (x1, y1, x2, y2), (x3, y3, x4, y4) = np.ceil(found.xyxy).astype(int).tolist()
    assert (first.left, first.top, first.pixels.shape) == (x1, y1, (y2 - y1, x2 - x1))
    assert first.pixels.all()
    assert (second.left, second.top, second.pixels.shape) == (x3, y3, (y4 - y3, x4 - x3))
    np.testing.assert_array_equal(second.pixels, np.tile((np.arange(y3, y4) < 64)[:, None], (1, x4 - x3)))


def with_map(spec: ModelSpec) -> ModelSpec:
    """The same with a class map of two classes at the input's size."""
    output = HeadOutput("area", "class_map", 0, 1, (1, 2, spec.input.height, spec.input.width))
    return replace(spec, outputs=(*spec.outputs, output), class_maps=(ClassMapSpec("area", ("none", "road")),))


def test_class_map_beside_objects_and_alone() -> None:
    """A class map is returned in addition to the boxes of an anchor head, and also if there are no boxes."""
    scores = np.zeros((1, 2, 32, 64), np.float32)
    scores[0, 1, :, 32:] = 1.0
    tensors = tensors_with({(0, 0, 2, 4): (2.0, 1)})
    both = Postprocessor(with_map(HEAD.spec), Thresholds())([*tensors, HeadTensor(scores)], TRANSFORM)
    assert both.class_ids.tolist() == [1]
    alone_spec = replace(HEAD.spec, outputs=(), anchors=None)
    alone = Postprocessor(with_map(alone_spec), Thresholds())([HeadTensor(scores)], TRANSFORM)
    assert len(alone) == 0
    for found in (both, alone):
        assert [one.name for one in found.class_maps] == ["area"]
        ids = found.class_maps[0].class_ids
        assert ids.shape == (128, 128)
        assert not ids[:, :62].any()  # the edge lies at input column 32, source column 64
        assert ids[:, 66:].all()
    with pytest.raises(BackendError, match=r'"area" has shape \(1, 2, 32, 32\), expected \(1, 2, 32, 64\)'):
        Postprocessor(with_map(alone_spec), Thresholds())([HeadTensor(scores[..., :32])], TRANSFORM)


def classifier() -> ModelSpec:
    return ModelSpec(
        family="yolov8",
        task="classify",
        class_names=("a", "b", "c"),
        input=InputSpec("images", 32, 32, fit="center_crop"),
        outputs=(HeadOutput("scores", "class_scores", 0, 32, (1, 3, 1, 1)),),
    )


def test_classifier() -> None:
    """A classifier ranks, whatever the confidence threshold, and finds no objects."""
    scores = HeadTensor(np.log([0.2, 0.5, 0.3]).astype(np.float32).reshape(1, 3, 1, 1))
    found = Postprocessor(classifier(), Thresholds(confidence=0.9))([scores], TRANSFORM)
    assert len(found) == 0
    assert found.ranking is not None
    assert found.ranking.class_ids.tolist() == [1, 2, 0]
    np.testing.assert_allclose(found.ranking.scores, [0.5, 0.3, 0.2], rtol=1e-5)
    with pytest.raises(BackendError, match="returned 0 outputs, expected 1"):
        Postprocessor(classifier(), Thresholds())([], TRANSFORM)


def test_overflow_in_the_network() -> None:
    """A box with non-finite coordinates is not an object."""
    head = PointHead(reg_max=1, class_count=1, coefficient_count=2)
    finite = {"ltrb_boxes": [1.0, 1, 1, 1], "scores": [1.0], "mask_coefficients": [1.0, 1]}
    tensors = point_tensors(
        head,
        {
            (0, 1, 3): finite | {"ltrb_boxes": [np.inf, 1, 1, 1]},
            (0, 1, 5): finite | {"ltrb_boxes": [np.nan, 1, 1, 1]},
            (1, 1, 1): finite,
        },
    )
    found = Postprocessor(head.spec, Thresholds())(tensors, TRANSFORM)
    np.testing.assert_allclose(found.xyxy, [[0, 32, 96, 128]], atol=1e-3)
    assert found.masks is not None
    assert len(found.masks) == 1


@pytest.mark.parametrize("kind", ["plain", "keypoints", "rotated", "masks", "end to end"])
def test_nothing_found_by_any_head(kind: str) -> None:
    """No objects are empty arrays of every kind that the model has."""
    head = {
        "plain": PointHead(),
        "keypoints": PointHead(keypoints=KeypointLayout(4, scored=False)),
        "rotated": PointHead(angle=SIGMOID_ANGLE),
        "masks": PointHead(coefficient_count=3),
        "end to end": PointHead(end_to_end=True, reg_max=1),
    }[kind]
    found = Postprocessor(head.spec, Thresholds())(head.tensors(head.full(-20.0)), TRANSFORM)
    assert (found.xyxy.shape, found.scores.shape, found.class_ids.shape) == ((0, 4), (0,), (0,))
    assert (None if found.keypoints is None else found.keypoints.shape) == ((0, 4, 3) if kind == "keypoints" else None)
    assert (None if found.rotated is None else found.rotated.shape) == ((0, 5) if kind == "rotated" else None)
    assert found.masks == (() if kind == "masks" else None)


def test_contracts_that_do_not_fit_together() -> None:
    """Rotated boxes of stretched images, and an end-to-end anchor head, are refused before the first image."""
    rotated = PointHead(angle=SIGMOID_ANGLE).spec
    with pytest.raises(RkdeployError, match="stretches its images"):
        Postprocessor(replace(rotated, input=replace(rotated.input, fit="stretch")), Thresholds())
    with pytest.raises(RkdeployError, match="end to end; anchor heads are not"):
        Postprocessor(replace(HEAD.spec, end_to_end=True), Thresholds())
    with pytest.raises(RkdeployError, match="outputs hold prototypes, which no decoder reads"):
        Postprocessor(replace(HEAD.spec, outputs=(AnchorHead(coefficient_count=2).spec.outputs[-1],)), Thresholds())
