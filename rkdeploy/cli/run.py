"""`rkdeploy run`: a bundle on images, videos, cameras or streams, with boxes drawn, shown, saved, or as JSON lines."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.runtime.registry import BACKENDS, choose_backend
from rkdeploy.web.address import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.bundle import Bundle
    from rkdeploy.errors import RkdeployError
    from rkdeploy.postprocess.detections import Detections
    from rkdeploy.runtime.protocol import Runtime
    from rkdeploy.stream.frames import Frame
    from rkdeploy.stream.pipeline import Pipeline
    from rkdeploy.stream.sinks.protocol import Sink
    from rkdeploy.stream.sinks.window import WindowSink
    from rkdeploy.stream.sources.protocol import Source
    from rkdeploy.stream.statistics import PipelineStats
    from rkdeploy.stream.stop_signals import StopSignals

_AUTO = "auto"
_ON_THIS_PC = frozenset({"onnxruntime", "opencv_dnn", "simulator"})
_TICK_S, _WINDOW_TICK_S = 0.1, 0.015
_STATUS_EVERY_S, _LOG_EVERY_S = 0.25, 10.0


def _backend(name: str) -> str:
    if name not in (_AUTO, *BACKENDS):
        raise typer.BadParameter(f'"{name}" is none; expected one of {", ".join((_AUTO, *sorted(BACKENDS)))}.')
    return name


def _cores(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"\d{1,2}(,\d{1,2})*", text):
        raise typer.BadParameter(f'"{text}" is no list of cores; give numbers from 0, such as 0,1,2.')
    return text


def _size(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"[1-9]\d{0,4}[xX][1-9]\d{0,4}", text):
        raise typer.BadParameter(f'"{text}" is no size; give width and height, such as 1280x720.')
    return text


def run_command(
    source: Annotated[
        str | None,
        typer.Option(
            help="An image, a folder, a pattern in quotes, a list file, a video, or a stream's address (rtsp://...).",
            show_default=False,
        ),
    ] = None,
    camera: Annotated[
        int | None, typer.Option(help="A camera at this machine: N of /dev/videoN.", min=0, show_default=False)
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A bundle. Default: the only or newest one in . or ./build.")
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            help=f"What runs the network: {', '.join((_AUTO, *BACKENDS))}. onnxruntime and opencv_dnn run the float "
            "network on this PC; simulator runs the built one in the toolkit's NPU simulator.",
            callback=_backend,
        ),
    ] = _AUTO,
    cores: Annotated[
        str | None,
        typer.Option(
            help="NPU cores, one context on each: 0,1,2. Default: all that there are.",
            callback=_cores,
            show_default=False,
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Folder for images or a video with the boxes drawn.")] = None,
    jsonl: Annotated[str | None, typer.Option(help="File for one JSON object a frame; - for stdout.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the frames in a window; q or Escape ends.")] = False,  # noqa: FBT002
    web: Annotated[
        str | None,
        typer.Option(
            metavar="[HOST:PORT]",
            help=f"Show the frames and figures in a browser, at {DEFAULT_ADDRESS} when no address follows. Any address "
            "that other machines reach needs a token.",
            show_default=False,
        ),
    ] = None,
    web_token: Annotated[
        str | None,
        typer.Option(
            envvar="RKDEPLOY_WEB_TOKEN",
            help="What viewers of --web must know. Better in the environment: other users see a command's arguments.",
            show_default=False,
        ),
    ] = None,
    conf: Annotated[
        list[str] | None,
        typer.Option(help="Score threshold for all classes, or for one (person=0.4). Repeatable.  [default: 0.25]"),
    ] = None,
    iou: Annotated[float, typer.Option(help="Boxes of a class that overlap more are one.", min=0, max=1)] = 0.45,
    max_det: Annotated[int, typer.Option(help="Detections a frame at most.", min=1)] = 300,
    size: Annotated[
        str | None,
        typer.Option(help="Width and height to ask the camera for: 1280x720.", callback=_size, show_default=False),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to ask the camera for.", min=1, max=240, show_default=False)
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="End after this many frames.", min=1, show_default=False)
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,  # noqa: FBT002
) -> None:
    """Run a bundle on images, a video, a camera or a stream."""
    from rkdeploy.bundle import find_bundle, read_bundle
    from rkdeploy.postprocess.thresholds import Thresholds
    from rkdeploy.stream.pipeline import Pipeline, PipelineOptions
    from rkdeploy.stream.sinks import open_save_folder
    from rkdeploy.stream.sinks.jsonl import JsonlSink
    from rkdeploy.stream.sinks.window import WindowSink
    from rkdeploy.stream.sources import open_source
    from rkdeploy.stream.sources.camera import Camera
    from rkdeploy.stream.stop_signals import StopSignals

    if (source is None) == (camera is None):
        raise typer.BadParameter("Give either --source or --camera.", param_hint="--source")
    if camera is None and (size is not None or fps is not None):
        raise typer.BadParameter("Only a camera can be asked for a size or rate.", param_hint="--size or --fps")
    if model is None:
        bundle, sentence = find_bundle(Path())
        if not quiet:
            err.print(plain(sentence))
    else:
        bundle = read_bundle(model)
    names = bundle.spec.class_names
    thresholds = Thresholds.from_options(conf or ["0.25"], names, iou=iou, max_det=max_det)
    skipped: list[str] = []

    def skip(error: RkdeployError) -> None:
        skipped.append(error.message)
        print_warning(f"{error} Left out.")

    opened: Source
    if camera is not None:
        width, _, height = (size or "").lower().partition("x")
        size_wh = (int(width), int(height)) if size else None
        opened = Camera(camera, size_wh=size_wh, frames_per_second=fps, notify=print_warning)
    else:
        opened = open_source(str(source), on_unreadable=skip, notify=print_warning)
    if backend == _AUTO:
        choice = choose_backend()
        backend = choice.backend
        if choice.degraded:
            print_warning(choice.reason)
        elif not quiet:
            err.print(plain(choice.reason))
    runtimes, reopen = _runtimes(backend, bundle, cores)
    tally = _Tally(names)
    failure: BaseException | None = None
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        frames = stack.enter_context(opened)
        sinks: list[Sink] = []
        if save is not None:
            sinks.append(stack.enter_context(open_save_folder(save, opened, names)))
        if jsonl is not None:
            sinks.append(stack.enter_context(JsonlSink(jsonl, names)))
        window = stack.enter_context(WindowSink(f"rkdeploy: {opened.text}", names)) if show else None
        if window is not None:
            sinks.append(window)
        view = None
        if web is not None:
            from rkdeploy.web import open_web_view

            view = stack.enter_context(
                open_web_view(web, web_token, names, title=bundle.folder.name, source=opened.text, notify=print_warning)
            )
            sinks.append(view)
            if not quiet:
                err.print(f"Live view: {plain(view.url)}")
        tally.prints = not (sinks or quiet or opened.live)
        pipeline = Pipeline(
            opened, frames, runtimes, bundle.spec, thresholds, [*sinks, tally],
            reopen=reopen, options=PipelineOptions(max_frames=max_frames),
        )  # fmt: skip
        try:
            with pipeline:
                signals.gentle = True
                if view is not None:
                    view.watch(pipeline.stats, lambda: _figures_from(pipeline, runtimes[0]))
                if not quiet:
                    where = f"{pipeline.figures_from}, {_many(len(runtimes), 'context')}"
                    err.print(f"Running {plain(bundle.folder.name)} with {plain(where)}")
                for note in pipeline.notes:
                    print_warning(note)
                _watch(pipeline, opened, window, signals, max_frames, quiet=quiet)
        except Exception as error:
            # What was recorded from a camera until then cannot be recorded again; results of files can.
            if not (opened.live and pipeline.stats().captured):
                raise
            failure = error
    stats = pipeline.stats()
    if not quiet:
        _summarise(tally, stats, _figures_from(pipeline, runtimes[0]), save, jsonl, skipped)
    if failure is not None:
        raise failure
    if signals.received is not None:
        if signals.received is signal.SIGHUP:
            err.print("hung up")  # `main` has a line for the others
        raise typer.Exit(signals.exit_code)
    if stats.failed:
        _report_failed(stats, live=opened.live)


class _Tally:
    """Counts what was found, and prints a line a frame where nothing else is asked for."""

    def __init__(self, class_names: Sequence[str]) -> None:
        self.found: Counter[str] = Counter()
        self.prints = False
        self._class_names = tuple(class_names)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is open."""

    def write(self, frame: Frame, detections: Detections) -> None:
        """Count one frame."""
        counts = Counter(self._class_names[i] for i in detections.class_ids.tolist())
        self.found.update(counts)
        if self.prints:
            err.print(plain(f"{frame.source} [{frame.index}]: {_listed(counts)}"))


