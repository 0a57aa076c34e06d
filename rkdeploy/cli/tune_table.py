"""A search as people read it: a line for a trial, the front as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from rkdeploy.analysis.tune.cost import MILLISECONDS
from rkdeploy.cli.console import plain, print_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from rkdeploy.analysis.tune.finished import FinishedTrial
    from rkdeploy.analysis.tune.pareto import Candidate, Outcome
    from rkdeploy.analysis.tune.tune import TuneReport

_MAX_REASON = 300


def trial_line(trial: FinishedTrial) -> str:
    """A finished trial in a line."""
    begin = f"  {trial.number:>3}  {plain(trial.settings.in_words())}: "
    if trial.result is None or trial.drop is None:
        return f"{begin}[red]failed[/], {plain(_short(trial.failure))}"
    figures = ", ".join(f"{name} {value:.4f}" for name, value in trial.result.figures.items())
    cost = f"{trial.result.cost.value:.3f} {trial.result.cost.unit} predicted"
    refused = f"; [yellow]refused[/]: {plain(_short(trial.result.refused))}" if trial.result.refused else ""
    return f"{begin}{plain(figures)}, drop {trial.drop:+.4f}, {cost}, {trial.result.seconds:.0f} s{refused}"


def print_outcome(report: TuneReport, max_cost: float, console: Console) -> None:
    """The front, what is recommended, and what failed."""
    outcome, reference = report.outcome, report.baseline.figures
    ended = len(report.trials)
    console.print(
        f"\n[bold]{ended} trials[/]; these are the ones that no other beats in both accuracy and predicted cost:"
    )
    listed = list(outcome.front)
    for extra in (outcome.default, outcome.recommended):
        if extra is not None and extra not in listed:
            listed.append(extra)
    listed.sort(key=lambda one: (one.result.cost.value, one.drop))
    print_whole(_table(listed, list(reference), outcome), console)
    figures = ", ".join(f"{name} {value:.4f}" for name, value in reference.items())
    console.print(
        f"Float: {plain(figures)}. Accuracy: NPU simulator of rknn-toolkit2, on {report.baseline.evaluation.images} "
        f"images of the {plain(report.baseline.source)}. Cost: predicted from the compile log, not measured."
    )
    if any(one.result.float16 and one.result.cost.unit == MILLISECONDS for one in listed):
        console.print(
            "Times of models with float16 layers are less sure: the latency model was fitted on INT8 models alone. "
            "Mcycles are the compiler's own count, of convolutions only."
        )
    if outcome.noise is not None:
        console.print(
            f"The same settings with other draws of calibration images lie up to {outcome.noise:.4f} apart: smaller "
            "differences mean little."
        )
    if outcome.recommended is not None:
        one = outcome.recommended
        console.print(
            f"[bold green]Recommended[/]: trial {one.trial.number}, the most accurate within {max_cost:g} times the "
            f"default's predicted cost: {plain(one.trial.settings.in_words())}"
        )
    for trial in outcome.failed:
        reason = trial.failure or (trial.result.refused if trial.result else "")
        what = "failed" if trial.result is None else "would be refused by build"
        console.print(f"Trial {trial.number} ({plain(trial.settings.in_words())}) {what}: {plain(_short(reason))}")


def _table(candidates: Sequence[Candidate], names: Sequence[str], outcome: Outcome) -> Table:
    table = Table(box=None, pad_edge=False)
    unit = candidates[0].result.cost.unit if candidates else MILLISECONDS
    cycles = ("Mcycles",) if unit == MILLISECONDS else ()
    for name in ("trial", *names, "drop", f"predicted {unit}", "change", *cycles, "settings", ""):
        table.add_column(plain(name), justify="left" if name in {"settings", ""} else "right", no_wrap=True)
    for one in candidates:
        notes = [] if one in outcome.front else ["not on the front"]
        notes += ["recommended"] if one == outcome.recommended else []
        table.add_row(
            str(one.trial.number),
            *(f"{one.result.figures.get(name, 0.0):.4f}" for name in names),
            f"{one.drop:+.4f}",
            f"{one.result.cost.value:.3f}",
            f"{100 * (one.cost_share - 1):+.1f} %",
            *(f"{one.result.cost.megacycles:.3f}" for _ in cycles),
            plain(one.trial.settings.in_words()),
            ", ".join(notes),
        )
    return table


def _short(text: str) -> str:
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."
