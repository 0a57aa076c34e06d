"""Results handed to a program's own loop, one at a time."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame


class HandoverSink:
    """Holds one result until the loop takes it; the pipeline waits meanwhile, and drops frames of a live source.

    Leaving it releases waiting threads; later results are discarded.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: tuple[Frame, Detections] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def write(self, frame: Frame, detections: Detections) -> None:
        """Hold a result; returns when it was taken, or the sink was left."""
        with self._changed:
            self._held = (frame, detections)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._held is None or self._closed)

    def take(self, timeout_s: float) -> tuple[Frame, Detections] | None:
        """The next result; None when none came within `timeout_s` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: self._held is not None, timeout_s)
            taken, self._held = self._held, None
            self._changed.notify_all()
            return taken
