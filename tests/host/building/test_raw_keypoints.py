"""Raw keypoints without a checkpoint: read by YOLOv8's formula where their channels say how many there are."""

from __future__ import annotations

import pytest

from rkdeploy.contract.formulas import KeypointLayout
from rkdeploy.host.building.raw_outputs import note_of_unproven, with_usual_keypoints
from rkdeploy.host.graph.head import Head, Tap


def head(boxes: str, width: int, keypoints: int) -> Head:
    """One level as yolov8-face exports it."""
    shapes = {boxes: width, "scores": 1, "keypoints": keypoints}
    return Head(tuple(Tap(role, role, role, (1, n, 4, 4), 8) for role, n in shapes.items()), 1)  # type: ignore[arg-type]  # roles


@pytest.mark.parametrize(
    ("channels", "layout"),
    [
        (15, KeypointLayout(5, True, 2.0, 0.0)),
        (51, KeypointLayout(17, True, 2.0, 0.0)),
        (8, KeypointLayout(4, False, 2.0, 0.0)),
        (12, None),
        (7, None),
    ],
)
def test_channels_say_it(channels: int, layout: KeypointLayout | None) -> None:
    """x, y and score, or x and y; 12 channels may be both, and 7 are neither."""
    assert with_usual_keypoints(head("dfl_boxes", 64, channels)).keypoints == layout


def test_other_boxes_say_nothing() -> None:
    """YOLO26 has another formula, and other boxes."""
    assert with_usual_keypoints(head("ltrb_boxes", 4, 15)).keypoints is None


def test_the_note_says_it() -> None:
    note = note_of_unproven("face.onnx", with_usual_keypoints(head("dfl_boxes", 64, 15)))
    assert "5 keypoints by the formula of YOLOv8 and 11" in note
    assert "nothing proves" in note
