"""One model at work in a pipeline: pieces of work come in, their detections go out.

    take -> preprocess -> one context per core -> decode -> finish
              thread        one thread each        thread

A context is a model on one core.  Its thread only runs it: the next input is ready when the thread returns, and
the outputs are copied for the decode.  So no core waits for the CPU, or for another thread to wake up.

Each piece of work under way has a slot, with its own letterbox and decoder, because those reuse buffers.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.errors import BackendError
from rkdeploy.images.fit import Letterboxed, image_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import HeadTensor
    from rkdeploy.device.stream.contexts import Contexts
    from rkdeploy.device.stream.frame_picture import FramePicture
    from rkdeploy.device.stream.statistics import StageTimer

Work = TypeVar("Work")


class StageQueue(Protocol[Work]):
    """The queue that a stage takes its work from and returns it to."""

    def take(self) -> Work | None:
        """The next piece of work, or None when there will be none."""
        ...

    def picture_of(self, work: Work) -> FramePicture:
        """The picture of a piece of work."""
        ...

    def finish(self, work: Work, detections: Detections | None) -> None:
        """Take the result, in pixels of that image; None when the model failed on it."""
        ...

    def ended(self) -> None:
        """Called after the last result."""
        ...


class ModelStage(Generic[Work]):
    """The threads of one model.

    Args:
        contexts: of the model; opened and closed by the caller.
        spec: the contract.
        thresholds: limits of the detections to keep.
        queue: see `StageQueue`.
        slots: pieces of work that are prepared, inferred or decoded at a time.
        timer: gets the times of `preprocess`, `context`, `infer` and `decode`.

    Raises:
        RkdeployError: for an inconsistent contract, or a threshold of an unknown class.
    """

    def __init__(
        self,
        contexts: Contexts,
        spec: ModelSpec,
        thresholds: Thresholds,
        queue: StageQueue[Work],
        *,
        slots: int,
        timer: StageTimer,
    ) -> None:
        self._contexts = contexts
        self._queue = queue
        self._timer = timer
        # None ends the thread that takes it.
        self._free: SimpleQueue[_Slot[Work] | None] = SimpleQueue()
        self._prepared: SimpleQueue[_Slot[Work] | None] = SimpleQueue()
        self._answered: SimpleQueue[_Slot[Work] | None] = SimpleQueue()
        for _ in range(slots):
            self._free.put(_Slot(spec, thresholds))
        self._contexts_left = len(contexts)
        self._leaving = threading.Lock()
        self._aborted = False

    def bodies(self) -> list[tuple[str, Callable[[], None]]]:
        """The threads to run, each with its name."""
        return [
            ("preprocess", self._preprocess),
            *((f"context-{position}", partial(self._infer, position)) for position in range(len(self._contexts))),
            ("decode", self._decode),
        ]

    def abort(self) -> None:
        """End all threads without finishing what is under way."""
        self._aborted = True
        for queue in (self._free, self._answered, *(self._prepared for _ in range(len(self._contexts)))):
            queue.put(None)

    def _preprocess(self) -> None:
        # The slot first: then the frame taken is the newest one.
        while (slot := self._free.get()) is not None and (work := self._queue.take()) is not None:
            begun = time.perf_counter()
            slot.load(work, self._queue.picture_of(work))
            slot.since_s = time.perf_counter()
            self._timer.add("preprocess", slot.since_s - begun)
            self._prepared.put(slot)
        for _ in range(len(self._contexts)):
            self._prepared.put(None)

    def _infer(self, position: int) -> None:
        context = self._contexts[position]
        add = self._timer.add
        while (slot := self._prepared.get()) is not None and not self._aborted:
            if not context.is_open:  # given up, and no other context is left
                self._fail(slot)
                continue
            begun = time.perf_counter()
            try:
                tensors = context.runtime.infer(slot.input)
            except BackendError as failure:
                self._fail(slot)
                if not self._contexts.rebuild(context, failure) and not self._is_last_context():
                    return
                continue
            done = time.perf_counter()
            slot.keep(tensors)
            self._answered.put(slot)
            self._contexts.succeeded(context)
            add("context", begun - slot.since_s)
            add("infer", done - begun)
        if self._is_last_context():
            self._answered.put(None)

    def _is_last_context(self) -> bool:
        """Count the calling thread's context as ended; True if it was the last one."""
        with self._leaving:
            if self._contexts_left > 1:
                self._contexts_left -= 1
                return False
            return True

    def _fail(self, slot: _Slot[Work]) -> None:
        self._queue.finish(slot.unload(), None)
        self._free.put(slot)

    def _decode(self) -> None:
        while (slot := self._answered.get()) is not None:
            begun = time.perf_counter()
            detections = slot.decoded()
            self._timer.add("decode", time.perf_counter() - begun)
            self._queue.finish(slot.unload(), detections)
            self._free.put(slot)
        self._queue.ended()


class _Slot(Generic[Work]):
    """The buffers of one piece of work under way; used by one thread at a time.

    Attributes:
        since_s: when its input was ready, by `time.perf_counter`.
    """

    def __init__(self, spec: ModelSpec, thresholds: Thresholds) -> None:
        self._fit = image_fit(spec.input)
        self._postprocess = Postprocessor(spec, thresholds)
        self._kept: list[NDArray[Any]] = []
        self._tensors: tuple[HeadTensor, ...] = ()
        self._work: Work | None = None
        self._boxed: Letterboxed | None = None
        self.since_s = 0.0

    def load(self, work: Work, picture: FramePicture) -> None:
        """Take a piece of work and fit its picture into the network's input."""
        self._work = work
        self._boxed = picture.fitted(self._fit)

    @property
    def input(self) -> NDArray[np.uint8]:
        """Input of the network, (1, H, W, 3) uint8."""
        assert self._boxed is not None, "a slot is loaded before it is inferred"
        return self._boxed.image

    def keep(self, tensors: Sequence[HeadTensor]) -> None:
        """Copy the tensors into the slot's buffers: a runtime's are valid until its next call."""
        fits = len(self._kept) == len(tensors) and all(
            kept.shape == tensor.values.shape and kept.dtype == tensor.values.dtype
            for kept, tensor in zip(self._kept, tensors, strict=True)
        )
        if not fits:
            self._kept = [np.empty_like(tensor.values) for tensor in tensors]  # keeps the layout: one plain copy
        for kept, tensor in zip(self._kept, tensors, strict=True):
            np.copyto(kept, tensor.values)
        self._tensors = tuple(replace(tensor, values=kept) for kept, tensor in zip(self._kept, tensors, strict=True))

    def decoded(self) -> Detections:
        """Detections from the copied tensors, in pixels of the image."""
        assert self._boxed is not None, "a slot is loaded before it is decoded"
        return self._postprocess(self._tensors, self._boxed.transform)

    def unload(self) -> Work:
        """Return the piece of work; the buffers stay."""
        work, self._work, self._boxed = self._work, None, None
        assert work is not None, "a slot gives its work back once"
        return work
