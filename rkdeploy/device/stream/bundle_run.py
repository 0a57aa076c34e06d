"""A whole run: a bundle on sources, with what it draws, writes, shows and records."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.runtime.backends import BACKEND, open_runtimes
from rkdeploy.device.runtime.protocol import RuntimeOptions
from rkdeploy.device.runtime.recording import recorded
from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
from rkdeploy.device.stream.sinks import open_plugin_sink, open_save_folder
from rkdeploy.device.stream.sinks.jsonl import JsonlSink
from rkdeploy.device.stream.sources import open_sources
from rkdeploy.device.stream.sources.camera import Camera
from rkdeploy.device.stream.sources.several import parts_of
from rkdeploy.device.web.listening_address import DEFAULT_ADDRESS
from rkdeploy.errors import SourceError
from rkdeploy.option import CAMERA, FRAME_SIZE, OUTPUT, RUNNING, THRESHOLDS, TOOLKIT_PYTHON, VIEW, Option, counts
from rkdeploy.system.file_names import readable_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.runtime.protocol import Runtime
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.stream.sinks.window import WindowSink
    from rkdeploy.device.stream.sources.source import Source
    from rkdeploy.device.stream.statistics import PipelineStats
    from rkdeploy.device.web.view import WebView

_LOG = logging.getLogger(__name__)
_TICK_S, _WINDOW_TICK_S = 0.1, 0.015
_ON_THIS_PC: Final = frozenset({"onnxruntime", "opencv_dnn", "simulator"})
_ALL_CLASSES: Final = ("0.25",)


@dataclass(frozen=True, slots=True)
class RunOptions:
    """One run.

    Attributes:
        sources: as `open_source` takes them.
        cameras: N of /dev/videoN.
        backend: its name, or `auto`.
        cores: NPU cores, one context on each; None takes all.
        conf: score thresholds, for all classes or for one; iou and max_det: of the non-maximum suppression.
        size_wh, fps: what cameras are asked for.
        show, web, web_address, web_token: a window; a page in the browser, where, and what its viewers must know.
        save: folder for drawn images and videos.
        sinks: of plug-ins, `NAME:TEXT`.
        json_lines: files for one JSON object per frame; `-` is stdout.
        map_masks: whether those have the pixels of class maps.
        record, replay: folders of raw outputs, to write and to play.
        max_frames: end after so many; None takes all.
        allow_empty: whether a run in which no frame could be read is a success.
        toolkit_python: interpreter of the simulator.
    """

    sources: tuple[str, ...] = ()
    cameras: Annotated[
        tuple[int, ...],
        Option("--camera", "Camera of this machine: N of /dev/videoN. Repeatable.", RUNNING, low=0, often=True),
    ] = ()
    backend: Annotated[str, BACKEND] = "auto"
    cores: Annotated[
        tuple[int, ...] | None,
        Option(
            "--cores",
            "NPU cores, with one context on each.",
            RUNNING,
            form=counts(0, 31),
            default="all",
        ),
    ] = None
    max_frames: Annotated[int | None, Option("--max-frames", "End after N frames.", RUNNING, low=1, often=True)] = None
    allow_empty: Annotated[
        bool, Option("--allow-empty", "Take a run in which no frame could be read as a success.", RUNNING)
    ] = False
    replay: Annotated[
        Path | None,
        Option(
            "--replay",
            "Play raw outputs that --record wrote from the same source, in place of the network.",
            RUNNING,
            metavar="FOLDER",
        ),
    ] = None
    toolkit_python: Annotated[Path | None, TOOLKIT_PYTHON] = None
    conf: Annotated[
        tuple[str, ...],
        Option(
            "--conf",
            "Score threshold for all classes (0.4) or for one (person=0.4). Repeatable.",
            THRESHOLDS,
            metavar="[CLASS=]X",
            default="0.25",
            often=True,
        ),
    ] = ()
    iou: Annotated[
        float, Option("--iou", "IoU threshold for non-maximum suppression.", THRESHOLDS, low=0, high=1, often=True)
    ] = 0.45
    max_det: Annotated[int, Option("--max-det", "Maximum number of detections per frame.", THRESHOLDS, low=1)] = 300
    size_wh: Annotated[
        tuple[int, int] | None,
        Option("--size", "Frame size to ask cameras for.", CAMERA, form=FRAME_SIZE, default="the camera's"),
    ] = None
    fps: Annotated[
        float | None,
        Option("--fps", "Frames per second to ask cameras for.", CAMERA, low=1, high=240, default="the camera's"),
    ] = None
    show: Annotated[
        bool, Option("--show", "Show the frames in a window. The keys q and Escape end the run.", VIEW, often=True)
    ] = False
    web: Annotated[
        bool, Option("--web", f"Show the frames and figures in a browser, at {DEFAULT_ADDRESS}.", VIEW, often=True)
    ] = False
    web_address: Annotated[
        str | None,
        Option(
            "--web-address",
            "Another address for --web. One that other machines reach needs a token.",
            VIEW,
            metavar="HOST:PORT",
        ),
    ] = None
    web_token: Annotated[
        str | None,
        Option(
            "--web-token",
            "Token that viewers of --web must know. Set the environment variable instead where others use the machine: "
            "they see a command's arguments.",
            VIEW,
            env="RKDEPLOY_WEB_TOKEN",
        ),
    ] = None
    save: Annotated[
        Path | None,
        Option(
            "--save", "Folder for images and videos with the detections drawn.", OUTPUT, metavar="FOLDER", often=True
        ),
    ] = None
    sinks: Annotated[
        tuple[str, ...],
        Option(
            "--sink",
            "Sink of a plug-in, with what it takes behind a colon, such as csv:found.csv. Repeatable.",
            OUTPUT,
            metavar="NAME[:TEXT]",
        ),
    ] = ()
    json_lines: tuple[str, ...] = ()
    map_masks: Annotated[
        bool, Option("--map-masks", "Write the pixels of class maps as JSON too, not only their shares.", OUTPUT)
    ] = False
    record: Annotated[
        Path | None,
        Option(
            "--record",
            "New folder for the network's raw outputs, which --replay plays. Recording takes time: do not read the "
            "rate of such a run.",
            OUTPUT,
            metavar="FOLDER",
        ),
    ] = None


class RunEvents:
    """Callbacks of a run; each does nothing unless overridden."""

    def warning(self, text: str) -> None:
        """Something that a user should know."""

    def left_out(self, error: SourceError) -> None:
        """A file that could not be read, and is left out."""

    def opened(self, source: Source, *, has_sinks: bool) -> None:
        """The source is open; `has_sinks` tells whether results go anywhere."""

    def view(self, url: str) -> None:
        """The page in the browser can be opened."""

    def started(self, run: Running) -> None:
        """The first frame is on its way."""

    def tick(self, run: Running) -> None:
        """Called ten times per second until the run ends."""

    def ends(self) -> bool:
        """Tell whether the run is to end now; what is under way is finished."""
        return False


@dataclass(frozen=True, slots=True)
class Running:
    """A run under way.

    Attributes:
        source: what it runs on.
        pipeline: what runs it.
        runtime: of its first context.
    """

    source: Source
    pipeline: Pipeline
    runtime: Runtime

    @property
    def figures_from(self) -> str:
        """Source of the figures, for users."""
        return f"{self.pipeline.figures_from}{', not an NPU' if self.runtime.name in _ON_THIS_PC else ''}"


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a run.

    Attributes:
        source: description of the input.
        live: True for a camera or stream.
        stats: of the whole run.
        figures_from: source of its figures.
        left_out: messages on files that could not be read.
        failure: error that ended a live run; the results until then are written.
    """

    source: str
    live: bool
    stats: PipelineStats
    figures_from: str
    left_out: tuple[str, ...]
    failure: Exception | None


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
    thresholds = Thresholds.from_options(
        list(options.conf or _ALL_CLASSES), names, iou=options.iou, max_det=options.max_det
    )
    left_out: list[str] = []

    def leave_out(error: SourceError) -> None:
        left_out.append(error.message)
        events.left_out(error)

    source = _source(options, leave_out, events)
    _LOG.debug("source %s, backend %s, cores %s", source.text, options.backend, options.cores or "all")
    runtimes: Sequence[Runtime] = open_runtimes(
        options.backend,
        bundle,
        options.cores,
        RuntimeOptions(toolkit_python=options.toolkit_python, recording=options.replay),
    )
    if options.record is not None:
        runtimes = recorded(runtimes, options.record)
    failure: Exception | None = None
    with ExitStack() as stack:
        frames = stack.enter_context(source)
        window = _window(options, source, names, stack)
        sinks = _sinks(bundle, options, source, stack)
        view = _view(bundle, options, source, events, stack)
        sinks += [sink for sink in (window, view) if sink is not None]
        events.opened(source, has_sinks=bool(sinks))
        pipeline = Pipeline(
            source, frames, runtimes, bundle.spec, thresholds, [*sinks, *more_sinks],
            options=PipelineOptions(max_frames=options.max_frames),
        )  # fmt: skip
        running = Running(source, pipeline, runtimes[0])
        try:
            with pipeline:
                if view is not None:
                    view.watch(pipeline.stats, lambda: running.figures_from)
                events.started(running)
                _wait(running, window, events)
        except Exception as error:
            # What was recorded from a camera until then cannot be recorded again; results of files can.
            if not (source.live and pipeline.stats().captured):
                raise
            failure = error
        if failure is None and not options.allow_empty and not events.ends():
            _require_frames(
                pipeline.stats(), source.text, left_out
            )  # here, so that no sink puts an empty file in place
    return RunResult(source.text, source.live, pipeline.stats(), running.figures_from, tuple(left_out), failure)


