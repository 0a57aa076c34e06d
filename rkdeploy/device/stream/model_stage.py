"""One model at work in a pipeline: pieces of work come in, their detections go out.

    take -> preprocess -> one context per core -> decode -> finish
              thread        one thread each        thread

A context is a model on one core.  Its thread only runs it: the next input is ready when the thread returns, and the
outputs are decoded elsewhere.  So no core waits for the CPU, or for another thread to wake up.

Each context has two slots, each with an input, its letterbox and the outputs: while one runs, the other is decoded and
then gets the next input.  `NextContext` chooses the context before its input is written.  Where the NPU shares its
memory, a slot lies there: the letterbox writes what the NPU reads, and what it wrote is decoded in place.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import numpy as np

from rkdeploy.device.postprocess.postprocessor import Postprocessor
from rkdeploy.device.runtime.protocol import BufferedRuntime
from rkdeploy.device.stream.contexts import BUFFERS
from rkdeploy.device.stream.next_context import NextContext
from rkdeploy.errors import BackendError
from rkdeploy.images.fit import image_fit

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from rkdeploy.contract.spec import InputSpec, ModelSpec
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import HeadTensor, Runtime
    from rkdeploy.device.stream.contexts import Contexts, ContextState
    from rkdeploy.device.stream.frame_picture import FramePicture
    from rkdeploy.device.stream.statistics import StageTimer
    from rkdeploy.images.fit import ImageFit, LetterboxTransform

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
        ahead: inputs that are written for contexts that still run.
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
        ahead: int,
        timer: StageTimer,
    ) -> None:
        image_fit(spec.input)  # raises the error of an inconsistent contract
        self._contexts = contexts
        self._input = spec.input
        self._postprocess = Postprocessor(spec, thresholds)
        self._queue = queue
        self._timer = timer
        self._next: NextContext[_Slot[Work], Work] = NextContext(len(contexts), ahead=ahead)
        self._answered: SimpleQueue[_Slot[Work] | None] = SimpleQueue()  # None ends the decode

    def bodies(self) -> list[tuple[str, Callable[[], None]]]:
        """The threads to run, each with its name.  The contexts are open."""
        for position in range(len(self._contexts)):  # before the first thread runs: a frame goes to one that waits
            self._next.restore(position, self._slots_of(self._contexts[position], position))
        return [
            ("preprocess", self._preprocess),
            *((f"context-{position}", partial(self._infer, position)) for position in range(len(self._contexts))),
            ("decode", self._decode),
        ]

    def abort(self) -> None:
        """End all threads without finishing what is under way."""
        self._next.abort()
        self._answered.put(None)

    def _preprocess(self) -> None:
        # A context first: then the work taken is the newest.  By the time it comes another context may be the next.
        while self._next.wait_until_wanted() and (work := self._queue.take()) is not None:
            slot = self._next.claim()
            if slot is None:  # every context is given up
                self._queue.finish(work, None)
                continue
            self._load(slot, work)
            self._next.prepared(slot)
        self._next.close()

    def _load(self, slot: _Slot[Work], work: Work) -> None:
        begun = time.perf_counter()
        slot.load(work, self._queue.picture_of(work))
        slot.since_s = time.perf_counter()
        self._timer.add("preprocess", slot.since_s - begun)

    def _infer(self, position: int) -> None:
        context = self._contexts[position]
        while (given := self._next.next_for(position)) is not None:
            slot, left_over = given
            if left_over is not None:
                self._load(slot, left_over)
            failure = self._run(context, slot)
            if failure is not None and not self._reopened(context, position, failure):
                break
        unanswered = self._next.leave(position)
        if unanswered is not None:
            for work in unanswered:
                self._queue.finish(work, None)
            self._answered.put(None)

    def _run(self, context: ContextState, slot: _Slot[Work]) -> BackendError | None:
        """Run a slot; the failure of its work, None when there was none."""
        begun = time.perf_counter()
        try:
            tensors = slot.infer()
        except BackendError as failure:
            self._queue.finish(slot.unload(), None)
            self._next.release(slot)
            return failure
        done = time.perf_counter()
        slot.take(tensors)
        self._answered.put(slot)
        self._contexts.succeeded(context)
        self._timer.add("context", begun - slot.since_s)
        self._timer.add("infer", done - begun)
        return None

    def _reopened(self, context: ContextState, position: int, failure: BackendError) -> bool:
        """Open a failed context again, with nothing using it; False if it stays closed."""
        for slot in self._next.withdraw(position):
            self._next.leave_to_others(slot.unload())
        if self._next.aborted or not self._contexts.rebuild(context, failure):
            return False
        self._next.restore(position, self._slots_of(context, position))
        return True

    def _slots_of(self, context: ContextState, position: int) -> list[_Slot[Work]]:
        """Slots in the memory that the NPU shares, if it does, else in memory of their own."""
        runtime, spec = context.runtime, self._input
        if not context.inputs or not isinstance(runtime, BufferedRuntime):
            return [_copying_slot(position, runtime, spec) for _ in range(BUFFERS)]
        return [
            _Slot(position, image_fit(spec, image), partial(runtime.infer_buffer, index))
            for index, image in enumerate(context.inputs)
        ]

    def _decode(self) -> None:
        while (slot := self._answered.get()) is not None:
            begun = time.perf_counter()
            detections = slot.decoded(self._postprocess)
            self._timer.add("decode", time.perf_counter() - begun)
            work = slot.unload()
            self._next.release(slot)
            self._queue.finish(work, detections)
        self._queue.ended()


class _Slot(Generic[Work]):
    """Input and outputs of one piece of work under way in a context; used by one thread at a time.

    Args:
        position: of the context.
        fit: writes the input.
        run: runs the context on it; its outputs are valid until its next call.

    Attributes:
        position: of the context.
        infer: `run`.
        since_s: when its input was ready, by `time.perf_counter`.
    """

    def __init__(self, position: int, fit: ImageFit, run: Callable[[], tuple[HeadTensor, ...]]) -> None:
        self.position = position
        self.infer = run
        self.since_s = 0.0
        self._fit = fit
        self._tensors: tuple[HeadTensor, ...] = ()
        self._work: Work | None = None
        self._transform: LetterboxTransform | None = None

    def load(self, work: Work, picture: FramePicture) -> None:
        """Take a piece of work and fit its picture into the network's input."""
        self._work = work
        self._transform = picture.fitted(self._fit).transform

    def take(self, tensors: tuple[HeadTensor, ...]) -> None:
        """Take the outputs."""
        self._tensors = tensors

    def decoded(self, postprocess: Postprocessor) -> Detections:
        """Detections from the outputs, in pixels of the image."""
        assert self._transform is not None, "a slot is loaded before it is decoded"
        return postprocess(self._tensors, self._transform)

    def unload(self) -> Work:
        """Return the piece of work; the buffers stay."""
        work, self._work, self._transform = self._work, None, None
        assert work is not None, "a slot gives its work back once"
        return work


