"""Results of a source, as the pipeline gives them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING

from typing_extensions import Self

from rkdeploy.api.result import Result
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.device.stream.run_tracking import of_results, with_low_scores
from rkdeploy.device.stream.sinks.handover import HandoverSink
from rkdeploy.device.stream.sinks.tracked import TrackingSink
from rkdeploy.device.stream.sources.arrays import Arrays
from rkdeploy.device.stream.sources.several import parts_of

if TYPE_CHECKING:
    from rkdeploy.contract.spec import ModelSpec
    from rkdeploy.device.chain.recognizer import Recognizer
    from rkdeploy.device.gallery.gallery import Gallery
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import Runtime
    from rkdeploy.device.stream.sources.source import Source
    from rkdeploy.device.stream.statistics import PipelineStats
    from rkdeploy.device.tracking.stream_tracker import TrackingSettings

_TICK_S = 0.05


class Stream(Iterator[Result]):
    """An iterator of results.  Made by `Model.stream`.

    It reads, runs and decodes ahead in threads of its own while the loop's body works.  Leaving the loop, `close`, or
    the end of a `with` block ends them.  One thread iterates; `stats` may be asked for from any.

    Args:
        source: what is read, not entered.
        open_contexts: makes the contexts, not entered.
        spec: the model's contract.
        thresholds: which detections are kept.
        max_frames: end after this many frames; None reads to the end.
        open_recognizers: makes the further models of a chain with their contexts, not entered.
        gallery: names for embeddings.
        tracking: settings of what is tracked; None for nothing.
    """

    def __init__(
        self,
        source: Source,
        open_contexts: Callable[[], Sequence[Runtime]],
        spec: ModelSpec,
        thresholds: Thresholds,
        max_frames: int | None = None,
        open_recognizers: Callable[[], Sequence[Recognizer]] = tuple,
        gallery: Gallery | None = None,
        tracking: TrackingSettings | None = None,
    ) -> None:
        self._started = _Started()
        options = PipelineOptions(max_frames=max_frames)
        # A function of its own, without `self`: the generator ends as soon as the stream is not referenced any more.
        found = _results(source, open_contexts, open_recognizers, spec, thresholds, options, self._started, tracking)
        self._results = found if gallery is None else _named(found, gallery)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Result:
        """The next result.

        Raises:
            StopIteration: after the last one.
            SourceError: when the source cannot be opened or read.
            BackendError: when no context can be opened, or all of them fail again and again.
        """
        return next(self._results)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def stats(self) -> PipelineStats | None:
        """Counts, rate and latencies up to now, frames that were dropped among them; None before the first result."""
        pipeline = self._started.pipeline
        return None if pipeline is None else pipeline.stats()

    def close(self) -> None:
        """End the threads, and close the source and the contexts."""
        self._results.close()


def _named(results: Generator[Result, None, None], gallery: Gallery) -> Generator[Result, None, None]:
    """Results with the gallery's names.  It ends as the given ones do, and ends them when it is closed."""
    with closing(results):
        for result in results:
            yield replace(result, detections=gallery.named(result.detections))


@dataclass(slots=True)
class _Started:
    """The pipeline of a stream, once it runs."""

    pipeline: Pipeline | None = None


def _tracked(tracking: TrackingSettings, source: Source, handover: HandoverSink) -> TrackingSink:
    """A sink that gives objects their ids before they are handed over.

    Images of a program's own iterable come when there is room for them: their times say nothing of what they show.
    """
    parts = parts_of(source)
    untimed = {origin for origin, part in enumerate(parts) if isinstance(part, Arrays)}
    return TrackingSink(tracking, [part.text for part in parts], [handover], untimed)


def _results(
    source: Source,
    open_contexts: Callable[[], Sequence[Runtime]],
    open_recognizers: Callable[[], Sequence[Recognizer]],
    spec: ModelSpec,
    thresholds: Thresholds,
    options: PipelineOptions,
    started: _Started,
    tracking: TrackingSettings | None,
) -> Generator[Result, None, None]:
    names = spec.class_names
    handover = HandoverSink()
    with source as frames:
        pipeline = Pipeline(
            source,
            frames,
            open_contexts(),
            spec,
            thresholds if tracking is None else with_low_scores(thresholds, tracking.low),
            [handover if tracking is None else _tracked(tracking, source, handover)],
            recognizers=of_results(open_recognizers(), tracking),
            options=options,
        )
        started.pipeline = pipeline
        # The handover is left first: that releases the pipeline's thread, which the pipeline then waits for.
        with pipeline, handover:
            while (taken := handover.take(_TICK_S)) is not None or not pipeline.wait(0):
                if taken is None:
                    continue
                frame, detections = taken
                time_s = None if frame.timestamp_ms is None else frame.timestamp_ms / 1e3
                yield Result(
                    frame.content, names, detections, frame.source, frame.index, time_s, frame.origin, frame.captured
                )
