"""The objects that begin an event, by their classes, zones and stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.tracking.areas import Area


@dataclass(frozen=True, slots=True)
class EventObject:
    """An object of an event.

    Attributes:
        class_id: of the object.
        confidence: of the object.
        zones: those of the rule that it is in.
    """

    class_id: int
    confidence: float
    zones: frozenset[str]


@dataclass(frozen=True, slots=True)
class EventRule:
    """When a clip is recorded.

    Attributes:
        class_ids: of the objects that begin an event, and prolong it.
        before_s, after_s: seconds before the first object and after the last one.
        zones: names of zones; an object must be in one of them.  Empty for objects anywhere.
        stay_s: seconds that it must have been there.
    """

    class_ids: frozenset[int]
    before_s: float
    after_s: float
    zones: frozenset[str] = frozenset()
    stay_s: float = 0.0

    def best(self, detections: Detections) -> EventObject | None:
        """The object with the highest score of those that an event is about; None without one."""
        scores = detections.scores.tolist()
        found = [
            EventObject(class_id, scores[row], self._zones_of(detections, row))
            for row, class_id in enumerate(detections.class_ids.tolist())
            if class_id in self.class_ids
        ]
        chosen = [one for one in found if one.zones or not self.zones]
        return max(chosen, key=lambda one: one.confidence, default=None)

    def _zones_of(self, detections: Detections, row: int) -> frozenset[str]:
        """The zones of the rule in which an object has been for long enough."""
        if not self.zones or detections.tracks is None:
            return frozenset()
        stays: Mapping[str, float] = detections.tracks.stays[row]
        return frozenset(name for name, seconds in stays.items() if name in self.zones and seconds >= self.stay_s)


def require_zones(names: Sequence[str], areas: Iterable[Area]) -> None:
    """Check that the zones of events exist.

    Raises:
        RkdeployError: naming the first one that does not.
    """
    known = {area.name for area in areas if not area.is_line}
    strange = next((name for name in names if name not in known), None)
    if strange is not None:
        raise RkdeployError(
            f'Zone "{strange}" of --event-zone does not exist, expected one of: {", ".join(sorted(known)) or "none"}.',
            "Zones are given by --zone NAME:X,Y,X,Y,X,Y,... or by --areas FILE.",
        )
