"""A whole run: a bundle on sources, with what it draws, writes, shows and records."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rkdeploy.device.chain.open_chain import read_chain
from rkdeploy.device.messages.open_messages import message_sinks
from rkdeploy.device.postprocess.thresholds import Thresholds, chosen_class_ids, default_confidence
from rkdeploy.device.runtime.backends import open_runtimes
from rkdeploy.device.runtime.protocol import RuntimeOptions
from rkdeploy.device.runtime.recording import recorded
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.device.stream.run_events import Running, RunResult
from rkdeploy.device.stream.run_gallery import gallery_of
from rkdeploy.device.stream.run_tracking import of_results, tracking_of, with_low_scores
from rkdeploy.device.stream.sinks import open_plugin_sink, open_save_folder
from rkdeploy.device.stream.sinks.crop_files import CropFilesSink
from rkdeploy.device.stream.sinks.jsonl import JsonlSink
from rkdeploy.device.stream.sinks.map_files import MapFilesSink
from rkdeploy.device.stream.sinks.named import NamingSink
from rkdeploy.device.stream.sinks.tracked import TrackingSink
from rkdeploy.device.stream.sources import open_sources
from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.image_files import ImageFiles
from rkdeploy.device.stream.sources.several import parts_of, stream_names
from rkdeploy.device.stream.video_out.writer_choice import WriterChoice, chosen_writer
from rkdeploy.device.web.listening_address import DEFAULT_ADDRESS
from rkdeploy.errors import SourceError
from rkdeploy.system.file_names import readable_name

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
    names = bundle.spec.class_names
    default = default_confidence(bundle.spec)
    thresholds = Thresholds.from_options(options.conf, names, iou=options.iou, max_det=options.max_det, default=default)
    if options.classes:
        thresholds = thresholds.only(chosen_class_ids(options.classes, names), len(names))
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
        window = _window(options, source, names, stack)
        writer = _video_writer(options, source, events)
        sinks = _sinks(bundle, options, source, writer, events, stack)
        view = _view(bundle, options, source, events, stack)
        sinks += [sink for sink in (window, view) if sink is not None]
        given = [*sinks, *more_sinks]
        if gallery is not None:
            given = [NamingSink(gallery, given)]
        tracked = None if tracking is None else TrackingSink(tracking, streams, given)
        events.opened(source, has_sinks=bool(sinks))
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
        running = Running(source, pipeline, runtimes[0], "" if writer is None else writer.text)
        failure = _play(running, view, window, events)
        if failure is None and not options.allow_empty and not events.ends():  # before a sink keeps an empty file
            _require_frames(pipeline.stats(), source.text, left_out)
    counts = () if tracked is None else tracked.counts()
    return RunResult(source.text, source.live, pipeline.stats(), running.figures_from, tuple(left_out), failure, counts)


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


def _video_writer(options: RunOptions, source: Source, events: RunEvents) -> WriterChoice | None:
    """The package and encoder of the videos of this run; None where none is written."""
    if not _draws_video(options) or all(isinstance(part, ImageFiles) for part in parts_of(source)):
        return None
    writer = chosen_writer()
    for note in writer.notes:
        events.warning(note)
    return writer


def _draws_video(options: RunOptions) -> bool:
    return options.save is not None or bool(options.recording.publish)


def _sinks(
    bundle: Bundle,
    options: RunOptions,
    source: Source,
    writer: WriterChoice | None,
    events: RunEvents,
    stack: ExitStack,
) -> list[Sink]:
    names = bundle.spec.class_names
    sinks: list[Sink] = []
    if options.save is not None or writer is not None:
        encoder = None if writer is None else writer.encoder
        sinks.append(
            stack.enter_context(
                open_save_folder(options.save, source, names, encoder, events.warning, options.recording)
            )
        )
    if options.crops is not None:
        crops = CropFilesSink(options.crops, names, options.crops_limit, live=source.live, notify=events.warning)
        sinks.append(stack.enter_context(crops))
    if options.maps is not None:
        sinks.append(stack.enter_context(MapFilesSink(options.maps, bundle.spec, npy=options.maps_npy)))
    sinks += [stack.enter_context(open_plugin_sink(text, names)) for text in options.sinks]
    for file in options.json_lines:
        lines = JsonlSink(
            file,
            names,
            live=source.live,
            map_masks=options.map_masks,
            embeddings=not options.no_embeddings,
            notify=events.warning,
        )
        sinks.append(stack.enter_context(lines))
    streams = tuple(part.text for part in parts_of(source))
    messages = message_sinks(options.messages, streams, names, bundle.folder.name, events.warning)
    return sinks + [stack.enter_context(one) for one in messages]


def _window(options: RunOptions, source: Source, names: Sequence[str], stack: ExitStack) -> WindowSink | None:
    if not options.show:
        return None
    from rkdeploy.device.stream.sinks.window import WindowSink

    title = f"rkdeploy: {readable_name(source.text)}"
    return stack.enter_context(WindowSink(title, names, stream_names(source)))


def _view(bundle: Bundle, options: RunOptions, source: Source, events: RunEvents, stack: ExitStack) -> WebView | None:
    if not options.web and options.web_address is None:
        return None
    from rkdeploy.device.web import open_web_view

    view = open_web_view(
        options.web_address or DEFAULT_ADDRESS,
        options.web_token,
        bundle.spec.class_names,
        title=bundle.folder.name,
        source=source.text,
        streams=stream_names(source),
        notify=events.warning,
    )
    stack.enter_context(view)
    events.view(view.url)
    return view


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
