"""Boxes of one object that a model finds as two classes at once.

Non-maximum suppression compares boxes of a class with each other, so that an object between two classes has a box of
each.  This is the class-agnostic suppression of other programs (`agnostic_nms` of ultralytics), at the overlap that is
its default there.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.tracking.box_overlap import overlaps
from rkdeploy.device.tracking.measured_boxes import MeasuredBoxes

_SAME_OBJECT: Final = 0.7


def first_boxes(found: MeasuredBoxes) -> NDArray[np.intp]:
    """The box that stands for the object of each box.

    Args:
        found: detections of one frame.

    Returns:
        (N,) for each detection its own index, or that of the one with a higher score (those above the threshold of
        their class before the others) of another class that it overlaps by more than 0.7.
    """
    stands_for = np.arange(len(found))
    usable = (found.high | found.low).nonzero()[0]
    usable = usable[np.lexsort((-found.scores[usable], ~found.high[usable]))]
    class_ids = found.class_ids[usable]
    if not len(usable) or (class_ids == class_ids[0]).all():
        return stands_for
    boxes = found.boxes[usable]
    same = np.triu(overlaps(boxes, boxes) > _SAME_OBJECT, 1) & (class_ids[:, None] != class_ids)
    for row in same.any(axis=1).nonzero()[0].tolist():
        if stands_for[usable[row]] == usable[row]:
            weaker = usable[same[row]]
            stands_for[weaker[stands_for[weaker] == weaker]] = usable[row]
    return stands_for