class _CopyingSlot(_Slot[Work]):
    """A slot with memory of its own: the runtime's outputs are valid until its next call, of whichever slot."""

    def __init__(self, position: int, fit: ImageFit, run: Callable[[], tuple[HeadTensor, ...]]) -> None:
        super().__init__(position, fit, run)
        self._kept: list[NDArray[Any]] = []

    def take(self, tensors: tuple[HeadTensor, ...]) -> None:
        """Copy the outputs into the slot's buffers."""
        fits = len(self._kept) == len(tensors) and all(
            kept.shape == tensor.values.shape and kept.dtype == tensor.values.dtype
            for kept, tensor in zip(self._kept, tensors, strict=True)
        )
        if not fits:
            self._kept = [np.empty_like(tensor.values) for tensor in tensors]  # keeps the layout: one plain copy
        for kept, tensor in zip(self._kept, tensors, strict=True):
            np.copyto(kept, tensor.values)
        super().take(tuple(replace(tensor, values=kept) for kept, tensor in zip(self._kept, tensors, strict=True)))


def _copying_slot(position: int, runtime: Runtime, spec: InputSpec) -> _CopyingSlot[Work]:
    image = np.empty((1, spec.height, spec.width, 3), np.uint8)
    return _CopyingSlot(position, image_fit(spec, image), partial(runtime.infer, image))
