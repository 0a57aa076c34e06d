"""ByteTrack (Zhang et al., ECCV 2022): ids for the detections of consecutive frames.

Every detection counts, those with a low score too: first the tracks are assigned to detections with high scores, then
the tracks that are left to detections with low ones, which are often the same objects, half hidden.

    tracked, lost     x  high scores  overlap * score  above 0.2   (`match`)
    tracked, the rest x  low scores   overlap          above 0.5
    tentative         x  high, left   overlap * score  above 0.3

An object is tentative in its first frame and gets its id in the second one; those of the first frame of all get it at
once.  A track without a detection is lost, and forgotten some time later.  Differences from the original:

- Times are in seconds.  A frame that was dropped is a longer step, no more: the filter predicts over it, and a lost
  track keeps its id as long as before.
- With `per_class`, a track is only assigned to detections of its own class; otherwise to those of all, as there.
- Rotated boxes are filtered by their own sides and compared as Gaussians (`probiou`), as ultralytics does it.
- An id is given when a track is confirmed, so that tentative ones use none up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.tracking.assignment import best_pairs
from rkdeploy.device.tracking.box_filter import VELOCITY, boxes_of, corrected, predicted, started
from rkdeploy.device.tracking.box_overlap import overlaps
from rkdeploy.device.tracking.measured_boxes import MeasuredBoxes

_SECOND_MATCH: Final = 0.5
_TENTATIVE_MATCH: Final = 0.7
_SAME_OBJECT: Final = 0.85
"""Overlap of a tracked and a lost track above which they are one object."""
_TOLERANCE_S: Final = 1e-6
_TENTATIVE: Final = 0
_TRACKED: Final = 1
_LOST: Final = 2


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """Settings of a tracker.  The defaults are those of ultralytics' bytetrack.yaml (8.4) at 30 frames per second.

    Attributes:
        match: largest cost, 1 - overlap * score, at which a track is assigned to a detection with a high score.
        lost_s: seconds after its last detection in which a lost track can be found again.
        frame_rate: steps of the filter per second: the rate for which its noise is right.
        per_class: whether a track is assigned to detections of its own class only.
    """

    match: float = 0.8
    lost_s: float = 1.0
    frame_rate: float = 30.0
    per_class: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class TrackedDetections:
    """The tracks of one frame.

    Attributes:
        ids: (N,) int32, the id of each detection's track, from 1; 0 for those without.
        ended: ids of tracks that were forgotten in this frame.
    """

    ids: NDArray[np.int32]
    ended: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Tracks:
    """The tracks, one row each.

    Attributes:
        filters: (T, 5, 4) float64, see `box_filter`.
        angles: (T,) float64 radians, of the last detection; 0 for upright boxes.
        ids: (T,) int32, 0 for tentative ones.
        class_ids: (T,) int32; 0 where all classes are tracked together.
        states: (T,) int8, `_TENTATIVE`, `_TRACKED` or `_LOST`.
        first_s, seen_s: (T,) float64, times of the first and the last detection.
        detections: (T,) intp, detection of this frame, -1 for none.
    """

    filters: NDArray[np.float64]
    angles: NDArray[np.float64]
    ids: NDArray[np.int32]
    class_ids: NDArray[np.int32]
    states: NDArray[np.int8]
    first_s: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    detections: NDArray[np.intp]

    @classmethod
    def new(cls, found: MeasuredBoxes, rows: NDArray[np.intp], time_s: float) -> _Tracks:
        """Tentative tracks of detections that no track was assigned to."""
        count = len(rows)
        times = np.full(count, time_s)
        return cls(
            started(found.xyah[rows]), found.angles[rows], np.zeros(count, np.int32), found.class_ids[rows],
            np.full(count, _TENTATIVE, np.int8), times, times, rows,
        )  # fmt: skip

    def take(self, kept: NDArray[np.bool_]) -> _Tracks:
        """The tracks for which `kept`, (T,), is True."""
        if kept.all():
            return self
        return _Tracks(
            self.filters[kept], self.angles[kept], self.ids[kept], self.class_ids[kept], self.states[kept],
            self.first_s[kept], self.seen_s[kept], self.detections[kept],
        )  # fmt: skip

    def joined(self, other: _Tracks) -> _Tracks:
        """These, then the others."""
        if not len(other.ids):
            return self
        return _Tracks(
            np.concatenate((self.filters, other.filters)), np.concatenate((self.angles, other.angles)),
            np.concatenate((self.ids, other.ids)), np.concatenate((self.class_ids, other.class_ids)),
            np.concatenate((self.states, other.states)), np.concatenate((self.first_s, other.first_s)),
            np.concatenate((self.seen_s, other.seen_s)), np.concatenate((self.detections, other.detections)),
        )  # fmt: skip

    def boxes(self, *, rotated: bool) -> NDArray[np.float64]:
        """Boxes of the filters, (T, 4) center x, center y, width, height in pixels, or (T, 5) with the angle."""
        boxes = boxes_of(self.filters)
        return np.column_stack((boxes, self.angles)) if rotated else boxes


class ByteTracker:
    """A tracker of one stream.

    Args:
        settings: see `TrackerSettings`.
    """

    def __init__(self, settings: TrackerSettings | None = None) -> None:
        self._settings = settings or TrackerSettings()
        self._tracks = _Tracks.new(MeasuredBoxes.none(), np.zeros(0, np.intp), 0.0)
        self._rotated = False
        self._time_s: float | None = None
        self._last_id = 0

    def update(self, found: MeasuredBoxes, time_s: float) -> TrackedDetections:
        """Take the detections of the next frame.

        Args:
            found: with high and low scores.
            time_s: of the frame, later than that of the one before.

        Returns:
            The tracks of the detections.

        Raises:
            ValueError: for a time that is not later.
        """
        first = self._time_s is None
        passed_s = 0.0 if self._time_s is None else time_s - self._time_s
        if not first and not passed_s > 0:
            raise ValueError(f"The frame is at {time_s} s, expected a time after {self._time_s} s.")
        self._time_s = time_s
        if not self._settings.per_class:
            found = found.of_one_class()
        self._rotated |= found.rotated
        before = self._tracks
        tracks = before.take(before.seen_s >= time_s - self._settings.lost_s - _TOLERANCE_S)
        tracks = self._moved(tracks, passed_s)
        tracks, left = self._assigned(tracks, found, time_s)
        born = _Tracks.new(found, left, time_s)
        if first:
            born = self._confirmed(born, np.ones(len(left), np.bool_))
        tracks = _without_duplicates(tracks.joined(born), rotated=self._rotated)
        self._tracks = tracks
        ids = np.zeros(len(found), np.int32)
        seen = (tracks.detections >= 0) & (tracks.states == _TRACKED)
        ids[tracks.detections[seen]] = tracks.ids[seen]
        ended = set(before.ids.tolist()).difference(tracks.ids.tolist(), (0,))
        return TrackedDetections(ids, tuple(sorted(ended)))

    def __len__(self) -> int:
        """Number of tracks, tentative and lost ones included."""
        return len(self._tracks.ids)

    def boxes(self) -> dict[int, tuple[float, float, float, float]]:
        """The filtered boxes of the tracks that were seen in the last frame: id to x1, y1, x2, y2 in pixels.

        Of rotated boxes the sides, not turned.
        """
        tracks = self._tracks.take((self._tracks.states == _TRACKED) & (self._tracks.detections >= 0))
        boxes = boxes_of(tracks.filters)
        corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), axis=1)
        return {
            number: (x1, y1, x2, y2)
            for number, (x1, y1, x2, y2) in zip(tracks.ids.tolist(), corners.tolist(), strict=True)
        }

    def _moved(self, tracks: _Tracks, passed_s: float) -> _Tracks:
        """The tracks at the time of the new frame.  The height of a lost one stays; tentative ones stand still."""
        confirmed = tracks.states != _TENTATIVE
        filters = tracks.filters.copy()
        filters[tracks.states == _LOST, VELOCITY, 3] = 0.0
        if passed_s > 0:
            filters[confirmed] = predicted(filters[confirmed], passed_s * self._settings.frame_rate)
        return replace(tracks, filters=filters, detections=np.full(len(tracks.ids), -1, np.intp))

    def _assigned(self, tracks: _Tracks, found: MeasuredBoxes, time_s: float) -> tuple[_Tracks, NDArray[np.intp]]:
        """The three assignments.

        Returns:
            The tracks with their detections, tentative ones without a detection left out; and the detections with high
            scores that no track was assigned to.
        """
        high = found.high.nonzero()[0]
        boxes = tracks.boxes(rotated=found.rotated)
        pool = (tracks.states != _TENTATIVE).nonzero()[0]
        tracks, high = _paired(tracks, boxes, pool, found, high, self._settings.match, time_s, fused=True)
        rest = ((tracks.states == _TRACKED) & (tracks.detections < 0)).nonzero()[0]
        tracks, _ = _paired(tracks, boxes, rest, found, found.low.nonzero()[0], _SECOND_MATCH, time_s, fused=False)
        tentative = (tracks.states == _TENTATIVE).nonzero()[0]
        tracks, high = _paired(tracks, boxes, tentative, found, high, _TENTATIVE_MATCH, time_s, fused=True)
        seen = tracks.detections >= 0
        tracks = tracks.take(seen | (tracks.states != _TENTATIVE))
        seen = tracks.detections >= 0
        tracks = self._confirmed(tracks, seen & (tracks.ids == 0))
        return replace(tracks, states=np.where(seen, _TRACKED, _LOST).astype(np.int8)), high

    def _confirmed(self, tracks: _Tracks, new: NDArray[np.bool_]) -> _Tracks:
        """The tracks, those of `new` with ids."""
        count = int(new.sum())
        ids, states = tracks.ids.copy(), tracks.states.copy()
        ids[new] = np.arange(self._last_id + 1, self._last_id + 1 + count)
        states[new] = _TRACKED
        self._last_id += count
        return replace(tracks, ids=ids, states=states)


def _paired(
    tracks: _Tracks,
    boxes: NDArray[np.float64],
    rows: NDArray[np.intp],
    found: MeasuredBoxes,
    candidates: NDArray[np.intp],
    limit: float,
    time_s: float,
    *,
    fused: bool,
) -> tuple[_Tracks, NDArray[np.intp]]:
    """One assignment of some tracks to some detections.

    Args:
        tracks: all of them.
        boxes: of the tracks, predicted.
        rows: the tracks to assign.
        found: all detections.
        candidates: the detections to assign.
        limit: largest cost of a pair.
        time_s: of the frame.
        fused: whether overlaps are multiplied by scores.

    Returns:
        The tracks, corrected by their detections; and the candidates that are left.
    """
    if not len(rows) or not len(candidates):
        return tracks, candidates
    similar = overlaps(boxes[rows], found.boxes[candidates])
    if fused:
        similar *= found.scores[candidates]
    similar[tracks.class_ids[rows][:, None] != found.class_ids[candidates]] = 0.0
    which, taken = best_pairs(similar - (1 - limit))
    if not len(which):
        return tracks, candidates
    matched, detections = rows[which], candidates[taken]
    filters, angles, seen_s = tracks.filters.copy(), tracks.angles.copy(), tracks.seen_s.copy()
    filters[matched] = corrected(filters[matched], found.xyah[detections])
    turns = np.round((found.angles[detections] - angles[matched]) / np.pi)
    angles[matched] = found.angles[detections] - np.pi * turns
    seen_s[matched] = time_s
    owned = tracks.detections.copy()
    owned[matched] = detections
    left = np.delete(candidates, taken)
    return replace(tracks, filters=filters, angles=angles, seen_s=seen_s, detections=owned), left


def _without_duplicates(tracks: _Tracks, *, rotated: bool) -> _Tracks:
    """Of a tracked and a lost track at nearly the same place, the one that was followed for longer."""
    lost = (tracks.states == _LOST).nonzero()[0]
    if not len(lost):
        return tracks
    seen = (tracks.states != _LOST).nonzero()[0]
    boxes = tracks.boxes(rotated=rotated)
    same = overlaps(boxes[seen], boxes[lost]) > _SAME_OBJECT
    same &= tracks.class_ids[seen][:, None] == tracks.class_ids[lost]
    if not same.any():
        return tracks
    lives_s = tracks.seen_s - tracks.first_s
    longer = lives_s[seen][:, None] > lives_s[lost] + _TOLERANCE_S
    stays = np.ones(len(tracks.ids), np.bool_)
    stays[lost[(same & longer).any(axis=0)]] = False
    stays[seen[(same & ~longer).any(axis=1)]] = False
    return tracks.take(stays)
