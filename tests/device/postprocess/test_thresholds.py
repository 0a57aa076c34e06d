from __future__ import annotations

import math

import numpy as np
import pytest

from rkdeploy.device.postprocess.thresholds import Thresholds, chosen_class_ids
from rkdeploy.errors import RkdeployError

NAMES = ("person", "car", "a=b", "traffic light")


def test_defaults_are_upstreams() -> None:
    """Without options the limits are those of upstream's detect.py."""
    thresholds = Thresholds.from_options([], NAMES)
    assert (thresholds.confidence, thresholds.iou, thresholds.max_det) == (0.25, 0.45, 1000)
    np.testing.assert_array_equal(thresholds.of_classes(4), np.full(4, 0.25, np.float32))


def test_options() -> None:
    """One number sets all classes, NAME=number sets one, in any order; a name may hold a `=`."""
    thresholds = Thresholds.from_options(["person=0.4", "0.3", "a=b=0.5", "traffic light=1"], NAMES, iou=0.6, max_det=7)
    np.testing.assert_allclose(thresholds.of_classes(4), [0.4, 0.3, 0.5, 1.0])
    assert thresholds.of_classes(4).dtype == np.float32
    assert (thresholds.iou, thresholds.max_det) == (0.6, 7)


def test_name_on_two_classes() -> None:
    """A name that two classes carry sets both."""
    np.testing.assert_allclose(Thresholds.from_options(["x=0.5"], ("x", "y", "x")).of_classes(3), [0.5, 0.25, 0.5])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["persn=0.4"], r'no class "persn"\. Did you mean "person"\?'),
        (["Person=0.4"], r'no class "Person"\. Did you mean "person"\?'),
        (["zebra=0.4"], r"classes are: person, car, a=b, traffic light"),
        (["person"], r'"person" does not end in a number'),
        (["person="], r'"person=" does not end in a number'),
        (["1.5"], r'"1.5" is 1.5, expected a number from 0 to 1'),
        (["nan"], r"expected a number from 0 to 1"),
        (["person=-0.1"], r"expected a number from 0 to 1"),
        (["0.2", "0.3"], r'given twice, the second time as "0.3"'),
        (["car=0.2", "car=0.3"], r'class "car" is given twice'),
    ],
)
def test_bad_options(options: list[str], message: str) -> None:
    """Options that cannot be parsed are named, with a hint."""
    with pytest.raises(RkdeployError, match=message):
        Thresholds.from_options(options, NAMES)


def test_unknown_name_among_many() -> None:
    """With many classes the message names only some of them."""
    with pytest.raises(RkdeployError, match="80 classes, among them class 0, "):
        Thresholds.from_options(["zebra=0.4"], [f"class {number}" for number in range(80)])


@pytest.mark.parametrize(
    "arguments", [{"confidence": 1.1}, {"iou": -0.1}, {"iou": math.nan}, {"max_det": 0}, {"per_class": {0: 2.0}}]
)
def test_out_of_range(arguments: dict[str, float]) -> None:
    """A limit out of its range is refused when it is made."""
    with pytest.raises(RkdeployError, match="expected"):
        Thresholds(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("class_id", [-1, 3])
def test_unknown_class_id(class_id: int) -> None:
    """A threshold for a class that the model lacks is refused."""
    with pytest.raises(RkdeployError, match=f"class {class_id}, but the model has 3 classes"):
        Thresholds(per_class={class_id: 0.5}).of_classes(3)


def test_some_classes_only() -> None:
    """Others get a threshold that no score exceeds; a class of the choice keeps its own."""
    given = Thresholds(confidence=0.3, per_class={0: 0.6, 2: 0.1}).only([2, 1], 4)
    np.testing.assert_allclose(given.of_classes(4), [1.0, 0.3, 0.1, 1.0])


def test_classes_by_name_or_id() -> None:
    """A name that is a number goes before an id; several ids may have one name; others are refused with the names."""
    names = ("person", "car", "7", "car")
    assert chosen_class_ids(["car", "0", "7"], names) == [1, 3, 0, 2]
    with pytest.raises(RkdeployError, match=r'no class "bus". The model\'s classes are: person, car, 7, car'):
        chosen_class_ids(["bus"], names)
    with pytest.raises(RkdeployError, match=r"Class 4 does not exist: the model has 4 classes \(0 to 3\)"):
        chosen_class_ids(["4"], names)
