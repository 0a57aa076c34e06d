"""The further models of a chain in a pipeline: crops of the detector's frames go through stages of their own.

    detector's decode -> one queue per recognizer -> its stage -> the frame's last answer -> the frame is finished

A frame without crops is finished at once.  The queues are bounded: where recognizers are slower than the detector, it
waits for them, and of a camera the newest frame wins as always.  A crop is cut out when its recognizer has a slot for
it, so that no more crops exist than are worked on.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rkdeploy.device.chain.crop_rule import crops_of
from rkdeploy.device.chain.in_frame import in_frame
from rkdeploy.device.stream.contexts import Contexts
from rkdeploy.device.stream.frame_picture import ArrayPicture
from rkdeploy.device.stream.model_stage import ModelStage
from rkdeploy.device.stream.statistics import RecognizerStats, StageTimer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.device.chain.recognizer import Recognizer
    from rkdeploy.device.chain.region import Region
    from rkdeploy.device.postprocess.detections import Detections, NestedResult
    from rkdeploy.device.stream.backoff import Backoff
    from rkdeploy.device.stream.flow import FrameFlow, Job
    from rkdeploy.device.stream.frame_picture import FramePicture


class _PendingFrame:
    """A frame whose crops are under way.

    Args:
        job: the frame.
        detections: of the detector.
        recognizers: number of models in the chain behind it.
        crops: number of crops that will be answered.
    """

    def __init__(self, job: Job, detections: Detections, recognizers: int, crops: int) -> None:
        self.job = job
        self._detections = detections
        self._answers: list[list[NestedResult | None]] = [[None] * recognizers for _ in range(len(detections))]
        self._left = crops
        self._lock = threading.Lock()

    def answer(self, index: int, recognizer: int, result: NestedResult | None) -> bool:
        """Take the result for a detection, None where the model failed; True if it was the frame's last one."""
        with self._lock:
            self._answers[index][recognizer] = result
            self._left -= 1
            return self._left == 0

    def answered(self) -> Detections:
        """The detections with all answers."""
        return replace(self._detections, nested=tuple(map(tuple, self._answers)))


@dataclass(frozen=True, slots=True, eq=False)
class _Crop:
    """A part of a frame that a recognizer is to look at."""

    pending: _PendingFrame
    index: int
    region: Region


class Recognition:
    """The recognizers of a pipeline.  Entering opens their contexts, leaving closes them.

    Args:
        recognizers: behind the detector.
        flow: gets the finished frames.
        backoff: for contexts that failed.
        max_failures: the run ends when every context of a recognizer has failed this often in a row.
        ahead: crops that are prepared while every context runs, for each recognizer.

    Raises:
        RkdeployError: for an inconsistent contract.
    """

    def __init__(
        self,
        recognizers: Sequence[Recognizer],
        flow: FrameFlow,
        *,
        backoff: Backoff,
        max_failures: int,
        ahead: int,
    ) -> None:
        self._flow = flow
        self._lines = tuple(
            _RecognizerLine(position, one, flow, backoff=backoff, max_failures=max_failures, ahead=ahead)
            for position, one in enumerate(recognizers)
        )
        self._open = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for line in self._lines:
                stack.enter_context(line.contexts)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)

    @property
    def contexts(self) -> tuple[Contexts, ...]:
        """The contexts of each recognizer."""
        return tuple(line.contexts for line in self._lines)

    @property
    def last_failure(self) -> str:
        """Message of a recognizer's last failure, empty when there was none."""
        return next((contexts.last_failure for contexts in self.contexts if contexts.last_failure), "")

    def bodies(self) -> list[tuple[str, Callable[[], None]]]:
        """The threads to run, each with its name."""
        return [(f"then-{i}-{name}", body) for i, line in enumerate(self._lines) for name, body in line.stage.bodies()]

    def accept(self, job: Job, detections: Detections) -> None:
        """Take a frame from the detector; waits while a recognizer has too many crops."""
        crops = [
            crops_of(detections, line.recognizer.rule, line.recognizer.spec.input, job.frame.size_hw)
            for line in self._lines
        ]
        pending = _PendingFrame(job, detections, len(self._lines), sum(len(one.regions) for one in crops))
        if not any(one.regions for one in crops):
            self._flow.finish(job, pending.answered())
        for line, one in zip(self._lines, crops, strict=True):
            line.put([_Crop(pending, index, region) for index, region in one.regions], one.left_out)

    def close(self, *, hurry: bool = False) -> None:
        """Take no more frames; crops under way are finished, with `hurry` without waiting for a failed context."""
        for line in self._lines:
            line.close(closed=not hurry)

    def abort(self) -> None:
        """End all threads."""
        for line in self._lines:
            line.abort()

    def stats(self) -> tuple[RecognizerStats, ...]:
        """Current figures of each recognizer."""
        return tuple(line.stats() for line in self._lines)


