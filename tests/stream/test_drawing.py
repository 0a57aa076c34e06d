"""Drawing detections."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from rkdeploy.postprocess.detections import Detections
from rkdeploy.stream.drawing import (
    PALETTE_RGB,
    _overlap,
    _place_labels,
    ascii_label,
    class_color,
    draw_detections,
    pen_for,
    text_color,
)

SAMPLE = Path(__file__).parents[2] / "calib_data"
NAMES = ("bolt", "nut", "washer")
SIZES = [(320, 240), (640, 480), (1920, 1080), (3840, 2160), (240, 1200)]


def labelled(width: int, height: int) -> Detections:
    rows = np.loadtxt(SAMPLE / "labels" / "val" / "val_0000.txt", ndmin=2)
    centre, half = rows[:, 1:3] * (width, height), rows[:, 3:] * (width, height) / 2
    xyxy = np.hstack((centre - half, centre + half)).astype(np.float32)
    return Detections(xyxy, np.linspace(0.97, 0.3, len(rows)).astype(np.float32), rows[:, 0].astype(np.int32))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_labels_stay_inside_and_apart(width: int, height: int) -> None:
    """On a real scene every label lies inside the image and none covers another, at every size."""
    found, pen = labelled(width, height), pen_for(width, height)
    texts = [f"{NAMES[i]} 0.97" for i in found.class_ids]
    places = _place_labels(found.xyxy.astype(np.int32), texts, range(len(found)), pen, (height, width))
    boxes = np.array([[p.left, p.top, p.left + p.width, p.top + p.height] for p in places if p is not None], np.int32)
    assert len(boxes) == len(found)
    assert (boxes >= 0).all()
    assert (boxes <= (width, height, width, height)).all()
    assert all(_overlap(a[None], b[None])[0] == 0 for a, b in combinations(boxes, 2))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_image_is_copied_and_marked(width: int, height: int) -> None:
    """The original stays as it was; the copy has the class's colour on each box's edge."""
    image = cv2.resize(np.asarray(cv2.imread(str(SAMPLE / "images" / "val" / "val_0000.jpg"))), (width, height))
    original = np.asarray(image, np.uint8)
    before, found = original.copy(), labelled(width, height)
    drawn = draw_detections(original, found, NAMES)
    assert np.array_equal(original, before)
    assert drawn.shape == original.shape
    assert drawn.dtype == np.uint8
    for color in {class_color(int(i)) for i in found.class_ids}:
        assert (drawn == color).all(axis=2).any()


def test_no_detections_change_nothing() -> None:
    """The empty result gives the image as it is."""
    image = np.full((48, 64, 3), 7, np.uint8)
    assert np.array_equal(draw_detections(image, Detections.empty(), NAMES), image)


def test_odd_boxes_are_survived() -> None:
    """Boxes on the edge, outside, of no size, or not finite, ids without a name and tiny images do not fail."""
    xyxy = np.array(
        [[-50, -50, 900, 900], [5, 5, 5, 5], [np.nan, 0, 1, 1], [0, np.inf, 1, 1], [63, 47, 64, 48]], np.float32
    )
    found = Detections(xyxy, np.linspace(1, 0, 5).astype(np.float32), np.array([0, 1, 2, 0, 77], np.int32))
    for height, width in ((48, 64), (1, 1), (8, 400), (400, 8)):
        assert draw_detections(np.zeros((height, width, 3), np.uint8), found, NAMES).shape == (height, width, 3)


def test_long_names_are_shortened_to_the_image() -> None:
    """A name wider than the image is cut, and its score stays."""
    place = _place_labels(np.array([[0, 0, 9, 9]], np.int32), ["x" * 300 + " 0.50"], [0], pen_for(320, 240), (240, 320))
    assert place[0] is not None
    assert place[0].width <= 320
    assert place[0].text.endswith(".. 0.50")


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("bolt", "bolt"),
        ("Zündkerze", "Zundkerze"),
        ("Straße", "Strasse"),
        ("螺栓", "#3"),
        ("bolt 螺", "#3"),
        ("", "#3"),
        ("two\nlines\t x", "two lines x"),
        ("a\x07b", "#3"),
    ],
)
def test_names_in_ascii(name: str, drawn: str) -> None:
    """Accents are dropped; what has no ASCII form is drawn as the class id, never as question marks."""
    assert ascii_label(name, 3) == drawn


def test_colours_are_stable_distinct_and_readable() -> None:
    """Twenty different colours, the same for an id every time, each with a text contrast of 4.5 or more (WCAG AA)."""
    assert len(set(PALETTE_RGB)) == 20
    assert class_color(3) == class_color(23)
    assert class_color(0) == (0xB2, 0x72, 0x00)

    def luminance(bgr: tuple[int, int, int]) -> float:
        b, g, r = ((v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4) for v in (c / 255 for c in bgr))
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    for class_id in range(20):
        color = class_color(class_id)
        light, dark = sorted((luminance(color), luminance(text_color(color))), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, class_id
