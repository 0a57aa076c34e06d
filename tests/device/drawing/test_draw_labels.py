"""Placement of labels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from rkdeploy.device.drawing.labels import Label, LabelText, overlap, place_labels
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.postprocess.corners import corners_of
from rkdeploy.device.postprocess.detections import Detections
from tests.device.drawing.drawn_samples import NAMES, SIZES, boxes, labeled, result_of


def placed(
    found: Detections,
    width: int,
    height: int,
    texts: list[LabelText] | None = None,
    taken: NDArray[np.int32] | None = None,
) -> list[Label | None]:
    texts = texts or [LabelText(NAMES[i], "0.97") for i in found.class_ids]
    corners = None if found.rotated is None else corners_of(found.rotated)
    pen = pen_for(width, height)
    return place_labels(
        found.xyxy.astype(np.int32), texts, range(len(found)), pen, (height, width), corners=corners, taken=taken
    )


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("task", ["detect", "obb"])
def test_labels_stay_inside_and_apart(task: str, width: int, height: int) -> None:
    """On a real scene every label lies inside the image and none covers another, at every size."""
    found = result_of(task, width, height)
    areas = np.array([label.box for label in placed(found, width, height) if label is not None], np.int32)
    assert len(areas) == len(found)
    assert (areas >= 0).all()
    assert (areas <= (width, height, width, height)).all()
    assert all(overlap(a[None], b[None])[0] == 0 for a, b in combinations(areas, 2))


def test_labels_keep_off_panels() -> None:
    """A box in the corner has its label elsewhere when a panel is there."""
    panel = np.array([[0, 0, 150, 90]], np.int32)
    found = boxes([2, 95, 60, 130])
    (above,), (elsewhere,) = placed(found, 320, 240), placed(found, 320, 240, taken=panel)
    assert above is not None
    assert elsewhere is not None
    assert overlap(np.array([above.box], np.int32), panel)[0] > 0
    assert overlap(np.array([elsewhere.box], np.int32), panel)[0] == 0


@pytest.mark.parametrize("angle", [0.0, 0.01, 0.4, np.pi / 4, 1.2, 3.0])
def test_the_label_of_a_rotated_box_sits_on_its_highest_corner(angle: float) -> None:
    """Not at the corner of the upright box, which may be far from any line; on an upright box it sits as ever."""
    found = result_of("obb", 640, 480)
    rotated = np.array([[320, 240, 200, 90, angle]], np.float32)
    corners = corners_of(rotated)[0]
    upright = np.array([[*corners.min(axis=0), *corners.max(axis=0)]], np.float32)
    (label,) = placed(Detections(upright, found.scores[:1], found.class_ids[:1], rotated=rotated), 640, 480)
    assert label is not None
    highest = corners[corners[:, 1].argmin()]
    assert label.left - 4 <= highest[0] <= label.left + label.width + 4
    assert 0 <= highest[1] - (label.top + label.height) < 8


def test_crowded_labels_are_apart_while_there_is_room() -> None:
    """Twelve boxes almost on one another have twelve labels that can be read."""
    found = boxes(*[[100 + 3 * i, 100 + 2 * i, 220 + 3 * i, 200 + 2 * i] for i in range(12)])
    labels = placed(found, 640, 480, [LabelText("bolt", "0.50")] * 12)
    areas = np.array([label.box for label in labels if label is not None], np.int32)
    assert len(areas) == 12
    assert all(overlap(a[None], b[None])[0] == 0 for a, b in combinations(areas, 2))


def test_what_has_no_free_place_has_no_label() -> None:
    """Hundreds of objects in a small image: what is labeled can be read, and the best ones come first."""
    found = boxes(*[[10 + i % 20, 10 + i // 20, 300 + i % 20, 220 + i // 20] for i in range(300)])
    labels = placed(found, 320, 240, [LabelText("bolt", "0.50")] * 300)
    areas = np.array([label.box for label in labels if label is not None], np.int32)
    assert labels[0] is not None
    assert 8 < len(areas) < 100
    assert all(overlap(a[None], b[None])[0] == 0 for a, b in combinations(areas, 2))
    large = placed(found, 3840, 2160, [LabelText("b", "1")] * 300)
    assert sum(label is not None for label in large) <= 100


def test_long_names_are_shortened_to_the_image() -> None:
    """A name wider than the image is cut, and its score stays."""
    (label,) = placed(boxes([0, 0, 9, 9]), 320, 240, [LabelText("x" * 300, "0.50")])
    assert label is not None
    assert label.width <= 320
    assert label.text.endswith(".. 0.50")


def test_no_room_for_letters_means_no_label() -> None:
    """An image of a few pixels has none."""
    assert placed(boxes([0, 0, 4, 4]), 5, 5) == [None]
    assert len(labeled(320, 240)) > 5
