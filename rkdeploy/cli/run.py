"""`rkdeploy run`: a bundle on images or videos, with boxes drawn, saved, or written as JSON lines."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rkdeploy.cli.console import err, out, plain, print_warning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rkdeploy.errors import RkdeployError
    from rkdeploy.postprocess.detections import Detections
    from rkdeploy.stream.frames import Frame
    from rkdeploy.stream.sinks.protocol import Sink


class Backend(str, Enum):
    """What runs the network."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    simulator = "simulator"
    opencv_dnn = "opencv_dnn"


def run_command(
    source: Annotated[
        str, typer.Option(help="An image, a folder, a pattern in quotes, a list file, or a video.", show_default=False)
    ],
    model: Annotated[
        Path | None, typer.Option(help="A bundle. Default: the only or newest one in . or ./build.")
    ] = None,
    backend: Annotated[
        Backend,
        typer.Option(
            help="onnxruntime and opencv_dnn run the float network on this PC; simulator runs the built one "
            "in the toolkit's NPU simulator."
        ),
    ] = Backend.auto,
    save: Annotated[Path | None, typer.Option(help="Folder for images or a video with the boxes drawn.")] = None,
    jsonl: Annotated[str | None, typer.Option(help="File for one JSON object a frame; - for stdout.")] = None,
    conf: Annotated[
        list[str] | None,
        typer.Option(help="Score threshold for all classes, or for one (person=0.4). Repeatable.  [default: 0.25]"),
    ] = None,
    iou: Annotated[float, typer.Option(help="Boxes of a class that overlap more are one.", min=0, max=1)] = 0.45,
    max_det: Annotated[int, typer.Option(help="Detections a frame at most.", min=1)] = 300,
) -> None:
    """Run a bundle on images or a video."""
    from rkdeploy.bundle import find_bundle, read_bundle
    from rkdeploy.postprocess.thresholds import Thresholds
    from rkdeploy.runtime.registry import open_runtime
    from rkdeploy.stream.detector import Detector
    from rkdeploy.stream.sinks import open_save_folder
    from rkdeploy.stream.sinks.jsonl import JsonlSink
    from rkdeploy.stream.sources import open_source

    if model is None:
        bundle, sentence = find_bundle(Path())
        err.print(plain(sentence))
    else:
        bundle = read_bundle(model)
    names = bundle.spec.class_names
    thresholds = Thresholds.from_options(conf or ["0.25"], names, iou=iou, max_det=max_det)
    skipped: list[str] = []

    def skip(error: RkdeployError) -> None:
        skipped.append(error.message)
        print_warning(f"{error} Left out.")

    opened = open_source(source, on_unreadable=skip)
    with ExitStack() as stack:
        runtime = stack.enter_context(open_runtime(backend.value, bundle))
        err.print(f"Running {plain(bundle.folder.name)} with {plain(runtime.figures_from)}")
        detector = Detector(runtime, bundle.spec, thresholds)
        frames = stack.enter_context(opened)
        sinks: list[Sink] = []
        if save is not None:
            sinks.append(stack.enter_context(open_save_folder(save, opened, names)))
        if jsonl is not None:
            sinks.append(stack.enter_context(JsonlSink(jsonl, names)))
        progress = stack.enter_context(
            Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                     console=err, transient=True, disable=not err.is_terminal)
        )  # fmt: skip
        task = progress.add_task("frames", total=opened.frame_count)
        found: Counter[str] = Counter()
        count, seconds = 0, 0.0
        for frame in frames:
            started = time.perf_counter()
            detections = detector(frame.image)
            seconds += time.perf_counter() - started
            for sink in sinks:
                sink.write(frame, detections)
            if not sinks:
                progress.console.print(plain(_line(frame, detections, names)))
            found.update(names[i] for i in detections.class_ids.tolist())
            count += 1
            progress.advance(task)
        figures_from = runtime.figures_from
    _summarise(count, found, seconds, figures_from, save, jsonl, skipped)


def _line(frame: Frame, detections: Detections, names: Sequence[str]) -> str:
    counts = Counter(names[i] for i in detections.class_ids.tolist())
    listed = ", ".join(f"{n} {name}" for name, n in counts.most_common()) or "nothing"
    return f"{frame.source} [{frame.index}]: {listed}"


def _summarise(
    count: int, found: Counter[str], seconds: float, figures_from: str, save: Path | None,
    jsonl: str | None, skipped: Sequence[str],
) -> None:  # fmt: skip
    target = err if jsonl == "-" else out
    listed = ", ".join(f"{n} {name}" for name, n in found.most_common()) or "nothing"
    rate = f", {1000 * seconds / count:.1f} ms a frame ({figures_from}, not an NPU)" if count else ""
    target.print(f"{count} frames: {plain(listed)}{plain(rate)}")
    if skipped:
        target.print(f"{len(skipped)} files could not be read and were left out.")
    if save is not None:
        target.print(f"Drawn: {plain(str(save))}")
    if jsonl not in (None, "-"):
        target.print(f"JSON lines: {plain(str(jsonl))}")
