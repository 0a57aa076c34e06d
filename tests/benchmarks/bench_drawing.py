"""Duration of drawing: one picture per task, 20 objects of 100 x 200 to 300 x 500 pixels in 1920 x 1080.

    python -m tests.benchmarks.bench_drawing

Prints a table: median and least processor time of 60 pictures in ms, with OpenCV in one thread, and of the JSON line
with its length.  `copy` is the time of the picture's own copy, which is part of all others.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rkdeploy.device.drawing import draw_detections
from rkdeploy.device.postprocess.detections import Detections, FoundClassMap, InstanceMask, Ranking
from rkdeploy.device.stream.frames import Frame
from rkdeploy.device.stream.sinks.jsonl import jsonl_line

HEIGHT, WIDTH, OBJECTS, PICTURES = 1080, 1920, 20, 60
NAMES = tuple(f"class {i}" for i in range(80))


def boxes(random: np.random.Generator) -> Detections:
    size = random.uniform((100, 200), (300, 500), (OBJECTS, 2))
    left_top = random.uniform((0, 0), (WIDTH, HEIGHT) - size)
    xyxy = np.hstack((left_top, left_top + size)).astype(np.float32)
    scores = np.sort(random.uniform(0.25, 1, OBJECTS))[::-1].astype(np.float32)
    return Detections(xyxy, scores, random.integers(0, 80, OBJECTS).astype(np.int32))


PERSON = np.array(
    [(50, 10), (55, 7), (45, 7), (60, 9), (40, 9), (70, 22), (30, 22), (85, 38), (15, 38), (95, 52), (5, 52), (62, 52),
     (38, 52), (64, 74), (36, 74), (66, 96), (34, 96)]
)  # fmt: skip
"""COCO's keypoints of a standing person, in percent of the box."""
NINE = np.array([(x, y) for y in (10, 50, 90) for x in (10, 50, 90)])


def keypoints(found: Detections, percent: NDArray[Any]) -> NDArray[np.float32]:
    low, size = found.xyxy[:, None, :2], found.xyxy[:, None, 2:] - found.xyxy[:, None, :2]
    xy = low + size * percent / 100
    return np.asarray(np.concatenate((xy, np.ones((*xy.shape[:2], 1))), axis=2), np.float32)


def mask(box: NDArray[np.float32]) -> InstanceMask:
    x1, y1, x2, y2 = box.astype(int).tolist()
    pixels = np.zeros((y2 - y1, x2 - x1), np.uint8)
    cv2.ellipse(pixels, ((x2 - x1) // 2, (y2 - y1) // 2), ((x2 - x1) // 2, (y2 - y1) // 2), 0, 0, 360, (1,), -1)
    return InstanceMask(x1, y1, pixels.view(np.bool_))


def road() -> tuple[FoundClassMap, ...]:
    area, lanes = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(area, [np.array([(700, 500), (1200, 500), (1900, 1000), (100, 1000)])], (1,))
    for x in (100, 700, 1300, 1900):
        cv2.line(lanes, (950, 500), (x, 1000), (1,), 12)
    return (
        FoundClassMap("drivable_area", ("background", "drivable"), area),
        FoundClassMap("lane_line", ("background", "lane line"), lanes),
    )


def scene() -> tuple[FoundClassMap, ...]:
    class_ids = np.zeros((9, 16), np.uint8)
    class_ids[:] = np.random.default_rng(1).integers(0, 19, class_ids.shape)
    names = ("background", *(f"thing {i}" for i in range(18)))
    large = cv2.resize(class_ids, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    return (FoundClassMap("scene", names, np.asarray(large, np.uint8)),)


def cases() -> dict[str, Detections]:
    random = np.random.default_rng(0)
    found = boxes(random)
    plain = found.xyxy, found.scores, found.class_ids
    half = (found.xyxy[:, 2:] - found.xyxy[:, :2]) / 2
    turned = np.hstack((found.xyxy[:, :2] + half, half * 1.4, random.uniform(0, np.pi, (OBJECTS, 1))))
    nothing = Detections.empty()
    top = Ranking(np.arange(5, dtype=np.int32), np.array((0.6, 0.2, 0.1, 0.06, 0.04), np.float32))
    return {
        "detect": found,
        "pose, 17 keypoints": Detections(*plain, keypoints=keypoints(found, PERSON)),
        "pose, 9 numbered keypoints": Detections(*plain, keypoints=keypoints(found, NINE)),
        "obb": Detections(*plain, rotated=turned.astype(np.float32)),
        "segment": Detections(*plain, masks=tuple(mask(box) for box in found.xyxy)),
        "drivable area and lanes": Detections(*plain, class_maps=road()),
        "a map of 18 classes": Detections(nothing.xyxy, nothing.scores, nothing.class_ids, class_maps=scene()),
        "classify": Detections(nothing.xyxy, nothing.scores, nothing.class_ids, ranking=top),
    }


def timed(action: Callable[[], object]) -> tuple[float, float]:
    action()
    times_ms: list[float] = []
    for _ in range(PICTURES):
        start = time.thread_time()
        action()
        times_ms.append((time.thread_time() - start) * 1000)
    return float(np.median(times_ms)), min(times_ms)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    cv2.setNumThreads(1)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    frame = Frame(image, "line.mp4", 0)
    print("| 1920 x 1080 | drawing: median ms | least ms | JSON: median ms | bytes |\n|---|---:|---:|---:|---:|")
    print("| copy | {:.2f} | {:.2f} | | |".format(*timed(image.copy)))
    for name, found in cases().items():
        drawing = timed(partial(draw_detections, image, found, NAMES))
        line, _ = timed(partial(jsonl_line, frame, found, NAMES))
        print(f"| {name} | {drawing[0]:.2f} | {drawing[1]:.2f} | {line:.2f} | {len(jsonl_line(frame, found, NAMES))} |")


if __name__ == "__main__":
    main()
