"""`rkdeploy run`: a bundle on images, videos, cameras or streams, with boxes drawn, shown, saved, or as JSON lines."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from rkdeploy.cli.backend import settled
from rkdeploy.cli.bundle_argument import bundle_and_sources, chosen_bundle
from rkdeploy.cli.console import err, plain, print_warning
from rkdeploy.cli.run_report import many, memory_line, report_failed, status_line, summarize
from rkdeploy.cli.typer_command import JSON
from rkdeploy.cli.verbosity import is_quiet, note
from rkdeploy.device.runtime.backend_names import AUTO
from rkdeploy.device.stream.run_events import RunEvents
from rkdeploy.device.stream.run_options import RunOptions
from rkdeploy.device.stream.stop_signals import StopSignals
from rkdeploy.option import BUNDLE, OUTPUT, Argument, Option

if TYPE_CHECKING:
    from typing_extensions import Self  # for type checkers only; typing has it from Python 3.11 on

    from rkdeploy.cli.detection_counter import DetectionCounter
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.stream.run_events import Running
    from rkdeploy.device.stream.sources.source import Source
    from rkdeploy.errors import SourceError

_STATUS_EVERY_S, _LOG_EVERY_S = 0.25, 10.0


def run_command(
    words: Annotated[
        tuple[str, ...],
        Argument(
            "[BUNDLE] [SOURCE]...",
            "A bundle, then what it runs on.",
            (
                BUNDLE,
                (
                    "SOURCE",
                    "An image, folder, pattern in quotes, list file, video, or stream (rtsp://...). Repeatable.",
                ),
            ),
        ),
    ] = (),
    *,
    options: RunOptions,
    as_json: Annotated[bool, replace(JSON, help="Print one JSON object per frame on stdout.", panel=OUTPUT)] = False,
    output: Annotated[
        str | None,
        Option(
            "--output",
            "Write one JSON object per frame to a file. An address, rtsp://..., is one of --publish.",
            OUTPUT,
            ("-o",),
            metavar="FILE",
            often=True,
        ),
    ] = None,
) -> None:
    """Run a bundle on images, videos, cameras or streams."""
    from rkdeploy.cli.detection_counter import DetectionCounter  # numpy's and OpenCV's: help needs neither
    from rkdeploy.device.stream.bundle_run import run_bundle
    from rkdeploy.device.stream.video_out.publish_address import is_publish_address

    if output is not None and is_publish_address(output):
        recording = replace(options.recording, publish=(*options.recording.publish, output))
        options, output = replace(options, recording=recording), None
    named, sources = bundle_and_sources(words, more_follow=bool(options.cameras))
    _require_sense(options, named, sources, writes_json=as_json or output is not None)
    bundle = chosen_bundle(named)
    options = replace(
        options,
        sources=sources,
        backend=settled("replay" if options.replay is not None else options.backend),
        json_lines=(*(("-",) if as_json else ()), *((output,) if output is not None else ())),
    )
    counter = DetectionCounter(bundle.spec.class_names)
    with StopSignals() as signals, _Progress(bundle, counter, signals, options) as events:
        result = run_bundle(bundle, options, events, [counter])
    if not is_quiet():
        summarize(counter, result, bundle.spec.class_names, _written(options, output), to_stderr=as_json)
    if result.failure is not None:
        raise result.failure
    if signals.received is not None:
        raise typer.Exit(signals.exit_code)
    if result.stats.failed:
        report_failed(result.stats, live=result.live)


def _written(options: RunOptions, output: str | None) -> dict[str, str]:
    """Files and folders that the run has written, by what they hold."""
    written = {
        "Drawn": options.save,
        "Crops": options.crops,
        "Maps": options.maps,
        "JSON lines": output,
        "Recorded": options.record,
    }
    return {what: str(where) for what, where in written.items() if where}


def _require_sense(options: RunOptions, named: Path | None, sources: tuple[str, ...], *, writes_json: bool) -> None:
    """Refuse options that contradict each other, before anything is opened.

    Raises:
        typer.BadParameter: naming the option.
    """
    cameras = options.cameras
    if bool(sources) == bool(cameras):
        if named is not None:
            chosen_bundle(named)  # of two faults, the one that no option fixes is reported
        if cameras:
            raise typer.BadParameter("Give either sources or cameras.", param_hint="--camera")
        raise typer.BadParameter("Give images, a video, a stream, or --camera 0.", param_hint="SOURCE")
    if options.replay is not None and options.backend not in (AUTO, "replay"):
        raise typer.BadParameter(
            f"--replay runs no network: leave --backend {options.backend} out.", param_hint="--replay"
        )
    if options.maps_npy and options.maps is None:
        raise typer.BadParameter("Depth is written by --maps FOLDER only.", param_hint="--maps-npy")
    if options.map_masks and not writes_json:
        raise typer.BadParameter("Class maps are written by --json and --output only.", param_hint="--map-masks")
    if not cameras and (options.size_wh is not None or options.fps is not None):
        raise typer.BadParameter("Only a camera can be asked for a size or rate.", param_hint="--size or --fps")
    _require_sense_of_recording(options)


def _require_sense_of_recording(options: RunOptions) -> None:
    """Refuse options of recordings that need another one.

    Raises:
        typer.BadParameter: naming the option.
    """
    if options.recording.events and options.save is None:
        raise typer.BadParameter("Clips are written by --save FOLDER only.", param_hint="--event")
    recording = options.recording
    if recording.event_zones and not recording.events:
        raise typer.BadParameter("A zone is of the clips of --event CLASS.", param_hint="--event-zone")
    if recording.event_stay_s and not recording.event_zones:
        raise typer.BadParameter("Stays are those in a zone: --event-zone NAME.", param_hint="--event-stay")
    if recording.segment_s is not None and options.save is None:
        raise typer.BadParameter("Videos are written by --save FOLDER only.", param_hint="--segment")
    if recording.keep is not None and recording.segment_s is None and not recording.events:
        raise typer.BadParameter("Only the files of --segment and --event are removed.", param_hint="--keep")


class _Progress(RunEvents):
    """A status line on a terminal; for live sources elsewhere a line now and then."""

    def __init__(self, bundle: Bundle, counter: DetectionCounter, signals: StopSignals, options: RunOptions) -> None:
        self._bundle, self._counter, self._signals = bundle, counter, signals
        self._max_frames = options.max_frames
        self._bar: Progress | None = None
        self._next_status = self._next_log = 0.0
        self._logs = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def warning(self, text: str) -> None:
        print_warning(text)

    def left_out(self, error: SourceError) -> None:
        print_warning(f"{error} Left out.")

    def opened(self, source: Source, *, has_sinks: bool) -> None:
        self._counter.prints = not (has_sinks or is_quiet() or source.live)

    def view(self, url: str) -> None:
        note(f"Live view: {url}")

    def started(self, run: Running) -> None:
        from rkdeploy.device.stream.sources.decoders import decoders_of  # with OpenCV

        self._signals.gentle = True
        stats = run.pipeline.stats()
        decoders = "".join(f", video by {one}" for one in decoders_of(run.source))
        contexts = many(stats.contexts, "context")
        written = f", written by {run.video_writer}" if run.video_writer else ""
        note(f"Running {self._bundle.folder.name} with {run.pipeline.figures_from}, {contexts}{decoders}{written}")
        if run.pipeline.memory:
            note(memory_line(run.pipeline.memory))
        for one in stats.recognizers:
            note(f"Then {one.name}, {many(one.contexts, 'context')}")
        self._next_log = time.monotonic() + _LOG_EVERY_S
        self._logs = run.source.live and not err.is_terminal and not is_quiet()
        if err.is_terminal and not is_quiet():
            self._bar = self._started_bar(run.source)

    def tick(self, run: Running) -> None:
        now = time.monotonic()
        if self._bar is not None and now >= self._next_status:
            self._next_status = now + _STATUS_EVERY_S
            stats = run.pipeline.stats()
            self._bar.update(self._bar.task_ids[0], description=status_line(stats), completed=stats.processed)
        if self._logs and now >= self._next_log:
            self._next_log = now + _LOG_EVERY_S
            err.print(plain(status_line(run.pipeline.stats())))

    def ends(self) -> bool:
        return self._signals.received is not None

    def _started_bar(self, source: Source) -> Progress:
        limit = self._max_frames
        total = limit if source.live else min(filter(None, (source.frame_count, limit)), default=None)
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
        if total is not None:
            columns += [BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        bar = Progress(*columns, console=err, transient=True)
        bar.add_task("frames", total=total)
        bar.start()
        return bar
