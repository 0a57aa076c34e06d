"""Characters that OpenCV's font does not have."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rkdeploy.device.drawing.glyphs import code_lines, drawn_parts, is_box
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.drawing.picture import draw_detections
from rkdeploy.device.drawing.text import put_text, text_width
from rkdeploy.device.postprocess.detections import Detections, FoundText, Ranking


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("苏E05EV8", ("Su E05EV8",)),
        ("京A1234学", ("Jing A1234 xue",)),
        ("京A·12345", ("Jing A.12345",)),
        ("é ABC", ("e ABC",)),
        ("使用 ABC", ("使", "用", " ABC")),
        ("a한글", ("a", "한", "글")),
    ],
)
def test_plates_are_spelled_and_other_text_has_boxes(text: str, parts: tuple[str, ...]) -> None:
    """In text with any other character, no character is spelled: half a word in pinyin is worse than none."""
    assert drawn_parts(text) == parts


def test_code_point_in_two_lines() -> None:
    """Four digits, or more beyond the first plane."""
    assert is_box("使")
    assert (code_lines("使"), code_lines("😀")) == (("4F", "7F"), ("1F6", "00"))


def test_boxes_take_the_width_that_is_measured() -> None:
    """Nothing is drawn beyond it, and different characters look different where digits fit."""
    pen = pen_for(2400, 2400)
    width = text_width("使用 A", pen)
    pictures = []
    for text in ("使用 A", "方法 A"):
        drawn = np.zeros((120, width + 60, 3), np.uint8)
        put_text(drawn, text, (0, 80), (255, 255, 255), pen)
        assert drawn[:, :width].any()
        assert not drawn[:, width:].any()
        pictures.append(drawn)
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("wh", [(94, 24), (168, 48), (640, 200), (20, 5)])
def test_text_is_drawn_along_the_lower_edge(wh: tuple[int, int]) -> None:
    """With its confidence and the attribute's class; a picture that is too small stays as it is."""
    width, height = wh
    image = np.full((height, width, 3), 90, np.uint8)
    text = FoundText(tuple("苏E05EV8"), np.full(7, 0.97, np.float32), np.arange(7, dtype=np.int32))
    found = replace(
        Detections.empty(), text=text, ranking=Ranking(np.array([1], np.int32), np.array([0.9], np.float32))
    )
    drawn = draw_detections(image, found, ("black", "blue"))
    changed = np.flatnonzero((drawn != image).any(axis=(1, 2)))
    if height < 10:
        assert not len(changed)
        return
    assert changed[0] >= 0.4 * height  # letters of OpenCV 5 are one pixel higher
    assert (drawn[changed] > 200).any()