def _source(options: RunOptions, leave_out: Callable[[SourceError], None], events: RunEvents) -> Source:
    """The sources as one, not entered.

    Raises:
        SourceError: also when several cameras or streams are to be shown: a view shows one.
    """
    cameras = [
        Camera(number, size_wh=options.size_wh, frames_per_second=options.fps, notify=events.warning)
        for number in dict.fromkeys(options.cameras)
    ]
    source = open_sources(options.sources, cameras, on_unreadable=leave_out, notify=events.warning)
    shown = options.show or options.web or options.web_address is not None
    if source.live and shown and len(parts_of(source)) > 1:
        raise SourceError(
            "--show and --web show one live source, and there are several.",
            "Start a run for each, or save videos of all (--save).",
        )
    return source


def _sinks(bundle: Bundle, options: RunOptions, source: Source, stack: ExitStack) -> list[Sink]:
    names = bundle.spec.class_names
    sinks: list[Sink] = []
    if options.save is not None:
        sinks.append(stack.enter_context(open_save_folder(options.save, source, names)))
    sinks += [stack.enter_context(open_plugin_sink(text, names)) for text in options.sinks]
    return sinks + [
        stack.enter_context(JsonlSink(file, names, map_masks=options.map_masks)) for file in options.json_lines
    ]


def _window(options: RunOptions, source: Source, names: Sequence[str], stack: ExitStack) -> WindowSink | None:
    if not options.show:
        return None
    from rkdeploy.device.stream.sinks.window import WindowSink

    return stack.enter_context(WindowSink(f"rkdeploy: {readable_name(source.text)}", names))


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
