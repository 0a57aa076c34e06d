"""Ids and classes of the objects of one stream.

An id belongs to an object, whatever class the model sees in it from frame to frame: tracks are assigned to detections
of all classes, a second box that overlaps a stronger one of another class is that object once more, and the class of a
track is voted over its life.  With `TrackerSettings.per_class`, each class is tracked by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.tracking.byte_tracker import ByteTracker, TrackerSettings
from rkdeploy.device.tracking.class_votes import ClassVotes
from rkdeploy.device.tracking.measured_boxes import MeasuredBoxes
from rkdeploy.device.tracking.second_boxes import first_boxes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rkdeploy.device.postprocess.detections import Detections


@dataclass(frozen=True, slots=True, eq=False)
class IdentifiedObjects:
    """The objects of one frame.

    Attributes:
        found: the detections that are results, those of a track with its class.
        ids: (N,) int32, the id of each one's track, from 1; 0 for those without.
        ended: ids of tracks that were forgotten in this frame.
    """

    found: Detections
    ids: NDArray[np.int32]
    ended: tuple[int, ...]


class ObjectIds:
    """Gives ids to the objects of one stream.

    Args:
        high: (C,) float32, the threshold of each class: detections above it are results, and begin tracks.
        low: detections above it, up to that threshold, continue tracks, and are results then.
        settings: of the tracks.

    Attributes:
        second_boxes: detections above their threshold that were left out as a second box of an object.
    """

    def __init__(self, high: NDArray[np.float32], low: float, settings: TrackerSettings) -> None:
        self._high, self._low = high, low
        self._per_class = settings.per_class
        self._tracker = ByteTracker(settings)
        self._votes = ClassVotes()
        self.second_boxes = 0

    def update(self, found: Detections, time_s: float) -> IdentifiedObjects:
        """Take the detections of the next frame.

        Args:
            found: with all scores above the low threshold.
            time_s: of the frame, later than that of the one before.
        """
        measured = MeasuredBoxes.of(found, self._high, self._low)
        boxes = np.arange(len(measured)) if self._per_class else first_boxes(measured)
        first = boxes == np.arange(len(boxes))
        self.second_boxes += int((~first & measured.high).sum())
        tracked = self._tracker.update(measured.where(first), time_s)
        ids = np.zeros(len(found), np.int32)
        ids[first] = tracked.ids
        self._vote(ids[boxes], found)
        kept = first & ((ids > 0) | (found.scores > self._high[found.class_ids]))
        found, ids = found.where(kept), ids[kept]
        of_tracks = [self._votes.class_of(one) if one else own for one, own in _pairs(ids, found.class_ids)]
        self._votes.forget(tracked.ended)
        return IdentifiedObjects(replace(found, class_ids=np.array(of_tracks, np.int32)), ids, tracked.ended)

    def counts(self) -> Mapping[int, int]:
        """Number of ids so far, by the class id of their tracks."""
        return self._votes.counts()

    def _vote(self, ids: NDArray[np.int32], found: Detections) -> None:
        """Count each detection for the class of its track."""
        rows = ids.nonzero()[0]
        columns = ids[rows].tolist(), found.class_ids[rows].tolist(), found.scores[rows].tolist()
        self._votes.add(zip(*columns, strict=True))


def _pairs(ids: NDArray[np.int32], class_ids: NDArray[np.int32]) -> zip[tuple[int, int]]:
    return zip(ids.tolist(), class_ids.tolist(), strict=True)
