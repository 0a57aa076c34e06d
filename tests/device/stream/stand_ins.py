"""Stand-ins for the two ends of a pipeline and the network between them.

The stand-in network answers with the class whose number is the picture's gray value, so that a result that belongs to
another frame shows.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.protocol import HeadTensor
from rkdeploy.device.stream.frames import Frame

CLASSES = 256
SPEC = ModelSpec(
    family="yolov5",
    task="detect",
    class_names=tuple(f"value {i}" for i in range(CLASSES)),
    input=InputSpec("images", 32, 32),
    outputs=(HeadOutput("map", "anchor_map", 0, 16, (1, 5 + CLASSES, 2, 2)),),
    anchors=Anchors((((10.0, 10.0),),)),
)
THRESHOLDS = Thresholds()
WAIT_S = 10.0
"""Timeout of a test; never reached by a test that passes."""


def frame(index: int, *, value: int | None = None, side: int = 32) -> Frame:
    """A gray frame whose value is its index."""
    grey = index % CLASSES if value is None else value
    return Frame(np.full((side, side, 3), grey, np.uint8), "stand-in", index, index * 40.0)


class StandInRuntime:
    """Answers with the picture's value, in the same buffer every time.

    Args:
        before: called with the picture's value before it is answered; may wait or raise.
    """

    name = "stand-in"
    figures_from = "a stand-in"
    notes: tuple[str, ...] = ()

    def __init__(self, before: Callable[[int], object] | None = None) -> None:
        self._before = before
        self._values = np.full((1, 5 + CLASSES, 2, 2), -20.0, np.float32)
        self._busy = threading.Lock()
        self.is_open = False
        self.opened = 0
        self.calls = 0

    def __enter__(self) -> Self:
        assert not self.is_open, "a context that failed is closed before it is opened again"
        self.is_open = True
        self.opened += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False

    def infer(self, image: NDArray[np.uint8]) -> tuple[HeadTensor, ...]:
        assert self._busy.acquire(blocking=False), "a context serves one thread at a time"
        try:
            assert self.is_open
            self.calls += 1
            value = int(image[0, 16, 16, 0])
            if self._before is not None:
                self._before(value)
            assert (image == value).all(), "the input changed under the call"
            self._values.fill(-20.0)
            self._values[0, (4, 5 + value), 0, 0] = 10.0
            return (HeadTensor(self._values),)
        finally:
            self._busy.release()


class StandInSource:
    """Gives the frames of an iterable."""

    text = "stand-in"
    frame_count: int | None = None
    frames_per_second: float | None = None

    def __init__(self, frames: Iterable[Frame], *, live: bool = False) -> None:
        self.frames = frames
        self.live = live
        self.reconnects = 0
        self.stopped = threading.Event()

    def __enter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        self.stopped.set()


class ListSink:
    """Keeps the indices of the frames and what was found in each.

    Args:
        before: called with the frame's index before it is taken; may wait or raise.
    """

    def __init__(self, before: Callable[[int], object] | None = None) -> None:
        self._before = before
        self.indices: list[int] = []
        self.class_ids: list[list[int]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def write(self, frame: Frame, detections: Detections) -> None:
        if self._before is not None:
            self._before(frame.index)
        self.indices.append(frame.index)
        self.class_ids.append(detections.class_ids.tolist())
