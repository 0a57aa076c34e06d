"""`rkdeploy tune`: searches quantization settings for the best accuracy at the least predicted cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.analysis.tune.tune_events import TuneEvents
from rkdeploy.analysis.tune.tune_options import TuneOptions
from rkdeploy.cli.build import build_and_print
from rkdeploy.cli.console import err, plain, print_warning
from rkdeploy.cli.document import check_target, print_tables
from rkdeploy.cli.language import LANGUAGE
from rkdeploy.cli.typer_command import JSON, PAGE_FILE
from rkdeploy.cli.verbosity import is_quiet
from rkdeploy.errors import RkdeployError
from rkdeploy.option import OUTPUT, Option

if TYPE_CHECKING:
    from rkdeploy.analysis.page.content import Block
    from rkdeploy.analysis.page.texts import Words
    from rkdeploy.analysis.tune.baseline import Baseline
    from rkdeploy.analysis.tune.finished_trial import FinishedTrial
    from rkdeploy.analysis.tune.search_document import SearchDocument
    from rkdeploy.analysis.tune.tune import TuneReport
    from rkdeploy.host.building.build_options import BuildOptions


def tune_command(
    options: TuneOptions,
    no_build: Annotated[bool, Option("--no-build", "Only search, build nothing.", OUTPUT)] = False,
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
    output: Annotated[Path | None, replace(PAGE_FILE, panel=OUTPUT)] = None,
    lang: Annotated[Lang | None, LANGUAGE] = None,
) -> None:
    """Search quantization settings for the best accuracy at the least predicted cost, and build with the best."""
    if options.build.gate is None:
        raise typer.BadParameter("Labeled images are needed to measure on.", param_hint="--data")
    check_target(output)
    report, best = _searched(options)
    print_tables(
        _document(report, best, options),
        lambda words: _blocks(report, best, options, words),
        title=options.build.title,
        as_json=as_json,
        output=output,
        lang=lang,
    )
    _require_one(report, best)
    if best is None or no_build:
        return
    if as_json:
        from rkdeploy.host.building.build_events import BuildEvents
        from rkdeploy.host.building.build_stages import build

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


def _blocks(report: TuneReport, best: BuildOptions | None, options: TuneOptions, words: Words) -> Iterator[Block]:
    from rkdeploy.analysis.page.content import Note
    from rkdeploy.analysis.tables.search_tables import search_blocks
    from rkdeploy.host.building.command_line import build_command_line

    yield from search_blocks(report, options.max_cost, words)
    if best is not None:
        yield Note(words("search.command", command=build_command_line(best)))


def _require_one(report: TuneReport, best: BuildOptions | None) -> None:
    """Fail where nothing can be recommended."""
    if best is not None:
        return
    if report.outcome.front:
        raise RkdeployError("No usable trial keeps --max-cost.", "Raise it, or search on with more --trials.")
    reasons = "; ".join(dict.fromkeys(t.failure or (t.result.refused if t.result else "") for t in report.trials))
    raise RkdeployError(f"No trial gave a usable model: {reasons}", "docs/tune.md says what failures mean.")


def _document(report: TuneReport, best: BuildOptions | None, options: TuneOptions) -> SearchDocument:
    from rkdeploy.analysis.tune.search_document import SearchDocument
    from rkdeploy.host.building.command_line import build_command_line

    command = build_command_line(best) if best is not None else None
    return SearchDocument.of(report, str(options.study_file), options.max_cost, command)


class _SearchProgress(TuneEvents):
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
        from rkdeploy.analysis.tables.search_tables import trial_line

        self.done = done
        if self._bar is None or self._task is None:
            return
        err.print(plain(trial_line(trial)))
        spent = time.monotonic() - self._begun_s
        left = spent / max(done - self._before, 1) * max(wanted - done, 0)
        self._bar.update(self._task, completed=done, description=f"Trials, about {_minutes(left)} left")

    def _describe(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=plain(text))


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


@contextmanager
def _watched() -> Iterator[_SearchProgress]:
    if not err.is_terminal or is_quiet():
        yield _SearchProgress(None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=err, transient=True, refresh_per_second=4) as bar:
        yield _SearchProgress(bar)
