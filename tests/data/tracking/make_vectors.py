"""Record what two implementations of ByteTrack say to the same detections.

    python tests/data/tracking/make_vectors.py BYTETRACK

Needs numpy, scipy, lap, ultralytics 8.4, and a checkout of github.com/ifzhang/ByteTrack (commit d1bf019) as BYTETRACK.
Two things that the checkout needs are stood in for: `np.float`, which NumPy has no more, and `cython_bbox`, whose
boxes are a pixel wider and higher than their coordinates say: here an overlap is that of the coordinates.

The detections are simulated: objects that move on straight lines through each other, with noise, misses of up to 36
frames, false and double ones, and low scores where one object covers another.  No object comes back 32 frames after
it was seen, two after the buffer: both implementations find it then although they have just removed it, and drop it
when it is next lost.  Coordinates are multiples of 1/8 px, so that float32 holds them.
Scores of 0.5 to 0.6 do not occur: the original begins tracks above 0.6 where its first assignment takes 0.5.

Both know no classes: `apart` has the answers of one tracker per class, `together` those of one for all of them.
"""

from __future__ import annotations

import importlib
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

FRAME_RATE = 30
HIGH, LOW, MATCH, BUFFER = 0.5, 0.1, 0.8, 30
WIDTH, HEIGHT = 1280, 720
HERE = Path(__file__).parent


