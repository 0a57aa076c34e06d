"""`rkdeploy eval`: accuracy of a bundle on labeled images, the float next to the quantized model."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from rkdeploy.accuracy.evaluation import EvaluationOptions, default_backends
from rkdeploy.analysis.page.texts import Lang
from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, print_warning
from rkdeploy.cli.document import check_target, print_tables
from rkdeploy.cli.language import LANGUAGE
from rkdeploy.cli.typer_command import JSON, PAGE_FILE
from rkdeploy.cli.verbosity import is_quiet
from rkdeploy.device.runtime.backend_names import AUTO, known_backend
from rkdeploy.device.runtime.backends import choose_backend
from rkdeploy.option import BUNDLE, Argument, Only

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rkdeploy.accuracy.evaluation import Progress as Listener


def eval_command(
    bundle: Annotated[Path | None, Argument(*BUNDLE)] = None,
    *,
    options: Annotated[
        EvaluationOptions,
        Only(also={"--data-split": "--split", "--data-labels": "--labels", "--data-count": "--count"}),
    ],
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[Path | None, PAGE_FILE] = None,
    lang: Annotated[Lang | None, LANGUAGE] = None,
) -> None:
    """Measure the accuracy of a bundle on labeled images, float next to the built model."""
    from rkdeploy.accuracy.evaluation import evaluate
    from rkdeploy.analysis.tables.accuracy_tables import accuracy_blocks

    check_target(output)
    opened = chosen_bundle(bundle)
    options = replace(options, backends=_settled(options.backends))
    with _progress() as listener:
        report = evaluate(opened, options, listener)
    for note in report.all_notes if as_json else ():
        print_warning(note)
    print_tables(
        report,
        lambda words: accuracy_blocks(report, words),
        title=report.model,
        as_json=as_json,
        output=output,
        lang=lang,
    )


def _settled(backends: tuple[str, ...]) -> tuple[str, ...]:
    """The backends: those that were named, else float and built side by side, or a board's own."""
    names: list[str] = []
    for name in backends:
        if name != AUTO:
            names.append(_known(name))
            continue
        choice = choose_backend()
        if choice.degraded:
            print_warning(choice.reason)
        names += default_backends(choice.backend)
    return tuple(dict.fromkeys(names))


def _known(name: str) -> str:
    try:
        return known_backend(name)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--backend") from error


@contextmanager
def _progress() -> Iterator[Listener]:
    """A bar with the time that is left, on a terminal; nothing elsewhere."""
    if not err.is_terminal or is_quiet():
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
