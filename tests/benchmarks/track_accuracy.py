"""Accuracy of ids and counts on the made video of `conveyor.py`, by motmetrics, next to supervision's ByteTrack.

    pip install motmetrics "supervision<0.30"
    python -m tests.benchmarks.conveyor belt.mp4
    rkdeploy run BUNDLE belt.mp4 --conf 0.1 -o belt.jsonl
    python -m tests.benchmarks.track_accuracy belt.jsonl

The trackers get the detections of the JSON lines: all frames, and half of them, chosen at random.  An object is
expected where half of it is visible; boxes of objects of which less is visible are ignored, as MOT17 does it.  A match
is an overlap of 0.5, whatever the class.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.box_overlap import overlaps
from rkdeploy.device.tracking.byte_tracker import TrackerSettings
from rkdeploy.device.tracking.stream_tracker import StreamTracker, TrackingSettings
from tests.benchmarks.conveyor import FRAME_RATE, HEIGHT, LINE, VISIBLE, WIDTH, expected_crossings, truth

HIGH: Final = 0.25
Rows = list[tuple[int, tuple[float, float, float, float]]]
Tracker = tuple[Callable[[Detections, int], Rows], Callable[[], tuple[int, int]]]
"""The tracks of a frame, and the count of crossings in and out so far."""


def read_detections(path: Path) -> list[Detections]:
    """Detections of each frame of a file of JSON lines."""
    frames = []
    for line in path.read_text().splitlines():
        found = json.loads(line)["detections"]
        frames.append(
            Detections(
                np.array([one["xyxy"] for one in found], np.float32).reshape(-1, 4),
                np.array([one["confidence"] for one in found], np.float32),
                np.array([one["class_id"] for one in found], np.int32),
            )
        )
    return frames


def by_ours(*, per_class: bool) -> Tracker:
    """The tracker of this project."""
    settings = TrackerSettings(per_class=per_class)
    gate = (Area("gate", LINE),)
    tracker = StreamTracker("belt", TrackingSettings(np.full(3, HIGH, np.float32), tracker=settings, areas=gate))

    def track(found: Detections, frame: int) -> Rows:
        tracked = tracker.track(found, (HEIGHT, WIDTH), frame / FRAME_RATE)
        assert tracked.tracks is not None
        rows = zip(tracked.tracks.ids.tolist(), tracked.xyxy.tolist(), strict=True)
        return [(one, tuple(box)) for one, box in rows if one]

    def crossings() -> tuple[int, int]:
        line = tracker.counts().lines[0]
        return sum(line.entered.values()), sum(line.left.values())

    return track, crossings


def by_supervision() -> Tracker:
    """Its tracker with the same thresholds, and its line, which looks at the centers too."""
    import supervision as sv

    tracker = sv.ByteTrack(track_activation_threshold=HIGH)
    line = sv.LineZone(sv.Point(*LINE[0]), sv.Point(*LINE[1]), triggering_anchors=[sv.Position.CENTER])

    def track(found: Detections, _: int) -> Rows:
        given = sv.Detections(xyxy=found.xyxy, confidence=found.scores, class_id=found.class_ids)
        tracked = tracker.update_with_detections(given)
        line.trigger(tracked)
        ids: Any = [] if tracked.tracker_id is None else tracked.tracker_id.tolist()
        return [(one, tuple(box)) for one, box in zip(ids, tracked.xyxy.tolist(), strict=True)]

    return track, lambda: (line.out_count, line.in_count)  # its sides are the other way round


def centers(boxes: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Boxes x1, y1, x2, y2 as center and size, (N, 4)."""
    corners = np.array(boxes, np.float64).reshape(-1, 4)
    return np.concatenate(((corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]), axis=1)


def accumulate(accumulator: Any, frame: int, tracked: Rows) -> None:
    """Compare the tracks of a frame with the truth."""
    seen = truth(frame)
    expected = [one for one in seen if one.visible >= VISIBLE]
    ignored = [one for one in seen if one.visible < VISIBLE]
    boxes = centers([box for _, box in tracked])
    common = overlaps(centers([one.xyxy for one in expected]), boxes)
    with_ignored = overlaps(centers([one.xyxy for one in ignored]), boxes)
    counted = (common.max(axis=0, initial=0) >= 0.5) | (with_ignored.max(axis=0, initial=0) < 0.2)
    costs = np.where(common >= 0.5, 1 - common, np.nan)[:, counted]
    ids = [one for (one, _), counts in zip(tracked, counted.tolist(), strict=True) if counts]
    accumulator.update([one.number for one in expected], ids, costs, frameid=frame)


TRACKERS: Final[dict[str, Callable[[], Tracker]]] = {
    "rkdeploy": partial(by_ours, per_class=False),
    "rkdeploy, each class by itself": partial(by_ours, per_class=True),
    "supervision": by_supervision,
}


def main(path: Path) -> None:
    """Print a row for each tracker and share of frames."""
    motmetrics: Any = importlib.import_module("motmetrics")  # not among the development packages

    frames = read_detections(path)
    half = np.random.default_rng(4).uniform(size=len(frames)) < 0.5
    wanted = ["mota", "idf1", "num_switches", "num_fragmentations", "num_misses", "num_false_positives"]
    print(f"expected crossings: in {expected_crossings()[0]}, out {expected_crossings()[1]}")
    for share, kept in (("all frames", np.ones(len(frames), np.bool_)), ("half of them", half)):
        for name, make in TRACKERS.items():
            track, crossings = make()
            accumulator = motmetrics.MOTAccumulator()
            for frame in np.flatnonzero(kept).tolist():
                accumulate(accumulator, frame, track(frames[frame], frame))
            row = motmetrics.metrics.create().compute(accumulator, metrics=wanted, name=name).iloc[0]
            values = ", ".join(f"{metric} {row[metric]:.3f}".replace(".000", "") for metric in wanted)
            entered, left = crossings()
            print(f"{share}, {name}: {values}; crossings in {entered}, out {left}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
