"""The panels in the corner."""

from __future__ import annotations

import numpy as np
import pytest

from rkdeploy.device.drawing.class_maps import MapClass
from rkdeploy.device.drawing.colors import bgr
from rkdeploy.device.drawing.panels import RANKED, draw_legend, draw_ranking
from rkdeploy.device.drawing.pen import pen_for
from rkdeploy.device.postprocess.detections import Ranking
from tests.device.drawing.drawn_samples import SIZES

BAR = bgr((0x56, 0xB4, 0xE9))


def ranking(*scores: float) -> Ranking:
    return Ranking(np.arange(len(scores), dtype=np.int32), np.array(scores, np.float32))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_bars_are_as_long_as_the_probabilities(width: int, height: int) -> None:
    """The rows' bars are in the ratio of their scores, and lie inside the panel, which lies inside the image."""
    image = np.full((height, width, 3), 100, np.uint8)
    (panel,) = draw_ranking(image, ranking(0.8, 0.4, 0.2), ("a", "b", "c"), pen_for(width, height)).tolist()
    assert 0 <= panel[0] < panel[2] <= width
    assert 0 <= panel[1] < panel[3] <= height
    outside = image.copy()
    outside[panel[1] : panel[3], panel[0] : panel[2]] = 100
    assert (outside == 100).all()
    lengths = (image == BAR).all(axis=2).sum(axis=1)
    rows = [int(lengths[i]) for i in range(1, height) if lengths[i] and not lengths[i - 1]]
    assert len(rows) == 3
    assert rows[0] / rows[2] == pytest.approx(4, rel=0.1)
    assert rows[1] / rows[2] == pytest.approx(2, rel=0.1)


def test_only_the_best_are_shown() -> None:
    """A thousand classes take the room of five."""
    pen = pen_for(640, 480)
    images = [np.full((480, 640, 3), 100, np.uint8) for _ in range(2)]
    many = ranking(*np.linspace(0.5, 0, 1000).tolist())
    few = Ranking(many.class_ids[:RANKED], many.scores[:RANKED])
    names = tuple(f"class {i}" for i in range(1000))
    draw_ranking(images[0], many, names, pen)
    draw_ranking(images[1], few, names, pen)
    assert np.array_equal(images[0], images[1])


def test_long_names_and_odd_figures_are_survived() -> None:
    """Names are shortened to half of the image or so, others are drawn as ids; NaN and infinity have no bar."""
    image = np.full((240, 320, 3), 100, np.uint8)
    names = ("a very long name " * 9, "螺栓", "c", "d")
    (panel,) = draw_ranking(image, ranking(0.9, 0.1, np.nan, np.inf), names, pen_for(320, 240)).tolist()
    assert panel[2] <= 200
    (lengths,) = [np.flatnonzero((image == BAR).all(axis=2).any(axis=1))]
    assert len(np.flatnonzero(np.diff(lengths) > 1)) == 1  # two bars


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10, 300), (300, 10), (24, 24)])
def test_no_room_no_panel(width: int, height: int) -> None:
    """An image that is too small stays as it is."""
    image = np.full((height, width, 3), 100, np.uint8)
    pen = pen_for(width, height)
    assert len(draw_ranking(image, ranking(0.9, 0.1), ("name", "other"), pen)) == 0
    assert len(draw_legend(image, [MapClass(1, "a long enough name", BAR, 0.4)], pen)) in (0, 1)
    assert len(draw_ranking(image, ranking(), (), pen)) == 0
    assert image.shape == (height, width, 3)


def test_a_low_image_shows_fewer_rows() -> None:
    """As many as there is room for, whole ones."""
    image = np.full((60, 640, 3), 100, np.uint8)
    (panel,) = draw_ranking(image, ranking(0.5, 0.2, 0.1, 0.1, 0.1), tuple("abcde"), pen_for(640, 60)).tolist()
    bars = np.flatnonzero((image == BAR).all(axis=2).any(axis=1))
    assert panel[3] <= 60
    assert 1 <= 1 + np.count_nonzero(np.diff(bars) > 1) < 5


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_legend_shows_each_color(width: int, height: int) -> None:
    """A swatch of the full color for each class, below what is above."""
    image = np.full((height, width, 3), 100, np.uint8)
    classes = [MapClass(1, "drivable", (1, 2, 250), 0.4), MapClass(2, "lane", (3, 240, 5), 0.8)]
    (panel,) = draw_legend(image, classes, pen_for(width, height), top=30).tolist()
    assert panel[1] >= 30
    for one in classes:
        rows, columns = np.nonzero((image == one.color).all(axis=2))
        assert len(rows) > 20
        assert panel[1] <= rows.min() <= rows.max() < panel[3]
        assert panel[0] <= columns.min() <= columns.max() < panel[2]
    assert len(draw_legend(image, [], pen_for(width, height))) == 0
