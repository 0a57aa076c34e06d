"""`rkdeploy eval`: how accurate a bundle is on labeled images, float beside what was built."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rkdeploy.cli.backend_option import AUTO, ToolkitPythonOption
from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, out, print_warning
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.model_options import LABELED, CountOption, LabelsOption, SplitOption
from rkdeploy.contract.documents import document_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rkdeploy.evaluate.run import Progress as Listener

_MEASURE, _RUN = "Measure", "Run"


def _known(names: list[str] | None) -> list[str] | None:
    from rkdeploy.device.runtime.registry import BACKENDS

    for name in names or ():
        if name != AUTO and name not in BACKENDS:
            raise typer.BadParameter(f'"{name}" is none; expected one of {", ".join((AUTO, *sorted(BACKENDS)))}.')
    return names


def eval_command(
    data: Annotated[
        Path,
        typer.Option(
            help="Labeled images: a data.yaml, a COCO file (.json), or a classifier's folder of class folders.",
            rich_help_panel=LABELED,
            show_default=False,
        ),
    ],
    bundle: Annotated[
        Path | None,
        typer.Argument(help="A bundle. Default: the only or newest one in . or ./build.", show_default=False),
    ] = None,
    split: SplitOption = "val",
    labels: LabelsOption = None,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a COCO file's images. Default: looked for around it.",
            rich_help_panel=LABELED,
            show_default=False,
        ),
    ] = None,
    count: CountOption = None,
    backend: Annotated[
        list[str] | None,
        typer.Option(
            help="What runs the network; repeatable, side by side. Default: onnxruntime (float) and simulator (as "
            "built) on a PC, the NPU on a board.",
            callback=_known,
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(help="Processes, each with a runtime of its own.", min=1, max=256, rich_help_panel=_RUN)
    ] = 1,
    conf: Annotated[
        list[str] | None,
        typer.Option(
            help="Confidence of the precision and recall, for all classes or for one (person=0.4). Repeatable. "
            "[default: 0.25]",
            rich_help_panel=_MEASURE,
            show_default=False,
        ),
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(
            help="Boxes of a class that overlap more are one. Default: as the family's validator, 0.6 or 0.7.",
            min=0,
            max=1,
            rich_help_panel=_MEASURE,
            show_default=False,
        ),
    ] = None,
    best_class: Annotated[
        bool,
        typer.Option(
            "--best-class",
            help="A box counts for its best class only, as in rkdeploy run, and not for each as in the validators.",
            rich_help_panel=_MEASURE,
        ),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Folder that keeps the predictions. Default: beside the bundle.",
            rich_help_panel=_RUN,
            show_default=False,
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Compute predictions that are kept again.", rich_help_panel=_RUN)
    ] = False,
    toolkit_python: ToolkitPythonOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the result as JSON.", show_default=False),
    ] = None,
) -> None:
    """Measure the accuracy of a bundle on labeled images."""
    from rkdeploy.cli.evaluate_table import print_accuracy
    from rkdeploy.device.runtime.protocol import RuntimeOptions
    from rkdeploy.evaluate.run import EvaluationOptions, evaluate

    check_target(output)
    opened = chosen_bundle(bundle)
    options = EvaluationOptions(
        data=data,
        backends=_settled(backend),
        split=split,
        labels=labels,
        images=images,
        limit=count,
        confidences=tuple(conf or ()),
        iou=iou,
        multi_label=not best_class,
        workers=workers,
        state=state,
        fresh=fresh,
        runtime=RuntimeOptions(toolkit_python=toolkit_python),
    )
    with _progress() as listener:
        report = evaluate(opened, options, listener)
    for note in (*report.notes, *(note for one in report.evaluations for note in one.notes)):
        print_warning(note)
    text = document_text(report)
    print_result(text, lambda: print_accuracy(report, out), as_json=as_json, output=output)


def _settled(backends: list[str] | None) -> tuple[str, ...]:
    """The backends: those that were named, else float and built side by side, or a board's own."""
    from rkdeploy.device.runtime.registry import choose_backend

    names: list[str] = []
    for name in backends or [AUTO]:
        if name != AUTO:
            names.append(name)
            continue
        choice = choose_backend()
        if choice.degraded:
            print_warning(choice.reason)
        names += [choice.backend] if choice.backend in {"librknnrt", "rknnlite"} else ["onnxruntime", "simulator"]
    return tuple(dict.fromkeys(names))


@contextmanager
def _progress() -> Iterator[Listener]:
    """A bar with the time that is left, on a terminal; nothing elsewhere."""
    if not err.is_terminal:
        yield lambda _backend, _done, _total: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, refresh_per_second=4) as bar:
        tasks: dict[str, TaskID] = {}

        def listener(backend: str, done: int, total: int) -> None:
            if backend not in tasks:
                tasks[backend] = bar.add_task(backend, total=total, completed=done)
            bar.update(tasks[backend], completed=done)

        yield listener
