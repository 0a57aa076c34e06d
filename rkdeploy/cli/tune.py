"""`rkdeploy tune`: searches quantization settings for the best accuracy at the least predicted cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from rkdeploy.analysis.tune.events import TuneEvents
from rkdeploy.cli.backend_option import ToolkitPythonOption
from rkdeploy.cli.build import build_and_print
from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.model_options import (
    LABELED,
    OUTPUT,
    CalibOption,
    CfgOption,
    ColorOption,
    CountOption,
    CropOption,
    FitOption,
    ImgszOption,
    LabelsOption,
    MeanOption,
    ModelArgument,
    NameOption,
    NamesOption,
    NmsOption,
    SplitOption,
    StdOption,
    Stem,
    StemOption,
    TargetOption,
    WeightsOption,
    input_choice,
)  # fmt: skip
from rkdeploy.cli.size import parse_size
from rkdeploy.contract.documents import document_text
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from rkdeploy.analysis.tune.baseline import Baseline
    from rkdeploy.analysis.tune.finished import FinishedTrial
    from rkdeploy.analysis.tune.tune import TuneOptions, TuneReport
    from rkdeploy.host.building.options import BuildOptions

_SEARCH = "Search"


def tune_command(
    model: ModelArgument,
    data: Annotated[
        Path,
        typer.Option(
            help="Labeled images: a data.yaml, a COCO file (.json), or a classifier's folder of class folders.",
            rich_help_panel=LABELED,
            show_default=False,
        ),
    ],
    split: SplitOption = "val",
    labels: LabelsOption = None,
    count: CountOption = None,
    calib: CalibOption = None,
    target: TargetOption = "rk3588",
    dtype: Annotated[str, typer.Option(help="int8 (i8), or another quantized type that the SoC has.")] = "int8",
    trials: Annotated[
        int,
        typer.Option(help="Trials, those of a search that is gone on with among them.", min=1, rich_help_panel=_SEARCH),
    ] = 24,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Trials at a time. Default: a core each, as far as memory allows; on a cluster all it has.",
            min=1,
            max=1024,
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="A Dask scheduler whose workers run the trials, such as tcp://10.0.0.5:8786.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            help="File that keeps the trials; the same one goes on. Default: build/NAME-TARGET-tune.db.",
            rich_help_panel=_SEARCH,
            show_default=False,
        ),
    ] = None,
    max_cost: Annotated[
        float,
        typer.Option(
            help="Predicted time that the recommended settings may take, over the default's.", rich_help_panel=_SEARCH
        ),
    ] = 1.1,
    seed: Annotated[int, typer.Option(help="Of the search.", min=0, rich_help_panel=_SEARCH)] = 0,
    weights: WeightsOption = None,
    cfg: CfgOption = None,
    imgsz: ImgszOption = None,
    names: NamesOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    color: ColorOption = None,
    fit: FitOption = None,
    crop: CropOption = None,
    stem: StemOption = Stem.space_to_depth,
    nms: NmsOption = None,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the bundle.", rich_help_panel=OUTPUT)] = Path(
        "build"
    ),
    name: NameOption = None,
    no_build: Annotated[
        bool,
        typer.Option("--no-build", help="Only search; build nothing in the end.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", rich_help_panel=OUTPUT)] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the result as JSON.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    toolkit_python: ToolkitPythonOption = None,
) -> None:
    """Search quantization settings for the best accuracy at the least predicted cost, and build with the best."""
    from rkdeploy.analysis.tune.tune import TuneOptions
    from rkdeploy.host.building.accuracy_gate import GateOptions
    from rkdeploy.host.building.options import BuildOptions

    check_target(output)
    options = TuneOptions(
        build=BuildOptions(
            model=model,
            weights=weights,
            cfg=cfg,
            imgsz=parse_size(imgsz) if imgsz else None,
            input=input_choice(names, mean, std, color, fit, crop),
            target=target,
            dtype=dtype,
            calib=calib,
            stem=stem.value,
            nms=nms,
            gate=GateOptions(data, split=split, labels=labels, limit=count),
            out=out_dir,
            toolkit_python=toolkit_python,
            name=name,
        ),
        study=study,
        trials=trials,
        workers=workers,
        scheduler=scheduler,
        max_cost=max_cost,
        seed=seed,
    )
    report, best = _searched(options)
    text = _json(report, best, options)
    print_result(text, lambda: _print(report, best, options), as_json=as_json, output=output)
    _require_one(report, best)
    if best is None or no_build:
        return
    if as_json:
        from rkdeploy.host.building.events import BuildEvents
        from rkdeploy.host.building.pipeline import build

        build(best, BuildEvents())
    else:
        build_and_print(best)


def _searched(options: TuneOptions) -> tuple[TuneReport, BuildOptions | None]:
    """The search, and the build that it recommends."""
    from rkdeploy.analysis.tune.tune import build_options_of, tune

    with _watched() as events:
        try:
            report = tune(options, events)
        except (KeyboardInterrupt, SystemExit):
            if events.wanted:
                err.print(
                    f'Stopped after {events.done} of {events.wanted} trials; they are in "'
                    f'{plain(str(options.study_file))}". The same command goes on.'
                )
            raise
    best = report.outcome.recommended
    return report, None if best is None else build_options_of(options, best)


def _print(report: TuneReport, best: BuildOptions | None, options: TuneOptions) -> None:
    from rkdeploy.cli.tune_table import print_outcome
    from rkdeploy.host.building.command import build_command

    print_outcome(report, options.max_cost, out)
    if best is not None:
        out.print(f"\n[bold]Build it with[/]\n  {plain(build_command(best))}\n")


def _require_one(report: TuneReport, best: BuildOptions | None) -> None:
    """Fail where nothing can be recommended."""
    if best is not None:
        return
    if report.outcome.front:
        raise RkdeployError("No usable trial keeps --max-cost.", "Raise it, or search on with more --trials.")
    reasons = "; ".join(dict.fromkeys(t.failure or (t.result.refused if t.result else "") for t in report.trials))
    raise RkdeployError(f"No trial gave a usable model: {reasons}", "docs/tune.md says what failures mean.")


def _json(report: TuneReport, best: BuildOptions | None, options: TuneOptions) -> str:
    import msgspec

    from rkdeploy.host.building.command import build_command

    document = {
        "document": "rkdeploy tune",
        "schema_version": 1,
        "figures_from": "accuracy: simulator; cost: predicted",
        "study": str(options.study_file),
        "max_cost": options.max_cost,
        "float": msgspec.to_builtins(report.baseline.evaluation),
        "source": report.baseline.source,
        "trials": [msgspec.to_builtins(trial) for trial in report.trials],
        "front": [one.trial.number for one in report.outcome.front],
        "recommended": report.outcome.recommended.trial.number if report.outcome.recommended else None,
        "noise": report.outcome.noise,
        "command": build_command(best) if best is not None else None,
    }
    return document_text(document)


class _Events(TuneEvents):
    """On a terminal a line for every trial and a bar with the time that is left; elsewhere warnings alone."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task: TaskID | None = None if bar is None else bar.add_task("Starting", total=None)
        self._title = ""
        self._begun_s = 0.0
        self._before = 0
        self.done = self.wanted = 0

    def stage(self, title: str) -> None:
        self._title = title
        self._describe(title)

    def detail(self, text: str) -> None:
        self._describe(f"{self._title}: {text}")

    def warning(self, text: str) -> None:
        print_warning(text)

    def prepared(self, baseline: Baseline, images: int) -> None:
        if self._bar is None:
            return
        figures = ", ".join(f"{name} {value:.3f}" for name, value in baseline.figures.items())
        err.print(
            f"[bold]Float[/]     {plain(figures)}; {images} images of the {plain(baseline.source)} "
            f"({plain(baseline.evaluation.figures_from)})"
        )

    def searching(self, finished: int, wanted: int, workers: int) -> None:
        self.done, self.wanted, self._before = finished, wanted, finished
        self._begun_s = time.monotonic()
        if self._bar is None or self._task is None:
            return
        kept = f", {finished} of them from before" if finished else ""
        err.print(f"[bold]Searching[/] {wanted} trials{kept}, {workers} at a time")
        self._bar.update(self._task, total=wanted, completed=finished, description="Trials")

    def finished(self, trial: FinishedTrial, done: int, wanted: int) -> None:
        from rkdeploy.cli.tune_table import trial_line

        self.done = done
        if self._bar is None or self._task is None:
            return
        err.print(trial_line(trial))
        spent = time.monotonic() - self._begun_s
        left = spent / max(done - self._before, 1) * max(wanted - done, 0)
        self._bar.update(self._task, completed=done, description=f"Trials, about {_minutes(left)} left")

    def _describe(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=plain(text))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextmanager
def _watched() -> Iterator[_Events]:
    if not err.is_terminal:
        yield _Events(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, refresh_per_second=4) as bar:
        yield _Events(bar)