def _watch(
    pipeline: Pipeline, source: Source, window: WindowSink | None, signals: StopSignals, max_frames: int | None,
    *, quiet: bool,
) -> None:  # fmt: skip
    """Stay until the pipeline has ended: pass on signals and the window's keys, keep the status line."""
    total = max_frames if source.live else min(filter(None, (source.frame_count, max_frames)), default=None)
    columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
    if total is not None:
        columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    shown = err.is_terminal and not quiet
    logged = source.live and not err.is_terminal and not quiet
    next_status = next_log = time.monotonic()
    next_log += _LOG_EVERY_S
    with Progress(*columns, console=err, transient=True, disable=not shown) as progress:
        task = progress.add_task("frames", total=total)
        while not pipeline.wait(_TICK_S if window is None else _WINDOW_TICK_S):
            if signals.received is not None or (window is not None and not window.refresh()):
                pipeline.stop()
                # The window is not asked again: what is under way is written without it.
                window = None
            now = time.monotonic()
            if shown and now >= next_status:
                next_status = now + _STATUS_EVERY_S
                stats = pipeline.stats()
                progress.update(task, description=_status(stats), completed=stats.processed)
            if logged and now >= next_log:
                next_log = now + _LOG_EVERY_S
                err.print(plain(_status(pipeline.stats())))


