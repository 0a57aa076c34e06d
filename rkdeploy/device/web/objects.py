"""Words for the results of one frame, as the page shows them below its picture."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.device.postprocess.detections import Detections

_SHOWN: Final = 24
"""Texts of a frame; further classes are counted together."""


@dataclass(frozen=True, slots=True)
class PlaceCount:
    """Counts of a line or a zone up to a frame, of all classes.

    Attributes:
        name: of the line or zone.
        entered, left: number of crossings in and out.
        inside: number of tracks in a zone at this moment; None for a line.
    """

    name: str
    entered: int
    left: int
    inside: int | None = None


def places_of(detections: Detections) -> tuple[PlaceCount, ...]:
    """Counts of the lines and zones of a run that tracks; empty for others.

    Args:
        detections: of one frame.
    """
    tracks = detections.tracks
    if tracks is None:
        return ()
    lines = [PlaceCount(one.name, sum(one.entered.values()), sum(one.left.values())) for one in tracks.lines]
    zones = [
        PlaceCount(one.name, sum(one.entered.values()), sum(one.left.values()), sum(one.inside.values()))
        for one in tracks.zones
    ]
    return (*lines, *zones)


def objects_of(detections: Detections, class_names: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Texts with the number of equal objects, the most frequent first; 0 for results of the whole image.

    Args:
        detections: of one frame.
        class_names: of the contract.
    """
    counted = Counter(_name(class_names, one) for one in detections.class_ids.tolist()).most_common()
    listed = counted[:_SHOWN]
    rest = sum(count for _, count in counted[_SHOWN:])
    if rest:
        listed.append(("others", rest))
    return (*listed, *((text, 0) for text in _of_whole_image(detections, class_names)))


def _of_whole_image(detections: Detections, class_names: Sequence[str]) -> list[str]:
    texts = []
    ranking, read, match = detections.ranking, detections.text, detections.match
    if read is not None:
        texts.append(f"{read.text or '(no text)'} {read.confidence:.2f}")
    if ranking is not None and len(ranking.class_ids):
        texts.append(f"{_name(class_names, int(ranking.class_ids[0]))} {float(ranking.scores[0]):.2f}")
    if match is not None:
        texts.append(f"{match.name or 'unknown'} {match.cosine:.2f}")
    return texts


def _name(class_names: Sequence[str], class_id: int) -> str:
    return class_names[class_id] if 0 <= class_id < len(class_names) else f"#{class_id}"
