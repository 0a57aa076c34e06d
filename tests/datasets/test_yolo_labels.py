"""Label files of YOLO: what they say, and which are refused."""

from __future__ import annotations

from math import pi
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.datasets.truth import DataError
from rkdeploy.datasets.yolo_labels import (
    BadLabelsError,
    LabelForm,
    in_pixels,
    label_file,
    parse_labels,
    read_labels,
    require_classes,
)

DETECT = LabelForm("detect", 3)
HW = (480, 640)  # not square


def test_a_box_by_hand() -> None:
    """Center and size as shares of 640x480 become corners in pixels."""
    truth = in_pixels(parse_labels("2 0.5 0.25 0.1 0.5\n", DETECT), HW, "detect")
    assert truth.class_ids.tolist() == [2]
    assert truth.xyxy.tolist() == [[288.0, 0.0, 352.0, 240.0]]
    assert truth.areas.tolist() == [64.0 * 240.0]
    assert truth.crowd.tolist() == [False]


def test_no_objects() -> None:
    """An empty text and a file that is not there both show no object."""
    for labels in (parse_labels("\n \n", DETECT), read_labels(Path("nowhere.txt"), DETECT)):
        truth = in_pixels(labels, HW, "detect")
        assert truth.xyxy.shape == (0, 4)
        assert len(truth) == 0


def test_equal_lines_count_once() -> None:
    """As in training, a line that stands twice is one object."""
    assert len(parse_labels("0 .5 .5 .1 .1\n1 .5 .5 .1 .1\n0 .5 .5 .1 .1", DETECT).class_ids) == 2


def test_an_outline_gives_a_detector_its_box() -> None:
    """A polygon's box is the one around it, and is accepted next to plain boxes."""
    truth = in_pixels(parse_labels("0 0.1 0.1 0.3 0.2 0.2 0.5\n1 0.5 0.5 0.2 0.2", DETECT), (100, 100), "detect")
    assert np.allclose(truth.xyxy, [[10, 10, 30, 50], [40, 40, 60, 60]])
    assert truth.outlines is None


def test_a_segmenter_gets_the_outline_in_pixels() -> None:
    """x is multiplied with the width, y with the height."""
    truth = in_pixels(parse_labels("0 0.1 0.1 0.3 0.2 0.2 0.5", LabelForm("segment", 1)), (100, 200), "segment")
    assert truth.outlines is not None
    assert isinstance(truth.outlines[0], list)
    assert np.allclose(truth.outlines[0], [[20, 10, 60, 20, 40, 50]])


def test_a_pose_with_visibility() -> None:
    """Points in pixels, visibility as it is written; the area is 0.53 of the box, as ultralytics assumes."""
    form = LabelForm("pose", 1, keypoints=2, dimensions=3)
    truth = in_pixels(parse_labels("0 .5 .5 .5 .5 .25 .5 2 0 0 0", form), (100, 200), "pose")
    assert truth.keypoints is not None
    assert truth.keypoints[0].tolist() == [[50, 50, 2], [0, 0, 0]]
    assert truth.areas[0] == pytest.approx(0.53 * 100 * 50)


def test_a_pose_without_visibility() -> None:
    """With two numbers per keypoint, a negative one is not labeled and every other is."""
    form = LabelForm("pose", 1, keypoints=2, dimensions=2)
    labels = parse_labels("0 .5 .5 .5 .5 .25 .5 -1 -1", form)
    assert labels.keypoints is not None
    assert labels.keypoints[0, :, 2].tolist() == [2, 0]


def test_a_rotated_box() -> None:
    """Four corners of a square that stands on its tip: the rectangle has their center, sides, and 45 degrees."""
    truth = in_pixels(parse_labels("0 .5 .3 .7 .5 .5 .7 .3 .5", LabelForm("obb", 1)), (100, 100), "obb")
    assert truth.rotated is not None
    x, y, w, h, angle = truth.rotated[0].tolist()
    assert (x, y) == pytest.approx((50, 50), abs=1e-3)
    assert (w, h) == pytest.approx((20 * 2**0.5, 20 * 2**0.5), rel=1e-4)
    assert angle % (pi / 2) == pytest.approx(pi / 4, abs=1e-3)


@pytest.mark.parametrize(
    ("line", "form", "reason"),
    [
        ("0 0.5 0.5 0.1", DETECT, "4 numbers"),
        ("0 0.5 0.5 0.1 x", DETECT, "not numbers"),
        ("3 0.5 0.5 0.1 0.1", DETECT, "class 3, expected 0 to 2"),
        ("-1 0.5 0.5 0.1 0.1", DETECT, "class -1"),
        ("0.5 0.5 0.5 0.1 0.1", DETECT, "not a whole number"),
        ("nan 0.5 0.5 0.1 0.1", DETECT, "not a whole number"),
        ("inf 0.5 0.5 0.1 0.1", DETECT, "not a whole number"),
        ("0 0.5 0.5 0.1 1.2", DETECT, "from 0 to 1"),
        ("0 0.5 nan 0.1 0.1", DETECT, "from 0 to 1"),
        ("0 320 240 64 64", DETECT, "from 0 to 1"),
        ("0 .1 .1 .2 .2 .3 .3 .4", DETECT, "8 numbers"),
        ("0 .5 .5 .1 .1", LabelForm("segment", 1), "corners"),
        ("0 .5 .5 .1 .1 .5 .5", LabelForm("pose", 1, 2, 3), "expected 11"),
        ("0 .5 .5 .1 .1 .5 nan 2 .5 .5 2", LabelForm("pose", 1, 2, 3), "from 0 to 1"),
    ],
)
def test_lines_that_do_not_fit(line: str, form: LabelForm, reason: str) -> None:
    """Each is refused with its number and what is wrong."""
    with pytest.raises(BadLabelsError, match=reason) as caught:
        parse_labels("\n" + line, form)
    assert "line 2" in str(caught.value)


def test_no_text(tmp_path: Path) -> None:
    """A binary file under a label's name is refused."""
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xff\x00")
    with pytest.raises(BadLabelsError, match="UTF-8"):
        read_labels(file, DETECT)
    with pytest.raises(BadLabelsError, match="expected a text file"):
        read_labels(tmp_path, DETECT)


def test_where_labels_lie() -> None:
    """The last folder called images is replaced, as upstream has it."""
    assert label_file(Path("/images/set/images/val/a.b.jpg")) == Path("/images/set/labels/val/a.b.txt")
    assert label_file(Path("/set/images/val/a.jpg"), "labels_pose") == Path("/set/labels_pose/val/a.txt")
    assert label_file(Path("/set/val/a.jpg")) == Path("/set/val/a.txt")


def test_class_names() -> None:
    """Another number of classes is another data set; other names are worth a word."""
    assert require_classes(("a", "b"), ("a", "b"), "x") == ()
    assert require_classes((), ("a", "b"), "x") == ()
    assert 'class 1 "b", the model calls it "c"' in require_classes(("a", "b"), ("a", "c"), "x")[0]
    with pytest.raises(DataError, match="has 1 classes"):
        require_classes(("a",), ("a", "b"), "x")
