"""The whole picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from rkdeploy.device.drawing import Skeleton, draw_detections
from rkdeploy.device.drawing.colors import class_color
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask, Ranking
from rkdeploy.errors import RkdeployError
from tests.device.drawing.drawn_samples import NAMES, SIZES, TASKS, boxes, labeled, photograph, result_of


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("task", TASKS)
def test_the_image_is_copied_and_marked(task: str, width: int, height: int) -> None:
    """Whatever the task and size, the original stays as it was, and the copy shows that something was found."""
    original = photograph(width, height)
    before = original.copy()
    drawn = draw_detections(original, result_of(task, width, height), NAMES)
    assert np.array_equal(original, before)
    assert (drawn.shape, drawn.dtype.name) == (original.shape, "uint8")
    assert (drawn != original).any(axis=2).mean() > 0.001


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_boxes_have_the_colors_of_their_classes(width: int, height: int) -> None:
    """On each box's edge is its class's color."""
    found = labeled(width, height)
    drawn = draw_detections(photograph(width, height), found, NAMES)
    for color in {class_color(int(i)) for i in found.class_ids}:
        assert (drawn == color).all(axis=2).any()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_result_is_drawn_the_same(task: str) -> None:
    """Data cached from frame to frame changes no pixel."""
    image, found = photograph(320, 240), result_of(task, 320, 240)
    assert np.array_equal(draw_detections(image, found, NAMES), draw_detections(image, found, NAMES))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"keypoints": np.zeros((0, 17, 3), np.float32)},
        {"keypoints": np.zeros((0, 4, 3), np.float32)},
        {"rotated": np.zeros((0, 5), np.float32)},
        {"masks": ()},
        {"class_maps": (FoundClassMap("road", ("background",), np.zeros((48, 64), np.uint8)),)},
        {"ranking": Ranking(np.zeros(0, np.int32), np.zeros(0, np.float32))},
    ],
)
def test_no_objects_change_nothing(more: dict[str, object]) -> None:
    """The empty result of every task gives the image as it is."""
    image = np.full((48, 64, 3), 7, np.uint8)
    assert np.array_equal(draw_detections(image, replace(Detections.empty(), **more), NAMES), image)  # type: ignore[arg-type] # fields of any type


@pytest.mark.parametrize(("height", "width"), [(48, 64), (1, 1), (8, 400), (400, 8), (2, 2), (5, 7)])
@pytest.mark.parametrize("task", TASKS)
def test_tiny_images_are_survived(task: str, height: int, width: int) -> None:
    """If there is no room for letters, boxes and points are still drawn."""
    assert draw_detections(photograph(width, height), result_of(task, width, height), NAMES).shape == (height, width, 3)


def test_objects_partly_outside_are_survived() -> None:
    """Coordinates beyond the image, of every kind, are cut off at its border."""
    found = boxes([-50, -50, 900, 900], [60, 40, 70, 55], [5, 5, 5, 5])
    rotated = np.array([[0, 0, 90, 20, 0.7], [64, 48, 30, 30, 1.2], [1e30, -1e30, 1e30, 4, 0]], np.float32)
    points = np.array(
        [[[-20, -20, 1], [80, 60, 1]], [[63, 47, 1], [1e30, -1e30, 1]], [[5, 5, 1], [5, 5, 1]]], np.float32
    )
    image = np.zeros((48, 64, 3), np.uint8)
    for more in (replace(found, rotated=rotated), replace(found, keypoints=points)):
        assert draw_detections(image, more, NAMES).any()


def test_what_is_not_finite_is_left_out() -> None:
    """An object with a NaN or an infinity among its coordinates is not drawn; the others are as without it."""
    image = photograph(320, 240)
    sound, ill = [20.0, 30.0, 90.0, 80.0], [np.nan, 30.0, np.inf, 80.0]
    both, alone = boxes(sound, ill), boxes(sound)
    assert np.array_equal(draw_detections(image, both, NAMES), draw_detections(image, alone, NAMES))
    turned = np.array([[50, 50, 30, 20, 0.4], [50, np.nan, 30, 20, 0.4]], np.float32)
    both, alone = boxes(sound, sound), boxes(sound)
    drawn = draw_detections(image, replace(both, rotated=turned), NAMES)
    assert np.array_equal(drawn, draw_detections(image, replace(alone, rotated=turned[:1]), NAMES))


def test_ids_without_a_name_are_drawn_as_numbers() -> None:
    """A class id beyond the names does not fail."""
    image, found = photograph(320, 240), boxes([20, 80, 90, 120])
    drawn = draw_detections(image, found, ())
    assert (drawn != image).any()
    assert np.array_equal(drawn, draw_detections(image, found, ("螺栓",)))


def test_the_most_certain_object_stays_whole() -> None:
    """If two outlines cross, the one with the higher score lies on top, whichever comes first."""
    image = np.zeros((240, 320, 3), np.uint8)
    found = boxes([20, 100, 200, 200], [100, 60, 150, 220])
    for order in ([0, 1], [1, 0]):
        mixed = Detections(found.xyxy[order], found.scores[order], found.class_ids[order])
        drawn = draw_detections(image, mixed, NAMES)
        assert tuple(drawn[100, 150].tolist()) == class_color(0)


def test_a_skeleton_for_other_points_is_refused() -> None:
    """The error says how many there are and how many were expected."""
    found = replace(boxes([1, 1, 9, 9]), keypoints=np.ones((1, 4, 3), np.float32))
    with pytest.raises(RkdeployError, match="for 3 keypoints, expected 4"):
        draw_detections(np.zeros((10, 10, 3), np.uint8), found, NAMES, Skeleton((), ((1, 2, 3),) * 3))


ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_numbers_make_it_fail(data: st.DataObject) -> None:
    """Any float in any coordinate, score or probability, in images of any shape."""
    height, width = data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70))
    count, points = data.draw(st.integers(0, 4)), data.draw(st.sampled_from([1, 2, 3, 5, 17, 21]))

    def floats(*shape: int) -> NDArray[np.float32]:
        return data.draw(hnp.arrays(np.float32, shape, elements=ANY_FLOAT))

    ids = data.draw(hnp.arrays(np.int32, count, elements=st.integers(0, 30)))
    found = Detections(
        floats(count, 4),
        floats(count),
        ids,
        keypoints=data.draw(st.none() | st.just(floats(count, points, 3))),
        rotated=data.draw(st.none() | st.just(floats(count, 5))),
        masks=data.draw(st.none() | st.just(tuple(InstanceMask(0, 0, np.ones((1, 1), np.bool_)) for _ in ids))),
        ranking=data.draw(st.none() | st.just(Ranking(ids, floats(count)))),
    )
    image = np.zeros((height, width, 3), np.uint8)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        drawn = draw_detections(image, found, NAMES)
    assert drawn.shape == image.shape
    assert not image.any()
