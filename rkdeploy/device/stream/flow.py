"""Flow of frames through the pipeline: waiting, dropping and order.

    put -> waiting -> take -> (the network) -> finish -> deliver -> (the sinks)

Every frame that is taken gets the next ticket, and frames are delivered by ticket.  All waiting happens here,
under one lock, so that the counts always add up:

    captured = waiting + under way + ready + delivered + failed + dropped

For files nothing is dropped: `put` waits for room, and `take` waits while too many tickets are not delivered yet.
For live sources frames are dropped instead of delayed: the newest frame of a camera replaces the waiting one of the
same camera, and a frame that the sinks have not taken yet is replaced by later ones of its camera.  Cameras take turns:
of those that have a frame waiting, the one that had the fewest turns is next.  A camera that had none for a while
catches up on a few turns only, so that one that comes back does not keep the others waiting.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict, deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.device.postprocess.detections import Detections
    from rkdeploy.device.stream.frames import Frame


_TURNS_BEHIND = 8
"""Turns that a live source can be behind the one that was served last."""


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


@dataclass(slots=True, eq=False)
class _Tally:
    """Numbers of frames of one source so far; see `FlowCounts`."""

    captured: int = 0
    delivered: int = 0
    failed: int = 0
    dropped_before_network: int = 0
    dropped_before_sinks: int = 0

    def counts(self) -> FlowCounts:
        return FlowCounts(
            self.captured, self.delivered, self.failed, self.dropped_before_network, self.dropped_before_sinks
        )


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
        self._issued = self._finished = self._next_ticket = 0
        self._turns: Counter[int] = Counter()
        self._turns_of_last = 0
        self._tallies: defaultdict[int, _Tally] = defaultdict(_Tally)
        self._closed = self._hurried = self._aborted = self._discarding = False
        lock = threading.Lock()
        self._can_put, self._can_take = threading.Condition(lock), threading.Condition(lock)
        self._can_deliver, self._settled = threading.Condition(lock), threading.Condition(lock)

    def wait_for_room(self) -> bool:
        """Wait until a frame can be added without waiting; False when no more frames are accepted."""
        with self._can_put:
            self._can_put.wait_for(lambda: self._closed or self._live or len(self._waiting) < self._max_waiting)
            return not self._closed

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
            self._tallies[frame.origin].captured += 1
            self._add_waiting(frame, captured_s)
            self._can_take.notify()
            return True

    def take(self) -> Job | None:
        """The next frame to work on, or None when there will be none."""
        with self._can_take:
            while not self._aborted:
                if self._waiting and self._under_way() < self._max_under_way:
                    frame, captured_s = self._next_waiting()
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
            self._tallies[job.frame.origin].failed += detections is None
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
            result = self._ready.popleft()
            self._tallies[result.job.frame.origin].delivered += 1
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
        each = self.counts_by_origin().values()
        return FlowCounts(
            sum(counts.captured for counts in each),
            sum(counts.delivered for counts in each),
            sum(counts.failed for counts in each),
            sum(counts.dropped_before_network for counts in each),
            sum(counts.dropped_before_sinks for counts in each),
        )

    def counts_by_origin(self) -> dict[int, FlowCounts]:
        """The counts of this moment, of each source that has given a frame."""
        with self._can_take:
            return {origin: tally.counts() for origin, tally in self._tallies.items()}

    def discard_rest(self) -> None:
        """End delivery: frames under way count as dropped, now or when they are finished."""
        with self._can_take:
            self._closed = self._discarding = True
            for waiting, _ in self._waiting:
                self._tallies[waiting.origin].dropped_before_network += 1
            for result in self._ready:
                self._tallies[result.job.frame.origin].dropped_before_sinks += 1
            self._waiting.clear()
            self._ready.clear()
            self._tell_all()

    def _add_waiting(self, frame: Frame, captured_s: float) -> None:
        """Add a frame; of a live source that has its share waiting, the oldest is dropped and each takes its place."""
        origin = frame.origin
        self._turns[origin] = max(self._turns[origin], self._turns_of_last - _TURNS_BEHIND)
        same = [n for n, (waiting, _) in enumerate(self._waiting) if waiting.origin == origin]
        if not self._live or len(same) < self._max_waiting:
            self._waiting.append((frame, captured_s))
            return
        for place, following in pairwise(same):
            self._waiting[place] = self._waiting[following]
        self._waiting[same[-1]] = (frame, captured_s)
        self._tallies[origin].dropped_before_network += 1

    def _next_waiting(self) -> tuple[Frame, float]:
        """Remove the frame whose turn it is: files in order, of live sources the one that had the fewest turns."""
        if not self._live:
            return self._waiting.popleft()
        place = min(range(len(self._waiting)), key=lambda n: self._turns[self._waiting[n][0].origin])
        found = self._waiting[place]
        del self._waiting[place]
        self._turns_of_last = self._turns[found[0].origin]
        self._turns[found[0].origin] += 1
        return found

    def _drop_ready(self, kept: int) -> None:
        """Keep the newest results of each source only."""
        seen: Counter[int] = Counter()
        for result in reversed(tuple(self._ready)):
            origin = result.job.frame.origin
            seen[origin] += 1
            if seen[origin] > kept:
                self._ready.remove(result)
                self._tallies[origin].dropped_before_sinks += 1

    def _under_way(self) -> int:
        return self._issued - self._next_ticket + (0 if self._live else len(self._ready))

    def _is_idle(self) -> bool:
        return self._closed and not self._waiting and self._issued == self._finished

    def _tell_all(self) -> None:
        self._can_put.notify_all()
        self._can_take.notify_all()
        self._can_deliver.notify_all()
        self._settled.notify_all()
