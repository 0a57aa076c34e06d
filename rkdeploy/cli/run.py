"""`rkdeploy run`: a bundle on images, videos, cameras or streams, with boxes drawn, shown, saved, or as JSON lines."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from rkdeploy.cli.backend_option import AUTO, BackendOption, ToolkitPythonOption, settled
from rkdeploy.cli.bundle_argument import bundle_and_sources, chosen_bundle
from rkdeploy.cli.console import err, plain, print_warning
from rkdeploy.cli.run_report import figures_source, many, report_failed, require_frames, status_line, summarize
from rkdeploy.cli.size import parse_wh
from rkdeploy.cli.tally import Tally
from rkdeploy.device.web.address import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.device.runtime.protocol import Runtime
    from rkdeploy.device.stream.pipeline import Pipeline
    from rkdeploy.device.stream.sinks.protocol import Sink
    from rkdeploy.device.stream.sinks.window import WindowSink
    from rkdeploy.device.stream.sources.protocol import Source
    from rkdeploy.device.stream.stop_signals import StopSignals
    from rkdeploy.errors import RkdeployError

_TICK_S, _WINDOW_TICK_S = 0.1, 0.015
_STATUS_EVERY_S, _LOG_EVERY_S = 0.25, 10.0


def _cores(text: str | None) -> str | None:
    if text is not None and not re.fullmatch(r"\d{1,2}(,\d{1,2})*", text):
        raise typer.BadParameter(f'"{text}" is no list of cores; give numbers from 0, such as 0,1,2.')
    return text


def run_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE] [SOURCE]...",
            help="The bundle, by default the only or newest one in . or ./build; then images, folders, patterns in "
            "quotes, list files, videos, or addresses of streams (rtsp://...).",
            show_default=False,
        ),
    ] = None,
    camera: Annotated[
        list[int] | None,
        typer.Option(help="A camera of this machine: N of /dev/videoN. Repeatable.", min=0, show_default=False),
    ] = None,
    backend: BackendOption = AUTO,
    toolkit_python: ToolkitPythonOption = None,
    cores: Annotated[
        str | None,
        typer.Option(
            help="NPU cores, one context on each: 0,1,2. Default: all that there are.",
            callback=_cores,
            show_default=False,
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Folder for images or a video with the boxes drawn.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per frame on stdout.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write one JSON object per frame.", show_default=False),
    ] = None,
    map_masks: Annotated[
        bool, typer.Option("--map-masks", help="JSON lines with the pixels of class maps, not their shares only.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            help="New folder for the network's raw outputs, which --replay plays. It costs time: the rate of such a "
            "run says little.",
            show_default=False,
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            help="Play a folder that --record wrote from the same source, in the place of the network.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Show the frames in a window; q or Escape ends.")] = False,
    web: Annotated[
        bool, typer.Option("--web", help=f"Show the frames and figures in a browser, at {DEFAULT_ADDRESS}.")
    ] = False,
    web_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Another address for --web. One that other machines reach needs a token.",
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
        typer.Option(help="Width and height to ask the camera for: 1280x720.", show_default=False),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(help="Frames a second to ask the camera for.", min=1, max=240, show_default=False)
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="End after this many frames.", min=1, show_default=False)
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="A run in which no frame could be read is a success.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print warnings and errors only.")] = False,
) -> None:
    """Run a bundle on images, a video, a camera or a stream."""
    from rkdeploy.device.postprocess.thresholds import Thresholds
    from rkdeploy.device.runtime.protocol import RuntimeOptions
    from rkdeploy.device.runtime.recording import recorded
    from rkdeploy.device.runtime.registry import open_runtimes
    from rkdeploy.device.stream.pipeline import Pipeline, PipelineOptions
    from rkdeploy.device.stream.sinks import open_save_folder
    from rkdeploy.device.stream.sinks.jsonl import JsonlSink
    from rkdeploy.device.stream.sinks.window import WindowSink
    from rkdeploy.device.stream.sources import open_sources
    from rkdeploy.device.stream.sources.camera import Camera
    from rkdeploy.device.stream.sources.several import parts_of
    from rkdeploy.device.stream.stop_signals import StopSignals
    from rkdeploy.system.file_names import readable_name

    cameras = list(dict.fromkeys(camera or ()))
    named, sources = bundle_and_sources(words or (), more_follow=bool(cameras))
    if bool(sources) == bool(cameras):
        if named is not None:
            chosen_bundle(named)  # of two faults, the one that no option fixes is reported
        what = "Give either sources or cameras" if cameras else "There is no source: give images, a video, a stream"
        raise typer.BadParameter(f"{what}{'.' if cameras else ', or --camera 0.'}", param_hint="SOURCE")
    jsonl = [*(["-"] if as_json else []), *([str(output)] if output is not None else [])]
    if replay is not None and backend not in (AUTO, "replay"):
        raise typer.BadParameter(f"--replay runs no network: leave --backend {backend} out.", param_hint="--replay")
    if map_masks and not jsonl:
        raise typer.BadParameter("Class maps are written by --json and --output only.", param_hint="--map-masks")
    if not cameras and (size is not None or fps is not None):
        raise typer.BadParameter("Only a camera can be asked for a size or rate.", param_hint="--size or --fps")
    size_wh = parse_wh(size) if size else None
    bundle = chosen_bundle(named, quiet=quiet)
    names = bundle.spec.class_names
    thresholds = Thresholds.from_options(conf or ["0.25"], names, iou=iou, max_det=max_det)
    skipped: list[str] = []

    def skip(error: RkdeployError) -> None:
        skipped.append(error.message)
        print_warning(f"{error} Left out.")

    opened = open_sources(
        sources,
        [Camera(number, size_wh=size_wh, frames_per_second=fps, notify=print_warning) for number in cameras],
        on_unreadable=skip,
        notify=print_warning,
    )
    if opened.live and (show or web or web_address) and len(parts_of(opened)) > 1:
        raise typer.BadParameter("it shows one live source: give one camera or stream.", param_hint="--web or --show")
    chosen = None if cores is None else tuple(int(core) for core in cores.split(","))
    runtimes: Sequence[Runtime] = open_runtimes(
        settled("replay" if replay is not None else backend, quiet=quiet), bundle, chosen,
        RuntimeOptions(toolkit_python=toolkit_python, recording=replay),
    )  # fmt: skip
    if record is not None:
        runtimes = recorded(runtimes, record)
    tally = Tally(names)
    failure: BaseException | None = None
    with ExitStack() as stack:
        signals = stack.enter_context(StopSignals())
        frames = stack.enter_context(opened)
        sinks: list[Sink] = []
        if save is not None:
            sinks.append(stack.enter_context(open_save_folder(save, opened, names)))
        sinks += [stack.enter_context(JsonlSink(file, names, map_masks=map_masks)) for file in jsonl]
        window = stack.enter_context(WindowSink(f"rkdeploy: {readable_name(opened.text)}", names)) if show else None
        if window is not None:
            sinks.append(window)
        view = None
        if web or web_address is not None:
            from rkdeploy.device.web import open_web_view

            view = stack.enter_context(
                open_web_view(
                    web_address or DEFAULT_ADDRESS,
                    web_token,
                    names,
                    title=bundle.folder.name,
                    source=opened.text,
                    notify=print_warning,
                )
            )
            sinks.append(view)
            if not quiet:
                err.print(f"Live view: {plain(view.url)}")
        tally.prints = not (sinks or quiet or opened.live)
        pipeline = Pipeline(
            opened, frames, runtimes, bundle.spec, thresholds, [*sinks, tally],
            options=PipelineOptions(max_frames=max_frames),
        )  # fmt: skip
        try:
            with pipeline:
                signals.gentle = True
                if view is not None:
                    view.watch(pipeline.stats, lambda: figures_source(pipeline, runtimes[0]))
                if not quiet:
                    where = f"{pipeline.figures_from}, {many(len(runtimes), 'context')}"
                    err.print(f"Running {plain(bundle.folder.name)} with {plain(where)}")
                _watch(pipeline, opened, window, signals, max_frames, quiet=quiet)
        except Exception as error:
            # What was recorded from a camera until then cannot be recorded again; results of files can.
            if not (opened.live and pipeline.stats().captured):
                raise
            failure = error
        if failure is None and signals.received is None and not allow_empty:
            require_frames(pipeline.stats(), opened.text, skipped)  # here, so that no sink puts an empty file in place
    stats = pipeline.stats()
    if not quiet:
        places = {"Drawn": save, "JSON lines": output, "Recorded": record}
        written = {what: str(where) for what, where in places.items() if where is not None}
        source_of_figures = figures_source(pipeline, runtimes[0])
        summarize(tally, stats, source_of_figures, written, skipped, to_stderr=as_json)
    if failure is not None:
        raise failure
    if signals.received is not None:
        raise typer.Exit(signals.exit_code)
    if stats.failed:
        report_failed(stats, live=opened.live)


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
    told: set[str] = set()
    with Progress(*columns, console=err, transient=True, disable=not shown) as progress:
        task = progress.add_task("frames", total=total)
        over = False
        while not over:
            over = pipeline.wait(_TICK_S if window is None else _WINDOW_TICK_S)
            for note in pipeline.notes:  # a context that is opened again may have something new to say
                if note not in told:
                    told.add(note)
                    print_warning(note)
            if signals.received is not None or (window is not None and not window.refresh()):
                pipeline.stop()
                # The window is not asked again: what is under way is written without it.
                window = None
            now = time.monotonic()
            if shown and now >= next_status:
                next_status = now + _STATUS_EVERY_S
                stats = pipeline.stats()
                progress.update(task, description=status_line(stats), completed=stats.processed)
            if logged and now >= next_log:
                next_log = now + _LOG_EVERY_S
                err.print(plain(status_line(pipeline.stats())))