def _status(stats: PipelineStats) -> str:
    age = stats.stages.age
    parts = [
        f"{stats.processed} frames, {stats.frames_per_second:.1f} a second",
        f"age p50 {age.p50_ms:.0f} p99 {age.p99_ms:.0f} ms",
    ]
    counts = (("dropped", stats.dropped), ("failed", stats.failed), ("reconnects", stats.reconnects))
    parts += [f"{count} {name}" for name, count in counts if count]
    if stats.contexts_working < stats.contexts:
        parts.append(f"{stats.contexts_working} of {stats.contexts} contexts")
    return ", ".join(parts)


def _runtimes(backend: str, bundle: Bundle, cores: str | None) -> tuple[Sequence[Runtime], Callable[[int], Runtime]]:
    """The contexts to run, one a core, and how one of them is made again."""
    from rkdeploy.runtime.registry import open_runtimes

    chosen = None if cores is None else tuple(int(core) for core in cores.split(","))
    runtimes = open_runtimes(backend, bundle, chosen)

    def reopen(position: int) -> Runtime:
        if chosen is not None:
            return open_runtimes(backend, bundle, (chosen[position],))[0]
        # A single context was left to the runtime, which may know no cores to choose from; so is the one after it.
        return open_runtimes(backend, bundle, (position,) if len(runtimes) > 1 else None)[0]

    return runtimes, reopen


def _figures_from(pipeline: Pipeline, runtime: Runtime) -> str:
    return f"{pipeline.figures_from}{', not an NPU' if runtime.name in _ON_THIS_PC else ''}"


def _report_failed(stats: PipelineStats, *, live: bool) -> None:
    """Frames without a result: worth a warning in a stream, but files were to be answered one by one."""
    from rkdeploy.errors import BackendError

    all_frames = _many(stats.processed + stats.failed, "frame")
    text = f"{stats.failed} of {all_frames} failed in the runtime and have no result. The last: {stats.last_failure}"
    if not live:
        raise BackendError(text)
    print_warning(text)


def _summarise(
    tally: _Tally, stats: PipelineStats, figures_from: str, save: Path | None, jsonl: str | None,
    skipped: Sequence[str],
) -> None:  # fmt: skip
    target = err if jsonl == "-" else out
    target.print(f"{_many(stats.processed, 'frame')}: {plain(_listed(tally.found))}")
    if stats.processed:
        rate = stats.processed / stats.running_s if stats.running_s else 0.0
        target.print(
            f"{rate:.1f} frames a second over {stats.running_s:.1f} s, {_many(stats.contexts, 'context')} "
            f"({plain(figures_from)})"
        )
        stages = stats.stages
        timed = (
            ("capture", stages.capture), ("preprocess", stages.preprocess), ("infer", stages.infer),
            ("decode", stages.decode), ("sinks", stages.sink), ("capture to sinks", stages.age),
        )  # fmt: skip
        listed = ", ".join(f"{name} {latency.p50_ms:.1f}/{latency.p99_ms:.1f}" for name, latency in timed)
        target.print(f"p50/p99 ms: {listed}")
    if stats.dropped:
        target.print(
            f"{stats.dropped} of {stats.captured} frames dropped: {stats.dropped_before_network} came faster than the "
            f"network, {stats.dropped_before_sinks} faster than drawing and writing."
        )
    if stats.reconnects:
        target.print(f"The source was connected again {_many(stats.reconnects, 'time')}.")
    if stats.contexts_rebuilt:
        target.print(f"Contexts were opened again {_many(stats.contexts_rebuilt, 'time')}.")
    if skipped:
        target.print(f"{len(skipped)} files could not be read and were left out.")
    if save is not None:
        target.print(f"Drawn: {plain(str(save))}")
    if jsonl not in (None, "-"):
        target.print(f"JSON lines: {plain(str(jsonl))}")


def _listed(found: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.most_common()) or "nothing"


def _many(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"