def scene(seed: int, objects: int, classes: int, frames: int) -> list[dict[str, Any]]:
    """Detections of each frame: xyxy, scores, class_ids."""
    random = np.random.RandomState(seed)
    size = random.uniform((40, 60), (110, 200), (objects, 2))
    start = random.uniform((0, 100), (WIDTH, HEIGHT - 100), (objects, 2))
    speed = random.uniform(-6, 6, (objects, 2)) * (1.0, 0.4)
    born = random.randint(0, frames // 3, objects) * (np.arange(objects) > objects // 2)
    of_class = np.arange(objects) % classes
    if classes > 1:  # pairs of two classes that go together
        start[1::2], speed[1::2], size[1::2] = start[::2] + 3, speed[::2], size[::2]
    depth = random.permutation(objects)
    found = []
    for number in range(frames):
        center = start + speed * number
        boxes = np.concatenate((center - size / 2, center + size / 2), axis=1)
        rows = []
        for i in np.flatnonzero(born <= number):
            hidden = max((covered(boxes[i], boxes[j]) for j in range(objects) if depth[j] < depth[i]), default=0.0)
            score = random.uniform(0.62, 0.95) if hidden < 0.3 else random.uniform(0.12, 0.48)
            away = range(20, 20 + (0, 4, 12, 29, 30, 36)[i % 6])
            if hidden > 0.8 or random.uniform() < 0.04 or (number + 7 * i) % 60 in away:
                continue
            noise = random.normal(0, random.choice((0.01, 0.01, 0.06)) * size[i].mean(), 4)
            rows.append((*(boxes[i] + noise), score, of_class[i]))
            if random.uniform() < 0.06:  # a second box of the same object
                rows.append((*(boxes[i] + noise[::-1] / 2), random.uniform(0.62, 0.8), of_class[i]))
        if random.uniform() < 0.25:
            x, y = random.uniform((0, 0), (WIDTH - 80, HEIGHT - 120))
            rows.append((x, y, x + 60, y + 100, random.choice((0.3, 0.7)), random.randint(classes)))
        table = np.array(rows).reshape(-1, 6)
        found.append(
            {
                "xyxy": (np.round(table[:, :4] * 8) / 8).tolist(),
                "scores": np.round(table[:, 4], 3).tolist(),
                "class_ids": table[:, 5].astype(int).tolist(),
            }
        )
    return found


def covered(box: Any, other: Any) -> float:
    """Share of a box that another one covers."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return float(np.maximum(sides, 0).prod() / (box[2:] - box[:2]).prod())


def overlaps(boxes: Any, others: Any) -> Any:
    """Intersection over union of all pairs."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    common = np.maximum(sides, 0).prod(axis=2)
    areas, other_areas = ((b[:, 2:] - b[:, :2]).prod(axis=1) for b in (boxes, others))
    return common / (areas[:, None] + other_areas - common)


def original(checkout: Path) -> Any:
    """The module of the original tracker."""
    np.float = float  # type: ignore[attr-defined]  # noqa: NPY001 - the name that NumPy had
    boxes = types.ModuleType("cython_bbox")
    boxes.bbox_overlaps = overlaps  # type: ignore[attr-defined]
    sys.modules["cython_bbox"] = boxes
    for name in ("yolox", "yolox.tracker"):
        package = types.ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package
    return importlib.import_module("yolox.tracker.byte_tracker")


def by_original(module: Any, frames: list[dict[str, Any]], classes: int) -> list[list[list[float]]]:
    """Tracks of each frame, each its class, id and filtered box; 0 `classes` for one tracker of all, of class 0."""
    args = types.SimpleNamespace(track_thresh=HIGH, track_buffer=BUFFER, match_thresh=MATCH, mot20=False)
    trackers = [module.BYTETracker(args, FRAME_RATE) for _ in range(max(1, classes))]
    answers = []
    for frame in frames:
        xyxy, scores, ids = (np.array(frame[name]) for name in ("xyxy", "scores", "class_ids"))
        rows = np.column_stack((xyxy.reshape(-1, 4), scores))
        tracks = []
        for class_id, tracker in enumerate(trackers):
            updated = tracker.update(rows[ids * bool(classes) == class_id], (HEIGHT, WIDTH), (HEIGHT, WIDTH))
            tracks += [[class_id, track.track_id, *track.tlbr.tolist()] for track in updated]
        answers.append(tracks)
    return answers


def by_ultralytics(frames: list[dict[str, Any]], classes: int) -> list[list[list[float]]]:
    """Tracks of each frame, each its class, id and filtered box; 0 `classes` for one tracker of all, of class 0."""
    from ultralytics.engine.results import Boxes
    from ultralytics.trackers.byte_tracker import BYTETracker

    args = types.SimpleNamespace(
        track_high_thresh=HIGH, track_low_thresh=LOW, new_track_thresh=HIGH, track_buffer=BUFFER,
        match_thresh=MATCH, fuse_score=True,
    )  # fmt: skip
    trackers = [BYTETracker(args) for _ in range(max(1, classes))]
    answers = []
    for frame in frames:
        xyxy, scores, ids = (np.array(frame[name], np.float32) for name in ("xyxy", "scores", "class_ids"))
        rows = np.column_stack((xyxy.reshape(-1, 4), scores, ids)).astype(np.float32)
        tracks = []
        for class_id, tracker in enumerate(trackers):
            updated = tracker.update(Boxes(rows[ids * bool(classes) == class_id], (HEIGHT, WIDTH))).tolist()
            tracks += [[class_id, int(row[4]), *row[:4]] for row in updated]
        answers.append(tracks)
    return answers


def main(checkout: Path) -> None:
    """Write `byte_track.json`."""
    module = original(checkout)
    scenes = []
    for seed, objects, classes, frames in ((1, 6, 1, 100), (2, 12, 1, 75), (3, 12, 3, 75)):
        found = scene(seed, objects, classes, frames)
        answers = {
            name: {
                "original": rounded(by_original(module, found, trackers), 8),
                "ultralytics": rounded(by_ultralytics(found, trackers), 4),
            }
            for name, trackers in (("apart", classes), ("together", 0))
            if name == "apart" or classes > 1
        }
        scenes.append({"frames": found, **answers})
    settings = {"frame_rate": FRAME_RATE, "high": HIGH, "low": LOW, "match": MATCH, "buffer": BUFFER}
    text = json.dumps({"settings": settings, "scenes": scenes}, separators=(",", ":"))
    (HERE / "byte_track.json").write_text(text + "\n")


def rounded(frames: list[list[list[float]]], digits: int) -> list[list[list[float]]]:
    """The boxes with so many decimals."""
    return [[[*row[:2], *(round(value, digits) for value in row[2:])] for row in frame] for frame in frames]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
