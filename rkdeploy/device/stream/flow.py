"""Flow of frames through the pipeline: waiting, dropping and order.

    put -> waiting -> take -> (the network) -> finish -> deliver -> (the sinks)

Every frame that is taken gets the next ticket, and frames are delivered by ticket.  All waiting happens here,
under one lock, so that the counts always add up:

    captured = waiting + under way + ready + delivered + failed + dropped

For files nothing is dropped: `put` waits for room, and `take` waits while too many tickets are not delivered yet.
For live sources frames are dropped instead of delayed: the newest frame of a camera replaces the waiting one of the
same camera, and a frame that the sinks have not taken yet is replaced by later ones of its camera.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A frame on its way.

    Attributes:
        ticket: its place in the order of delivery, from 0 without gaps.
        captured_s: arrival from the source, by `time.perf_counter`.
    """

    ticket: int
    frame: Frame
    captured_s: float


@dataclass(frozen=True, slots=True, eq=False)
class ProcessedFrame:
    """A frame and its detections."""

    job: Job
    detections: Detections


@dataclass(frozen=True, slots=True)
class FlowCounts:
    """Numbers of frames by outcome."""

    captured: int
    delivered: int
    failed: int
    dropped_before_network: int
    dropped_before_sinks: int


class FrameFlow:
    """Queues of the pipeline, see the module.

    Args:
        live: True if the newest frame replaces waiting ones (see the module).
        tickets: largest number of frames under way: in work, or waiting for an earlier one; for files also those that
            the sinks have not taken.
        waiting: largest number of frames that wait to be taken; for live sources, of each source (1 is best).
        ready: largest number of frames of each live source that wait for the sinks.
    """

    def __init__(self, *, live: bool, tickets: int, waiting: int, ready: int) -> None:
        self._live = live
        self._max_under_way, self._max_waiting, self._max_ready = tickets, waiting, ready
        self._waiting: deque[tuple[Frame, float]] = deque()
        self._done: dict[int, ProcessedFrame | None] = {}
        self._ready: deque[ProcessedFrame] = deque()
        self._issued = self._finished = self._next_ticket = self._captured = 0
        self._delivered = self._failed = self._dropped_before_network = self._dropped_before_sinks = 0
        self._closed = self._hurried = self._aborted = self._discarding = False
        lock = threading.Lock()
        self._can_put, self._can_take = threading.Condition(lock), threading.Condition(lock)
        self._can_deliver, self._settled = threading.Condition(lock), threading.Condition(lock)

    def put(self, frame: Frame, captured_s: float) -> bool:
        """Add a frame.

        Returns:
            False when no more frames are accepted; this one is not counted then.
        """
        with self._can_put:
            while not (self._closed or self._live) and len(self._waiting) >= self._max_waiting:
                self._can_put.wait()
            if self._closed:
                return False
            self._captured += 1
            self._waiting.append((frame, captured_s))
            same = [n for n, (waiting, _) in enumerate(self._waiting) if waiting.origin == frame.origin]
            if self._live and len(same) > self._max_waiting:
                del self._waiting[same[0]]
                self._dropped_before_network += 1
            self._can_take.notify()
            return True

    def take(self) -> Job | None:
        """The next frame to work on, or None when there will be none."""
        with self._can_take:
            while not self._aborted:
                if self._waiting and self._under_way() < self._max_under_way:
                    frame, captured_s = self._waiting.popleft()
                    job = Job(self._issued, frame, captured_s)
                    self._issued += 1
                    self._can_put.notify()
                    return job
                if self._closed and not self._waiting:
                    return None
                self._can_take.wait()
            return None

    def finish(self, job: Job, detections: Detections | None) -> None:
        """Record the result of a frame.

        Args:
            job: the frame.
            detections: None when the frame failed and has no result.
        """
        with self._can_take:
            self._finished += 1
            self._failed += detections is None
            self._done[job.ticket] = None if detections is None else ProcessedFrame(job, detections)
            while self._next_ticket in self._done:
                result = self._done.pop(self._next_ticket)
                self._next_ticket += 1
                if result is not None:
                    self._ready.append(result)
            if self._discarding or self._live:
                self._drop_ready(0 if self._discarding else self._max_ready)
            if self._closed:
                self._tell_all()
                return
            if self._ready:
                self._can_deliver.notify()
            if self._waiting:
                self._can_take.notify_all()

    def deliver(self) -> ProcessedFrame | None:
        """The next frame in order with its detections, or None after the last."""
        with self._can_deliver:
            while not self._ready:
                if self._aborted or self._is_idle():
                    return None
                self._can_deliver.wait()
            if self._aborted:
                return None
            self._delivered += 1
            result = self._ready.popleft()
            if self._waiting:
                self._can_take.notify()
            return result

    def close(self, *, hurry: bool = False) -> None:
        """Accept no more frames.  Frames under way are finished; with `hurry`, without waiting for a failed context."""
        with self._can_take:
            self._closed = True
            self._hurried |= hurry
            self._tell_all()

    def abort(self) -> None:
        """Stop all waiting threads; nothing more is delivered."""
        with self._can_take:
            self._closed = self._aborted = True
            self._tell_all()

    def pause(self, seconds: float) -> bool:
        """Wait, but at most until no network is needed any more.

        Returns:
            True when none is: every frame has its result, or the run is to end.
        """
        with self._settled:
            return self._settled.wait_for(lambda: self._aborted or self._hurried or self._is_idle(), seconds)

    def counts(self) -> FlowCounts:
        """The counts of this moment."""
        with self._can_take:
            return FlowCounts(
                self._captured,
                self._delivered,
                self._failed,
                self._dropped_before_network,
                self._dropped_before_sinks,
            )

    def discard_rest(self) -> None:
        """End delivery: frames under way count as dropped, now or when they are finished."""
        with self._can_take:
            self._closed = self._discarding = True
            self._dropped_before_network += len(self._waiting)
            self._dropped_before_sinks += len(self._ready)
            self._waiting.clear()
            self._ready.clear()
            self._tell_all()

    def _drop_ready(self, kept: int) -> None:
        """Keep the newest results of each source only."""
        seen: Counter[int] = Counter()
        for result in reversed(tuple(self._ready)):
            origin = result.job.frame.origin
            seen[origin] += 1
            if seen[origin] > kept:
                self._ready.remove(result)
                self._dropped_before_sinks += 1

    def _under_way(self) -> int:
        return self._issued - self._next_ticket + (0 if self._live else len(self._ready))

    def _is_idle(self) -> bool:
        return self._closed and not self._waiting and self._issued == self._finished

    def _tell_all(self) -> None:
        self._can_put.notify_all()
        self._can_take.notify_all()
        self._can_deliver.notify_all()
        self._settled.notify_all()
