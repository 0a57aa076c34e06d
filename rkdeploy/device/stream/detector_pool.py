"""Single images from any thread, each on whichever context of the model is free."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from rkdeploy.device.stream.detector import Detector
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import Runtime


class DetectorPool:
    """A detector per context, lent to one call at a time.

    A context is opened when a call first needs it: a program with one thread opens one.  A context that failed is
    closed, and opened again for a later call.

    Args:
        runtimes: one per context, not entered.
        spec: the contract of the model that they run.
        thresholds: which detections are kept.

    Raises:
        RkdeployError: for an inconsistent contract, or a threshold of an unknown class.
    """

    def __init__(self, runtimes: Sequence[Runtime], spec: ModelSpec, thresholds: Thresholds) -> None:
        self._runtimes = tuple(runtimes)
        self._detectors = tuple(Detector(runtime, spec, thresholds) for runtime in runtimes)
        # A stack: the context that was used last is used next, so that no more are opened than work at a time.  Its
        # `pop` and `append` are atomic; the condition is for calls that find it empty.
        self._idle = list(range(len(self._detectors)))[::-1]
        self._changed = threading.Condition()
        self._waiting = 0
        self._open: set[int] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._detectors)

    @property
    def notes(self) -> tuple[str, ...]:
        """The runtimes' notes to the user, each once."""
        return tuple(dict.fromkeys(note for runtime in self._runtimes for note in runtime.notes))

    def __call__(self, image: NDArray[np.uint8]) -> Detections:
        """Detect in one image; waits while every context is in use.

        Args:
            image: (H, W, 3) uint8 BGR.

        Raises:
            BackendError: when the context cannot be opened or failed, or the pool is closed.
        """
        position = self._take()
        try:
            if position not in self._open:
                self._runtimes[position].__enter__()
                self._open.add(position)
            return self._detectors[position](image)
        except BackendError as error:
            if position in self._open:
                self._open.discard(position)
                with contextlib.suppress(Exception):  # it failed: the first failure is the one to report
                    self._runtimes[position].__exit__(type(error), error, error.__traceback__)
            raise
        finally:
            self._give_back(position)

    def close(self) -> None:
        """Wait for the calls in progress and close all contexts; later calls are refused.  Again: no effect."""
        self._closed = True
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == len(self._detectors))
            self._waiting -= 1
        opened, self._open = sorted(self._open), set()
        with contextlib.ExitStack() as stack:
            for position in opened:
                stack.push(self._runtimes[position].__exit__)

    def _take(self) -> int:
        try:
            position = self._idle.pop()
        except IndexError:
            position = self._wait()
        if self._closed:
            self._give_back(position)
            raise BackendError("The model is closed.", "Load it again, or call it inside its `with` block.")
        return position

    def _wait(self) -> int:
        with self._changed:
            self._waiting += 1  # before the stack is looked at again: a detector given back later finds it
            try:
                while True:
                    with contextlib.suppress(IndexError):
                        return self._idle.pop()
                    self._changed.wait()
            finally:
                self._waiting -= 1

    def _give_back(self, position: int) -> None:
        self._idle.append(position)
        if self._waiting:
            with self._changed:
                self._changed.notify_all()
