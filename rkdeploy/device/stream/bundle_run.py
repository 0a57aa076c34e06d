"""A whole run: a bundle on sources, with what it draws, writes, shows and records."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rkdeploy.device.chain.open_chain import read_chain
from rkdeploy.device.postprocess.thresholds import Thresholds, chosen_class_ids, default_confidence
from rkdeploy.device.runtime.backends import open_runtimes
from rkdeploy.device.runtime.protocol import RuntimeOptions
from rkdeploy.device.runtime.recording import recorded
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.device.stream.run_events import Running, RunResult
from rkdeploy.device.stream.run_gallery import gallery_of
from rkdeploy.device.stream.run_sinks import open_run_sinks
from rkdeploy.device.stream.run_tracking import of_results, tracking_of, with_low_scores
from rkdeploy.device.stream.sinks.named import NamingSink
from rkdeploy.device.stream.sinks.tracked import TrackingSink
from rkdeploy.device.stream.sources import open_sources
from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.several import parts_of
from rkdeploy.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.runtime.protocol import Runtime
    from rkdeploy.device.stream.run_events import RunEvents
    from rkdeploy.device.stream.run_options import RunOptions
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.stream.sinks.window import WindowSink
    from rkdeploy.device.stream.sources.source import Source
    from rkdeploy.device.stream.statistics import PipelineStats
    from rkdeploy.device.web.view import WebView

_LOG = logging.getLogger(__name__)
_TICK_S, _WINDOW_TICK_S = 0.1, 0.015


def run_bundle(bundle: Bundle, options: RunOptions, events: RunEvents, more_sinks: Sequence[Sink] = ()) -> RunResult:
    """Run a bundle until its sources end, `events.ends` says so, or something fails.

    Args:
        bundle: read and checked.
        options: at least one source or camera among them.
        events: called with what happens.
        more_sinks: sinks that get every frame, in addition to those that the options name; opened and closed by the
            caller.

    Raises:
        RkdeployError: see `open_sources`, `open_runtimes`, `Pipeline` and the sinks.
        SourceError: when no frame has a result, unless `allow_empty`.
    """
    thresholds = _thresholds(bundle, options)
    links = read_chain(bundle.spec, options.chain)
    gallery = gallery_of(bundle, links, thresholds, options, events.warning)
    left_out: list[str] = []

    def leave_out(error: SourceError) -> None:
        left_out.append(error.message)
        events.left_out(error)

    source = _source(options, leave_out, events)
    streams = [part.text for part in parts_of(source)]
    tracking = tracking_of(options.tracking, bundle.spec, thresholds, streams)
    runtimes = _runtimes(bundle, options)
    recognizers = [link.recognizer(_runtimes(link.bundle, options, f"then-{i}")) for i, link in enumerate(links, 1)]
    _LOG.debug("source %s, backend %s, cores %s, %s", source.text, options.backend, options.cores or "all", thresholds)
    with ExitStack() as stack:
        frames = stack.enter_context(source)
        areas = () if tracking is None else tracking.areas
        opened = stack.enter_context(open_run_sinks(bundle, options, source, areas, events))
        given = [*opened.sinks, *more_sinks]
        if gallery is not None:
            given = [NamingSink(gallery, given)]
        tracked = None if tracking is None else TrackingSink(tracking, streams, given)
        events.opened(source, has_sinks=bool(opened.sinks))
        pipeline = Pipeline(
            source,
            frames,
            runtimes,
            bundle.spec,
            thresholds if tracking is None else with_low_scores(thresholds, tracking.low),
            given if tracked is None else [tracked],
            recognizers=of_results(recognizers, tracking),
            options=PipelineOptions(max_frames=options.max_frames),
        )
        running = Running(source, pipeline, runtimes[0], opened.video_text)
        failure = _play(running, opened.view, opened.window, events)
        if failure is None and not options.allow_empty and not events.ends():  # before a sink keeps an empty file
            _require_frames(pipeline.stats(), source.text, left_out)
    counts = () if tracked is None else tracked.counts()
    return RunResult(source.text, source.live, pipeline.stats(), running.figures_from, tuple(left_out), failure, counts)


def _thresholds(bundle: Bundle, options: RunOptions) -> Thresholds:
    """The thresholds of the model that looks at whole frames."""
    names = bundle.spec.class_names
    default = default_confidence(bundle.spec)
    thresholds = Thresholds.from_options(options.conf, names, iou=options.iou, max_det=options.max_det, default=default)
    if not options.classes:
        return thresholds
    return thresholds.only(chosen_class_ids(options.classes, names), len(names))


def _play(running: Running, view: WebView | None, window: WindowSink | None, events: RunEvents) -> Exception | None:
    """Run the pipeline until its end; the error that ended a live run with frames is returned, any other one raised."""
    pipeline = running.pipeline
    try:
        with pipeline:
            if view is not None:
                backend, on_npu = running.runtime.name, running.on_npu
                view.watch(pipeline.stats, lambda: running.figures_from, backend, on_npu=on_npu)
            events.started(running)
            _wait(running, window, events)
    except Exception as error:
        # What was recorded from a camera until then cannot be recorded again; results of files can.
        if not (running.source.live and pipeline.stats().captured):
            raise
        return error
    return None


def _runtimes(bundle: Bundle, options: RunOptions, part: str = "") -> Sequence[Runtime]:
    """The runtimes of a model, one per context, not entered; recording ones if the run is to be recorded.

    Args:
        bundle: of the model.
        options: of the run.
        part: folder inside of a recording, for a further model of a chain; empty for the first one.
    """
    played = options.replay / part if options.replay is not None and part else options.replay
    runtime_options = RuntimeOptions(toolkit_python=options.toolkit_python, recording=played)
    runtimes = open_runtimes(options.backend, bundle, options.cores, runtime_options, options.contexts)
    return runtimes if options.record is None else recorded(runtimes, options.record / part)


def _source(options: RunOptions, leave_out: Callable[[SourceError], None], events: RunEvents) -> Source:
    """The sources as one, not entered."""
    cameras = [
        Camera(number, size_wh=options.size_wh, frames_per_second=options.fps, notify=events.warning)
        for number in dict.fromkeys(options.cameras)
    ]
    return open_sources(options.sources, cameras, on_unreadable=leave_out, notify=events.warning)


def _wait(running: Running, window: WindowSink | None, events: RunEvents) -> None:
    """Wait until the pipeline has ended; look at the window's keys, and at who wants the end."""
    pipeline = running.pipeline
    told: set[str] = set()
    over = False
    while not over:
        over = pipeline.wait(_TICK_S if window is None else _WINDOW_TICK_S)
        for note in pipeline.notes:  # a context that is opened again may have something new to say
            if note not in told:
                told.add(note)
                events.warning(note)
        if events.ends() or (window is not None and not window.refresh()):
            pipeline.stop()
            window = None  # it is not asked again: what is under way is written without it
        events.tick(running)


def _require_frames(stats: PipelineStats, source: str, left_out: Sequence[str]) -> None:
    """Refuse a run that answered nothing: what waits for its result must not take that for success.

    Raises:
        SourceError: when no frame came that could have a result; failed ones are reported elsewhere.
    """
    if stats.processed or stats.failed:
        return
    lost = f"{_many(len(left_out), 'file')} could not be read" if left_out else f"{_many(stats.captured, 'frame')} read"
    raise SourceError(
        f'Nothing of "{source}" has a result ({lost}); nothing was written.',
        "--allow-empty lets such a run end as a success.",
    )


def _many(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
