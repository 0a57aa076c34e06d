"""A made video with known answers: fasteners of the sample set that move along a belt, under a bridge, across a line.

Twenty objects enter one after the other on five belts, three of which go to the right and two to the left.  The
nuts and washers of the upper two lanes go under a bridge that hides them, twice the light goes out for 12 frames, one
object stands trembling on the line for two seconds, and each crosses the line once.  All comes from a seeded generator.

    python -m tests.benchmarks.conveyor OUT.mp4
"""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

WIDTH: Final = 640
HEIGHT: Final = 480
FRAMES: Final = 420
FRAME_RATE: Final = 30
BRIDGE: Final = (200, 0, 270, 200)
"""The part that the bridge hides: x1, y1, x2, y2."""
DARK: Final = (range(150, 162), range(260, 272))
"""Frames without light."""
LINE: Final = ((430.0, 480.0), (430.0, 0.0))
"""From the lower edge to the upper one: in is to the right."""
VISIBLE: Final = 0.5
"""Share of an object that must be seen for it to be expected."""
_TREMBLING: Final = 20
_STANDS: Final = 60


@dataclass(frozen=True, slots=True)
class Item:
    """An object on the belt.

    Attributes:
        number: from 1.
        kind: class id.
        lane_y: height of its center in pixels.
        speed: pixels per frame, below 0 to the left.
        enters: frame in which its center passes the edge.
        angle: radians.
    """

    number: int
    kind: int
    lane_y: float
    speed: float
    enters: int
    angle: float

    def center(self, frame: int) -> tuple[float, float]:
        """x, y in pixels."""
        passed = frame - self.enters
        start = 0.0 if self.speed > 0 else float(WIDTH)
        if self.number != _TREMBLING:
            return start + self.speed * passed, self.lane_y
        arrival = round((LINE[0][0] - start) / self.speed)
        tremble = 1.5 if passed % 2 else -1.5
        if passed < arrival:
            return start + self.speed * passed, self.lane_y
        if passed < arrival + _STANDS:
            return LINE[0][0] + tremble, self.lane_y
        return LINE[0][0] + self.speed * (passed - arrival - _STANDS), self.lane_y


@dataclass(frozen=True, slots=True)
class Seen:
    """An object in a frame: its number, class, box in pixels clipped to the frame, and the share that is visible."""

    number: int
    kind: int
    xyxy: tuple[float, float, float, float]
    visible: float


def items() -> tuple[Item, ...]:
    """The objects of the video."""
    random = np.random.default_rng(11)
    lanes = (60.0, 150.0, 240.0, 330.0, 420.0)
    speeds = random.uniform(3.5, 5.5, 5) * (1, -1, 1, -1, 1)
    found = []
    for number in range(1, 21):
        speed = float(speeds[number % 5])
        lane = lanes[number % 5]
        angle = float(random.uniform(0, 2 * np.pi))
        kind = int(random.integers(1 if lane < BRIDGE[3] else 0, 3))
        found.append(Item(number, kind, lane, speed, 4 + 11 * (number - 1), angle))
    return tuple(found)


def expected_crossings() -> tuple[int, int]:
    """In and out."""
    return sum(one.speed > 0 for one in items()), sum(one.speed < 0 for one in items())


def truth(frame: int) -> list[Seen]:
    """The objects that are in a frame, hidden ones included."""
    seen = []
    for item in items():
        x, y = item.center(frame)
        left, top, right, bottom = _extent(item)
        low, high = max(x + left, 0.0), min(x + right, float(WIDTH))
        if high - low < 4 or frame < item.enters - 60:
            continue
        under = max(0.0, min(high, BRIDGE[2]) - max(low, BRIDGE[0])) if y < BRIDGE[3] else 0.0
        shown = 0.0 if any(frame in dark for dark in DARK) else (high - low - under) / (right - left)
        box = (low, max(y + top, 0.0), high, min(y + bottom, float(HEIGHT)))
        seen.append(Seen(item.number, item.kind, box, shown))
    return seen


def picture(frame: int) -> NDArray[np.uint8]:
    """A frame, (H, W, 3) uint8 BGR."""
    sample = _sample()
    image = _background().copy()
    for seen in truth(frame):
        item = items()[seen.number - 1]
        random = np.random.default_rng(item.number)
        mask, _ = sample.SHAPES[item.kind](random, *item.center(frame), item.angle)
        sample.paste(image, mask, sample.metal(random), random, item.angle)
    image[BRIDGE[1] : BRIDGE[3], BRIDGE[0] : BRIDGE[2]] = (40, 46, 52)
    if any(frame in dark for dark in DARK):
        image *= 0.03
    return np.clip(image, 0, 255).astype(np.uint8)


def write_video(path: Path, frames: int = FRAMES) -> None:
    """Write the video as MPEG-4."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FRAME_RATE, (WIDTH, HEIGHT))
    for frame in range(frames):
        writer.write(picture(frame))
    writer.release()


@lru_cache
def _sample() -> Any:
    path = Path(__file__).parents[2] / "calib_data/make_sample.py"
    spec = importlib.util.spec_from_file_location("make_sample", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@lru_cache
def _background() -> NDArray[np.float32]:
    return np.asarray(_sample().belt(np.random.default_rng(5)), np.float32)


@lru_cache
def _extent(item: Item) -> tuple[float, float, float, float]:
    """The box around an object, relative to its center, in pixels."""
    mask, _ = _sample().SHAPES[item.kind](np.random.default_rng(item.number), WIDTH / 2, HEIGHT / 2, item.angle)
    rows, columns = np.nonzero(mask > 0.3)
    left, right = columns.min() - WIDTH / 2, columns.max() + 1 - WIDTH / 2
    return float(left), float(rows.min() - HEIGHT / 2), float(right), float(rows.max() + 1 - HEIGHT / 2)


if __name__ == "__main__":
    write_video(Path(sys.argv[1]))
