"""Tracking of a run, as its options ask for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rkdeploy.device.tracking.area_file import read_areas
from rkdeploy.device.tracking.areas import line_from_text, require_names_once, zone_from_text
from rkdeploy.device.tracking.byte_tracker import TrackerSettings
from rkdeploy.device.tracking.stream_tracker import TrackingSettings
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.chain.recognizer import Recognizer
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.tracking.tracking_options import TrackingOptions

_WITHOUT_OBJECTS: Final = frozenset({"classify", "semantic", "depth", "text", "embedding"})
_NEVER: Final = 1.0
"""A threshold that no score exceeds: the class is not wanted."""


def tracking_of(
    options: TrackingOptions, spec: ModelSpec, thresholds: Thresholds, sources: Sequence[str]
) -> TrackingSettings | None:
    """Settings of what a run tracks; None where it tracks nothing.

    Args:
        options: of the run.
        spec: contract of the model that finds the objects.
        thresholds: of the detections to keep.
        sources: names of the streams.

    Raises:
        RkdeployError: for a model that finds no objects, and for lines and zones that are none, or of no stream.
    """
    if not options.wanted:
        return None
    require_objects(spec)
    areas = (
        *map(line_from_text, options.lines),
        *map(zone_from_text, options.zones),
        *(() if options.areas is None else read_areas(options.areas)),
    )
    require_names_once(areas)
    strange = next((area for area in areas if area.source and area.source not in sources), None)
    if strange is not None:
        raise RkdeployError(
            f'"{strange.name}" of "{options.areas}" is of the stream "{strange.source}", which is not among those of '
            f"the run: {', '.join(sources)}."
        )
    high = thresholds.of_classes(len(spec.class_names))
    settings = TrackerSettings(lost_s=options.lost_s, per_class=options.per_class)
    return TrackingSettings(high, options.low, settings, areas, options.anchor)


def require_objects(spec: ModelSpec) -> None:
    """Check that a model finds objects, which can be tracked.

    Raises:
        RkdeployError: when it finds none.
    """
    if spec.task in _WITHOUT_OBJECTS:
        raise RkdeployError(
            f'Tracking follows objects, and this model does "{spec.task}": it finds none.', "Run it without tracking."
        )


def of_results(recognizers: Sequence[Recognizer], tracking: TrackingSettings | None) -> list[Recognizer]:
    """Further models of a chain that look at detections above their thresholds only, not at those below in tracks."""
    if tracking is None:
        return list(recognizers)
    above = tuple(tracking.high.tolist())
    return [replace(one, rule=replace(one.rule, above=above)) for one in recognizers]


def with_low_scores(thresholds: Thresholds, low: float) -> Thresholds:
    """Thresholds that also keep the detections that continue tracks; classes that are not wanted stay out."""
    of_classes = {i: value if value >= _NEVER else min(value, low) for i, value in thresholds.per_class.items()}
    overall = thresholds.confidence
    return replace(thresholds, confidence=overall if overall >= _NEVER else min(overall, low), per_class=of_classes)
