"""Predicted times, before there is a board."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from rkdeploy.analysis.estimate.prediction import Estimate, LayerTime, PartName, Prediction
from rkdeploy.analysis.origin import Origin, origin_of
from rkdeploy.analysis.page.columns import ColumnOf, number_column, table_of, text_column
from rkdeploy.analysis.page.content import Block, Cell, LegendEntry, Note, Plot, Table
from rkdeploy.analysis.page.plots.bar_plots import BarPart, stacked_bar
from rkdeploy.analysis.page.plots.svg import Drawings
from rkdeploy.analysis.page.texts import Words

_PARTS: tuple[PartName, ...] = ("compute", "memory", "activation", "attention", "overhead")


def estimate_blocks(found: Estimate, words: Words, slowest: int = 0) -> Iterator[Block]:
    """Predictions of one model for one or several chips.

    Args:
        found: the predictions.
        words: of the language.
        slowest: how many of the slowest layers are listed for each chip.
    """
    height, width = found.input_hw
    dtype = found.predictions[0].dtype
    yield Note(words("estimate.head", model=found.model, width=width, height=height, dtype=dtype))
    yield from prediction_blocks(found.predictions, words)
    for one in found.predictions:
        if slowest:
            yield _slowest(one, slowest, words)


def prediction_blocks(found: Sequence[Prediction], words: Words) -> Iterator[Block]:
    """Time, rate and parts of each prediction, and what they rest on."""
    yield _times(found, words)
    yield _parts(found, words)
    for one in found:
        yield Note(_basis(one, words))
    for text in dict.fromkeys(one.rests_on for one in found if one.rests_on):
        yield Note(words("estimate.less_certain", text=text), "attention")
    for note in dict.fromkeys(note for one in found for note in one.notes if note != one.rests_on):
        yield Note(f"{', '.join(one.target for one in found if note in one.notes)}: {note}", "attention", quoted=True)


def prediction_plot(found: Prediction, words: Words) -> Plot:
    """The parts of a predicted time as one bar, with the interval."""
    parts = [BarPart(words(f"limit.{name}"), time_ms, name) for name, time_ms in found.parts]
    note = words("speed.predicted_note_int8")
    if found.coverage is not None:
        note = words("speed.predicted_note", coverage=f"{found.coverage:.0%}")
    return Plot(
        words("speed.predicted_plot"),
        Drawings.of(partial(stacked_bar, parts, found.low_ms, found.high_ms, "ms")),
        words("speed.predicted_desc"),
        [LegendEntry(p.kind, f"{p.label} {p.value:.2f} ms") for p in parts],
        origin_of(found),
        note,
    )


def _times(found: Sequence[Prediction], words: Words) -> Table:
    coverage = found[0].coverage
    interval = words("speed.interval", coverage=f"{coverage:.0%}" if coverage is not None else "").strip()
    columns: list[ColumnOf[Prediction]] = [
        text_column(words("estimate.chip"), lambda one: one.target),
        number_column(words("estimate.time"), lambda one: one.time_ms, ".2f"),
        ColumnOf(interval, lambda one: Cell(f"{one.low_ms:.2f}-{one.high_ms:.2f}", one.low_ms), "right"),
        number_column(words("estimate.rate"), lambda one: one.frames_per_second, ".1f"),
        ColumnOf(interval, lambda one: Cell(f"{1000 / one.high_ms:.1f}-{1000 / one.low_ms:.1f}"), "right"),
        number_column(words("memory.weights"), lambda one: one.weight_kib, ".2f", " MiB", 1 / 1024),
        number_column(words("memory.internal"), lambda one: one.internal_kib, ".2f", " MiB", 1 / 1024),
    ]
    return table_of(words("speed.predicted_caption"), columns, found, _shared_origin(found))


def _parts(found: Sequence[Prediction], words: Words) -> Table:
    columns: list[ColumnOf[Prediction]] = [
        text_column(words("estimate.chip"), lambda one: one.target),
        *(_part_column(name, words) for name in _PARTS),
    ]
    return table_of(words("speed.parts_caption"), columns, found, _shared_origin(found))


def _part_column(name: PartName, words: Words) -> ColumnOf[Prediction]:
    def cell(one: Prediction) -> Cell:
        time_ms = dict(one.parts).get(name, 0.0)
        return Cell(f"{time_ms:.2f} ms ({time_ms / one.time_ms:.0%})", time_ms)

    return ColumnOf(words(f"limit.{name}"), cell, "right")


def _basis(one: Prediction, words: Words) -> str:
    errors = words("speed.errors" if one.coverage is not None else "speed.errors_published")
    return words(
        "estimate.basis",
        chip=one.target,
        compiled_from=one.compiled_from,
        fitted_on=one.fitted_on,
        errors=errors,
        median=f"{one.median_error:.1%}",
        worst=f"{one.worst_error:.0%}",
    )


def _shared_origin(found: Sequence[Prediction]) -> Origin | None:
    """Origin of all of them; None where they differ."""
    origins = {origin_of(one) for one in found}
    return origins.pop() if len(origins) == 1 else None


def _slowest(one: Prediction, most: int, words: Words) -> Table:
    layers = sorted(one.layers, key=lambda layer: -layer.time_ms)[:most]
    columns: list[ColumnOf[LayerTime]] = [
        text_column("#", lambda layer: str(layer.number), "right"),
        text_column(words("layers.op"), lambda layer: layer.op),
        number_column("ms", lambda layer: layer.time_ms),
        text_column(words("layers.limit"), lambda layer: words(f"limit.{layer.limit}")),
        text_column(words("layers.name"), lambda layer: layer.name),
    ]
    return table_of(words("estimate.slowest", chip=one.target, count=len(layers)), columns, layers)
