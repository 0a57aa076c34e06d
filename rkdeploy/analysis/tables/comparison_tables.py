"""Builds for several chips, types and sizes, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from rkdeploy.analysis.compare.comparison import BuildComparison, BuildFigures, HeadlineFigure, Row
from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.analysis.page.columns import ColumnOf, number_column, share_column, table_of, text_column
from rkdeploy.analysis.page.content import Block, Cell, Note, Table
from rkdeploy.analysis.page.texts import Words

_MAX_REASON = 600
_LOWER_STANDING = "~"


def comparison_blocks(found: BuildComparison, words: Words) -> Iterator[Block]:
    """The table of builds, what its figures are, and the advice."""
    yield _table(found, words)
    for line in _legend(found, words):
        yield Note(line)
    for line in found.advice:
        yield Note(line, "plain", quoted=True)
    for note in _notes(found):
        yield Note(note, "attention", quoted=True)


def row_line(row: Row) -> str:
    """One line for a build that is done."""
    if row.figures is None:
        return f"{row.variant}: failed: {_one_line(row.reason)}"
    speed, share = row.figures.speed, row.figures.agreement_share
    by_int8 = " by INT8's formula" if speed is not None and speed.coverage is None else ""
    parts = [
        f"{speed.time_ms:.2f} ms predicted{by_int8}" if speed is not None else "time not predicted",
        f"agreement {share:.1%} (simulator)" if share is not None else "not compared with the float model",
        *(f"{one.name} {_fraction(one.built)} (simulator)" for one in _accuracy(row.figures)),
    ]
    return f"{row.variant}: {row.state}, {', '.join(parts)}"


def _table(found: BuildComparison, words: Words) -> Table:
    columns: list[ColumnOf[Row]] = [
        ColumnOf("", lambda row: Cell("*" if row.variant in found.front else "")),
        text_column(words("comparison.target"), lambda row: row.variant.target),
        text_column(words("memory.dtype"), lambda row: row.variant.dtype),
        text_column(words("common.size"), lambda row: row.variant.size),
        _speed_column(words("comparison.predicted_ms"), lambda one: f"{one.time_ms:.2f}"),
        _speed_column(words("comparison.interval"), lambda one: f"{one.low_ms:.2f}-{one.high_ms:.2f}"),
        _speed_column(words("estimate.rate"), lambda one: f"{one.frames_per_second:.1f}"),
        _figure_column(words("comparison.weights"), lambda one: one.weight_kib),
        _figure_column(words("comparison.internal"), lambda one: one.internal_kib),
        _figure_column(words("comparison.file"), lambda one: one.rknn_bytes / 1024),
        share_column(words("comparison.agreement"), lambda row: row.figures.agreement_share if row.figures else None),
        *(_accuracy_column(name) for name in _accuracy_names(found.rows)),
        text_column(words("comparison.state"), lambda row: words(f"comparison.is.{row.state}")),
    ]
    return table_of(words("comparison.caption", model=found.model), columns, found.rows)


def _speed_column(title: str, text: Callable[[Prediction], str]) -> ColumnOf[Row]:
    """A column of predicted figures; those of lower standing have a mark."""

    def cell(row: Row) -> str | None:
        speed = row.figures.speed if row.figures is not None else None
        if speed is None:
            return None
        return text(speed) if speed.coverage is not None else f"{_LOWER_STANDING}{text(speed)}"

    return text_column(title, cell, "right")


def _figure_column(title: str, kib: Callable[[BuildFigures], float | None]) -> ColumnOf[Row]:
    return number_column(title, lambda row: kib(row.figures) if row.figures else None, ".2f", factor=1 / 1024)


def _accuracy_column(name: str) -> ColumnOf[Row]:
    return number_column(
        name, lambda row: next((one.built for one in _accuracy(row.figures) if one.name == name), None)
    )


def _legend(found: BuildComparison, words: Words) -> Iterator[str]:
    """Meaning and origin of the figures; none was measured on a chip."""
    there = [row.figures for row in found.rows if row.figures is not None]
    yield words("comparison.size")
    if found.front:
        yield _front_line(found, there, words)
    yield from _speed_lines([one.speed for one in there if one.speed is not None], words)
    yield words("comparison.memory", toolkit=found.toolkit)
    agreements = [one.agreement for one in there if one.agreement is not None]
    if agreements:
        one = agreements[0]
        rule = words("comparison.agreement_rule") if one.float_detections else ""
        yield words("comparison.agreement_of", by=one.figures_from, images=one.images, source=one.source, rule=rule)
    yield from _accuracy_lines(found.rows, words)
    unpredicted = [(row, row.figures.not_predicted) for row in found.rows if row.figures is not None]
    for names, why in _by_reason(unpredicted):
        yield words("comparison.not_predicted", names=names, why=why)
    hints = {row.reason: row.hint for row in reversed(found.rows)}
    for names, why in _by_reason([(row, row.reason) for row in found.rows]):
        yield words("comparison.failed", names=names, why=_one_line(f"{why} {hints[why]}"))


def _front_line(found: BuildComparison, there: Sequence[BuildFigures], words: Words) -> str:
    by_accuracy = any(one.accuracies for one in there)
    by_size = not by_accuracy and len({row.variant.input_hw for row in found.rows}) > 1
    by = "accuracy" if by_accuracy else "agreement_same_size" if by_size else "agreement"
    among = words("comparison.front_among") if any(one.speed is None for one in there) else ""
    return f"*: {words(f'comparison.front.{by}')} {among}".rstrip()


def _speed_lines(speeds: Sequence[Prediction], words: Words) -> Iterator[str]:
    if speeds:
        coverage = next((f" ({one.coverage:.0%})" for one in speeds if one.coverage is not None), "")
        yield words("comparison.speed", coverage=coverage)
    for text in dict.fromkeys(one.rests_on for one in speeds if one.coverage is None):
        yield f"{_LOWER_STANDING}: {words('comparison.less_certain', text=text)}"


def _accuracy_lines(rows: Sequence[Row], words: Words) -> Iterator[str]:
    """Origin of the accuracy, and the float model's accuracy at each size."""
    measured = {row.variant: row.figures.accuracy for row in rows if row.figures is not None and row.figures.accuracy}
    if not measured:
        return
    first = next(iter(measured.values()))
    references = dict.fromkeys(
        f"{variant.size} {', '.join(_fraction(one.reference) for one in found.figures)}"
        for variant, found in measured.items()
    )
    yield words(
        "comparison.accuracy",
        names=", ".join(one.name for one in first.figures),
        by=first.figures_from,
        images=first.images,
        source=first.source,
        references="; ".join(references),
    )
    carried = [words("comparison.carried_one", a=v, b=found.on) for v, found in measured.items() if found.on]
    if carried:
        yield words("comparison.carried", builds=", ".join(carried))


def _notes(found: BuildComparison) -> Iterator[str]:
    """Notes of the predictions."""
    rows = [
        (row, note)
        for row in found.rows
        if row.figures is not None and row.figures.speed is not None
        for note in row.figures.speed.notes
        if note != row.figures.speed.rests_on
    ]
    for names, note in _by_reason(rows):
        yield f"{names}: {note}"


def _by_reason(rows: Iterable[tuple[Row, str]]) -> list[tuple[str, str]]:
    """The names of the rows that share a reason, and the reason."""
    found: dict[str, list[str]] = {}
    for row, reason in rows:
        if reason:
            found.setdefault(reason, []).append(str(row.variant))
    return [(", ".join(names), reason) for reason, names in found.items()]


def _accuracy_names(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(one.name for row in rows for one in _accuracy(row.figures)))


def _accuracy(figures: BuildFigures | None) -> tuple[HeadlineFigure, ...]:
    return figures.accuracy.figures if figures is not None and figures.accuracy is not None else ()


def _fraction(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_REASON else f"{line[:_MAX_REASON]}..."