class _RecognizerLine:
    """One recognizer: its queue, contexts and stage."""

    def __init__(
        self,
        position: int,
        recognizer: Recognizer,
        flow: FrameFlow,
        *,
        backoff: Backoff,
        max_failures: int,
        ahead: int,
    ) -> None:
        self.recognizer = recognizer
        self._position, self._flow = position, flow
        self._waiting: deque[_Crop] = deque()
        self._room = 2 * (len(recognizer.runtimes) + ahead)
        self._under_way = self._answered = self._failed = self._left_out = 0
        self._closed = self._hurried = self._aborted = False
        lock = threading.Lock()
        self._can_put, self._can_take = threading.Condition(lock), threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._timer = StageTimer()
        self.contexts = Contexts(recognizer.runtimes, backoff, max_failures, self.pause)
        self.stage: ModelStage[_Crop] = ModelStage(
            self.contexts, recognizer.spec, recognizer.thresholds, self, ahead=ahead, timer=self._timer
        )

    def put(self, crops: Sequence[_Crop], left_out: int) -> None:
        """Add a frame's crops, waiting for room: the queue has at most those of one frame and a few more."""
        with self._can_put:
            self._left_out += left_out
            while not self._aborted and crops and len(self._waiting) >= self._room:
                self._can_put.wait()
            self._waiting.extend(crops)
            self._can_take.notify()

    def take(self) -> _Crop | None:
        """The next crop, or None when there will be none."""
        with self._can_take:
            while not self._aborted:
                if self._waiting:
                    self._under_way += 1
                    self._can_put.notify()
                    return self._waiting.popleft()
                if self._closed:
                    return None
                self._can_take.wait()
            return None

    def picture_of(self, work: _Crop) -> FramePicture:
        """Cut a crop out of its frame."""
        return ArrayPicture(work.region.cut(work.pending.job.frame.image))

    def finish(self, work: _Crop, detections: Detections | None) -> None:
        """Take a recognizer's result; after the last one the frame is finished."""
        result = None
        if detections is not None:
            result = self.recognizer.result(in_frame(detections, work.region, work.pending.job.frame.size_hw))
        if work.pending.answer(work.index, self._position, result):
            self._flow.finish(work.pending.job, work.pending.answered())
        with self._settled:
            self._under_way -= 1
            self._answered += result is not None
            self._failed += result is None
            if self._closed:
                self._settled.notify_all()

    def ended(self) -> None:
        """Nothing comes after it."""

    def pause(self, seconds: float) -> bool:
        """Wait, but at most until this model is not needed any more; True when it is not."""
        with self._settled:
            return self._settled.wait_for(lambda: self._aborted or self._hurried or self._is_idle(), seconds)

    def close(self, *, closed: bool) -> None:
        """Take no more crops (`closed`), or only stop waiting for a failed context."""
        with self._can_take:
            self._closed |= closed
            self._hurried |= not closed
            self._tell_all()

    def abort(self) -> None:
        """End all threads."""
        with self._can_take:
            self._aborted = True
            self._tell_all()
        self.stage.abort()

    def stats(self) -> RecognizerStats:
        """Current figures."""
        with self._can_take:
            counts = self._answered, self._failed, self._left_out
        contexts = self.contexts
        return RecognizerStats(
            self.recognizer.name, *counts, len(contexts), contexts.working, contexts.rebuilt, self._timer.stages()
        )

    def _is_idle(self) -> bool:
        return self._closed and not self._waiting and not self._under_way

    def _tell_all(self) -> None:
        self._can_put.notify_all()
        self._can_take.notify_all()
        self._settled.notify_all()
