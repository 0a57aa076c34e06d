"""The class of each track: the one with the largest sum of scores over all of its detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping


class ClassVotes:
    """Votes of the detections of one stream's tracks."""

    def __init__(self) -> None:
        self._sums: dict[int, dict[int, float]] = {}
        self._classes: dict[int, int] = {}
        self._counts: Counter[int] = Counter()

    def add(self, votes: Iterable[tuple[int, int, float]]) -> None:
        """Add the detections of a frame: id of the track, class id and score of each."""
        for track_id, class_id, score in votes:
            sums = self._sums.setdefault(track_id, {})
            sums[class_id] = sums.get(class_id, 0.0) + score
            before = self._classes.get(track_id)
            if before is None:
                self._classes[track_id] = class_id
                self._counts[class_id] += 1
            elif sums[class_id] > sums[before]:
                self._classes[track_id] = class_id
                self._counts[class_id] += 1
                self._counts[before] -= 1

    def class_of(self, track_id: int) -> int:
        """The class id of a track that has votes; of two with equal sums the one that was ahead before."""
        return self._classes[track_id]

    def counts(self) -> Mapping[int, int]:
        """Number of tracks so far by class id, those that have ended included."""
        return dict(+self._counts)

    def forget(self, track_ids: Iterable[int]) -> None:
        """Forget tracks that have ended; they stay counted."""
        for track_id in track_ids:
            self._sums.pop(track_id, None)
            self._classes.pop(track_id, None)
