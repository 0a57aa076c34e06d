"""Counts, rate and latencies of a running pipeline, readable from any thread at any time."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, fields

import numpy as np

from rkdeploy.contract.bounds import Amount, Count

RATE_WINDOW_S = 5.0
_LATENCIES_KEPT = 1024
_ARRIVALS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of a stage over its last 1,024 frames.

    Attributes:
        count: frames in these figures.
        p50_ms, p90_ms, p99_ms: percentiles in milliseconds; 0 without frames.
    """

    count: Count = 0
    p50_ms: Amount = 0.0
    p90_ms: Amount = 0.0
    p99_ms: Amount = 0.0


@dataclass(frozen=True, slots=True)
class StageLatencies:
    """Latencies of the stages, in a frame's order.

    Attributes:
        capture: waiting for the source's next frame, its decoding included.
        preprocess: letterbox.
        context: waiting for a free context: more than almost 0 means that the network is the bottleneck.
        infer: the runtime's call.
        decode: head tensors to boxes, with non-maximum suppression.
        sink: drawing, encoding, writing; all sinks together.
        age: from the frame's arrival until every sink has it.
    """

    capture: Latency = Latency()
    preprocess: Latency = Latency()
    context: Latency = Latency()
    infer: Latency = Latency()
    decode: Latency = Latency()
    sink: Latency = Latency()
    age: Latency = Latency()


STAGES = tuple(field.name for field in fields(StageLatencies))


@dataclass(frozen=True, slots=True)
class RecognizerStats:
    """Figures of a further model of a chain.

    Attributes:
        name: of its bundle.
        crops: crops that it answered.
        failed: crops that the runtime failed on; their objects have no answer.
        left_out: objects beyond the limit of crops per frame, or without a part that can be cut out.
        contexts, contexts_working, contexts_rebuilt: as in `PipelineStats`.
        stages: latencies of `preprocess` (with the cut), `context`, `infer` and `decode` of a crop; the others are 0.
    """

    name: str
    crops: int
    failed: int
    left_out: int
    contexts: int
    contexts_working: int
    contexts_rebuilt: int
    stages: StageLatencies


@dataclass(frozen=True, slots=True)
class SourceStats:
    """Figures of one of several live sources.

    Attributes:
        name: of the source, as frames have it.
        captured: frames that came from it.
        processed: its frames that the sinks were given.
        failed, dropped_before_network, dropped_before_sinks, reconnects: as in `PipelineStats`, of this source.
        frames_per_second: its processed frames per second over the last 5 seconds.
    """

    name: str
    captured: int
    processed: int
    failed: int
    dropped_before_network: int
    dropped_before_sinks: int
    reconnects: int
    frames_per_second: float

    @property
    def dropped(self) -> int:
        """All dropped frames."""
        return self.dropped_before_network + self.dropped_before_sinks


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """Figures of a pipeline at one moment.

    Attributes:
        captured: frames that came from the source.
        processed: frames that every sink has taken, with their detections.
        failed: frames that the runtime failed on; they have no result.
        dropped_before_network: frames of a live source that a newer one replaced before the network was free.
        dropped_before_sinks: frames of a live source that later ones replaced before the sinks were free.
        reconnects: times that a lost source was opened again.
        contexts_rebuilt: times that a failed context was opened again.
        contexts: contexts of the run.
        contexts_working: contexts that are open.
        frames_per_second: processed frames per second over the last 5 seconds (or since the first one).
        running_s: seconds since the start, until the end.
        last_failure: message of the last failed frame or context; empty when there was none.
        stages: latencies of the stages.
        recognizers: the further models of a chain.
        sources: each of several live sources; empty for a single one and for files.
    """

    captured: int
    processed: int
    failed: int
    dropped_before_network: int
    dropped_before_sinks: int
    reconnects: int
    contexts_rebuilt: int
    contexts: int
    contexts_working: int
    frames_per_second: float
    running_s: float
    last_failure: str
    stages: StageLatencies
    recognizers: tuple[RecognizerStats, ...] = ()
    sources: tuple[SourceStats, ...] = ()

    @property
    def dropped(self) -> int:
        """All dropped frames."""
        return self.dropped_before_network + self.dropped_before_sinks


class StageTimer:
    """Collects times of stages from all threads; keeps a fixed number of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = np.zeros((len(STAGES), _LATENCIES_KEPT), np.float64)
        self._counts = [0] * len(STAGES)
        self._arrivals = np.zeros(_ARRIVALS_KEPT, np.float64)
        self._origins = np.zeros(_ARRIVALS_KEPT, np.int32)
        self._processed = 0

    def add(self, stage: str, seconds: float) -> None:
        """Add a time of a stage, named as in `StageLatencies`."""
        row = _ROWS[stage]
        with self._lock:
            self._seconds[row, self._counts[row] % _LATENCIES_KEPT] = seconds
            self._counts[row] += 1

    def add_processed(self, now_s: float, origin: int = 0) -> None:
        """Count a frame that has passed all sinks; `origin` is the position of its source."""
        with self._lock:
            self._origins[self._processed % _ARRIVALS_KEPT] = origin
            self._arrivals[self._processed % _ARRIVALS_KEPT] = now_s
            self._processed += 1

    def processed(self) -> int:
        """Frames that have passed all sinks."""
        with self._lock:
            return self._processed

    def frames_per_second(self, now_s: float | None = None, origin: int | None = None) -> float:
        """Processed frames per second over the window, of all sources or of one; it falls while no frames come."""
        now = time.perf_counter() if now_s is None else now_s
        with self._lock:
            kept = min(self._processed, _ARRIVALS_KEPT)
            arrivals = self._arrivals[:kept].copy()
            if origin is not None:
                arrivals = arrivals[self._origins[:kept] == origin]
        # from the arrival before the first counted one, or from the window's start if that is later
        recent = arrivals[arrivals > now - RATE_WINDOW_S]
        if len(recent) == 0:
            return 0.0
        if len(recent) == len(arrivals):  # no arrival is older than the window: the first one starts it
            span = now - float(recent.min())
            return (len(recent) - 1) / span if len(recent) > 1 and span > 0 else 0.0
        return len(recent) / RATE_WINDOW_S

    def stages(self) -> StageLatencies:
        """Percentiles of all stages."""
        with self._lock:
            kept = [self._seconds[i, : min(count, _LATENCIES_KEPT)].copy() for i, count in enumerate(self._counts)]
        return StageLatencies(*(_latency(seconds) for seconds in kept))


_ROWS = {name: row for row, name in enumerate(STAGES)}


def _latency(seconds: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Latency:
    if len(seconds) == 0:
        return Latency()
    p50, p90, p99 = (float(value) for value in np.percentile(seconds, (50, 90, 99)) * 1e3)
    return Latency(len(seconds), p50, p90, p99)
