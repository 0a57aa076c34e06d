"""A search for quantization settings: a line per trial, the front as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rkdeploy.analysis.page.columns import ColumnOf, number_column, table_of, text_column
from rkdeploy.analysis.page.content import Block, Cell, Note, Table
from rkdeploy.analysis.page.terminal import printable
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.tune.cost import MILLISECONDS
from rkdeploy.analysis.tune.finished_trial import FinishedTrial
from rkdeploy.analysis.tune.pareto import Outcome, UsableTrial
from rkdeploy.analysis.tune.trial_result import TrialResult
from rkdeploy.analysis.tune.tune import TuneReport

_MAX_REASON = 300


def search_blocks(report: TuneReport, max_cost: float, words: Words) -> Iterator[Block]:
    """The front, the recommended trial, and the trials that failed."""
    outcome, reference = report.outcome, report.baseline.figures
    listed = _listed(outcome)
    yield _table(listed, list(reference), outcome, words("search.caption", count=len(report.trials)), words)
    yield Note(
        words(
            "search.float",
            figures=", ".join(f"{name} {value:.4f}" for name, value in reference.items()),
            images=report.baseline.evaluation.images,
            source=report.baseline.source,
        )
    )
    if any(one.result.float16 and one.result.cost.unit == MILLISECONDS for one in listed):
        yield Note(words("search.float16"), "attention")
    if outcome.noise is not None:
        yield Note(words("search.noise", noise=outcome.noise))
    if outcome.recommended is not None:
        trial = outcome.recommended.trial
        yield Note(
            words("search.recommended", n=trial.number, max_cost=max_cost, settings=trial.settings.in_words()), "good"
        )
    for trial in outcome.failed:
        reason = trial.failure or (trial.result.refused if trial.result else "")
        what = words("search.failed" if trial.result is None else "search.refused")
        settings = trial.settings.in_words()
        yield Note(words("search.trial", n=trial.number, settings=settings, what=what, why=_short(reason)))


def trial_line(trial: FinishedTrial) -> str:
    """A finished trial in a line."""
    begin = f"  {trial.number:>3}  {trial.settings.in_words()}: "
    if trial.result is None or trial.drop is None:
        return f"{begin}failed, {printable(_short(trial.failure))}"
    figures = ", ".join(f"{name} {value:.4f}" for name, value in trial.result.figures.items())
    cost = f"{trial.result.cost.value:.3f} {trial.result.cost.unit} predicted"
    refused = f"; refused: {_short(trial.result.refused)}" if trial.result.refused else ""
    return f"{begin}{figures}, drop {trial.drop:+.4f}, {cost}, {trial.result.seconds:.0f} s{refused}"


def _listed(outcome: Outcome) -> list[UsableTrial]:
    """The front with the default and the recommended trial, the cheapest first."""
    wanted = [*outcome.front, *(one for one in (outcome.default, outcome.recommended) if one is not None)]
    by_number = {one.trial.number: one for one in wanted}
    return sorted(by_number.values(), key=lambda one: (one.result.cost.value, one.drop))


def _table(listed: Sequence[UsableTrial], names: Sequence[str], outcome: Outcome, caption: str, words: Words) -> Table:
    unit = listed[0].result.cost.unit if listed else MILLISECONDS
    columns: list[ColumnOf[UsableTrial]] = [
        ColumnOf(words("search.number"), lambda one: Cell(str(one.trial.number), one.trial.number), "right"),
        *(_figure_column(name) for name in names),
        number_column(words("search.drop"), lambda one: one.drop, "+.4f"),
        text_column(words("search.agreement"), lambda one: _agreement(one.result)),
        number_column(words("search.predicted", unit=unit), lambda one: one.result.cost.value),
        number_column(words("search.change"), lambda one: one.cost_share - 1, "+.1f", " %", 100),
        number_column(
            "Mcycles", lambda one: one.result.cost.megacycles if one.result.cost.unit == MILLISECONDS else None
        ),
        text_column(words("search.settings"), lambda one: one.trial.settings.in_words()),
        text_column("", lambda one: _remarks(one, outcome, words)),
    ]
    return table_of(caption, columns, listed)


def _agreement(result: TrialResult) -> str:
    """Agreement with the float model on the held-out images, with its interval."""
    if result.agreement is None or result.agreement_interval is None:
        return ""
    low, high = result.agreement_interval
    return f"{result.agreement_name.upper()} {result.agreement:.3f} ({low:.3f} to {high:.3f})"


def _figure_column(name: str) -> ColumnOf[UsableTrial]:
    return number_column(name, lambda one: one.result.figures.get(name, 0.0), ".4f")


def _remarks(one: UsableTrial, outcome: Outcome, words: Words) -> str:
    remarks = [] if one in outcome.front else [words("search.not_on_front")]
    remarks += [words("search.is_recommended")] if one == outcome.recommended else []
    return ", ".join(remarks)


def _short(text: str) -> str:
    return text if len(text) <= _MAX_REASON else f"{text[:_MAX_REASON]}..."
