"""Time of the tracker per frame, next to supervision's and ultralytics' ByteTrack, and its memory over 20,000 frames.

    python -m tests.benchmarks.bench_tracking

Fifty objects move through a picture of 1920 x 1080, with noise, misses and low scores.  All trackers that are installed
get the same frames in turn; the figures are medians of one run.  The time of detections is not in it.
"""

from __future__ import annotations

import importlib
import resource
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np

from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.tracking.areas import Area
from rkdeploy.device.tracking.byte_tracker import ByteTracker
from rkdeploy.device.tracking.measured_boxes import MeasuredBoxes
from rkdeploy.device.tracking.stream_tracker import StreamTracker, TrackingSettings

OBJECTS: Final = 50
HW: Final = (1080, 1920)
FRAMES: Final = 600
LONG: Final = 20_000
AREAS: Final = (
    Area("gate", ((0.5, 1.0), (0.5, 0.0))),
    Area("hall", ((0.1, 0.1), (0.4, 0.1), (0.4, 0.9), (0.1, 0.9))),
)


def frames(count: int) -> Iterator[Detections]:
    """Detections of moving objects of one class, which bounce off the edges; one in 40 is replaced by a new one."""
    random = np.random.default_rng(3)
    place = random.uniform((100, 100), (1820, 980), (OBJECTS, 2))
    speed = random.uniform(-5, 5, (OBJECTS, 2))
    size = random.uniform((40, 60), (90, 160), (OBJECTS, 2))
    for number in range(count):
        place = place + speed
        speed = np.where((place < 60) | (place > (1860, 1020)), -speed, speed)
        if number % 40 == 39:
            place[number // 40 % OBJECTS] = random.uniform((100, 100), (1820, 980))
        boxes = np.concatenate((place - size / 2, place + size / 2), axis=1) + random.normal(0, 1, (OBJECTS, 4))
        scores = np.where(random.uniform(size=OBJECTS) < 0.1, 0.2, random.uniform(0.5, 0.95, OBJECTS))
        seen = random.uniform(size=OBJECTS) > 0.03
        ids = np.zeros(int(seen.sum()), np.int32)
        yield Detections(boxes[seen].astype(np.float32), scores[seen].astype(np.float32), ids)


def ours(areas: tuple[Area, ...] = ()) -> Callable[[Detections, int], object]:
    """Ids, trails and counts, as `rkdeploy run` makes them."""
    tracker = StreamTracker("bench", TrackingSettings(np.full(1, 0.25, np.float32), areas=areas))
    return lambda found, number: tracker.track(found, HW, number / 30)


def ids_alone() -> Callable[[Detections, int], object]:
    """Ids without trails and counts."""
    tracker, high = ByteTracker(), np.full(1, 0.25, np.float32)
    return lambda found, number: tracker.update(MeasuredBoxes.of(found, high, 0.1), number / 30)


def by_supervision() -> Callable[[Detections, int], object]:
    """Its ids alone."""
    import supervision as sv

    tracker = sv.ByteTrack()
    return lambda found, _: tracker.update_with_detections(
        sv.Detections(xyxy=found.xyxy, confidence=found.scores, class_id=found.class_ids)
    )


def by_ultralytics() -> Callable[[Detections, int], object]:
    """Its ids alone."""
    boxes: Any = importlib.import_module("ultralytics.engine.results")  # not among the development packages
    module: Any = importlib.import_module("ultralytics.trackers.byte_tracker")
    args = SimpleNamespace(
        track_high_thresh=0.25, track_low_thresh=0.1, new_track_thresh=0.25, track_buffer=30, match_thresh=0.8,
        fuse_score=True,
    )  # fmt: skip
    tracker = module.BYTETracker(args)

    def track(found: Detections, _: int) -> Any:
        rows = np.column_stack((found.xyxy, found.scores, found.class_ids)).astype(np.float32)
        return tracker.update(boxes.Boxes(rows, HW))

    return track


def compare_times() -> None:
    """Print the median time per frame of each tracker."""
    made: dict[str, Callable[[], Callable[[Detections, int], object]]] = {
        "ids": ids_alone,
        "with trails": ours,
        "with a line and a zone": lambda: ours(AREAS),
    }
    made |= {"supervision": by_supervision} if find_spec("supervision") else {}
    made |= {"ultralytics": by_ultralytics} if find_spec("ultralytics") else {}
    trackers = {name: make() for name, make in made.items()}
    times: dict[str, list[float]] = {name: [] for name in trackers}
    for number, found in enumerate(frames(FRAMES)):
        for name, track in trackers.items():
            begun = time.perf_counter()
            track(found, number)
            times[name].append(time.perf_counter() - begun)
    medians = {name: float(np.median(values[FRAMES // 10 :])) for name, values in times.items()}
    for name, median in medians.items():
        print(f"{name}: {median * 1e3:.2f} ms per frame, {median / medians['ids']:.1f} times the first")


def measure_memory() -> None:
    """Print how much the process grows in the second half of the frames."""
    track, at_half = ours(AREAS), 0
    for number, found in enumerate(frames(LONG)):
        track(found, number)
        if number == LONG // 2:
            at_half = resident_bytes()
    grown = resident_bytes() - at_half
    print(f"{LONG} frames: {grown / 1024:.0f} KiB in the second half, {grown / (LONG / 2):.1f} bytes per frame")


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    compare_times()
    measure_memory()
