"""Accuracy on labeled images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.columns import ColumnOf, count_column, number_column, table_of, text_column
from rkdeploy.analysis.page.content import ABSENT, Block, LegendEntry, Note, PageSection, Plot, Table
from rkdeploy.analysis.page.plots.bar_plots import Group, grouped_bars
from rkdeploy.analysis.page.plots.svg import Drawings
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.contract.accuracy import (
    AccuracyReport,
    ClassFigures,
    DepthFigures,
    EmbeddingFigures,
    Evaluation,
    MapFigures,
    ObjectFigures,
    TextFigures,
)

_MOST_CLASSES = 40
_MOST_COMPARED = 4
_AREAS = "text areas"
_SERIES = ("float", "built", "third", "fourth")


@dataclass(frozen=True, slots=True)
class _Side:
    """One network's figures of one kind of object.

    Attributes:
        network, origin: in words.
        figures: the figures.
    """

    network: str
    origin: str
    figures: ObjectFigures


def accuracy_section(model: ModelReport, words: Words) -> PageSection:
    """Figures of the float model and of the quantized model, overall and by class."""
    blocks = [block for found in model.accuracy for block in accuracy_blocks(found, words)]
    return PageSection("accuracy", words("accuracy.title"), blocks or [Note(words("accuracy.none"), "unknown")])


def accuracy_blocks(found: AccuracyReport, words: Words) -> Iterator[Block]:
    """All figures of an evaluation."""
    evaluations = found.evaluations
    images = max((one.images for one in evaluations), default=0)
    yield Note(words("accuracy.source", model=found.model, source=found.source, images=images))
    kinds = [figures.kind for figures in evaluations[0].objects] if evaluations else []
    for kind in kinds:
        sides = _sides(evaluations, kind, words)
        yield _objects(sides, kind, words)
        if len(sides) == 2:
            yield Note(_change(sides[0].figures, sides[1].figures, words))
        yield from _classes(sides[:_MOST_COMPARED], kind, words)
    if any(one.ranking for one in evaluations):
        yield _ranking(evaluations, words)
    for figures in evaluations[0].class_maps if evaluations else ():
        yield _class_map(evaluations, figures.name, words)
    if any(one.depth for one in evaluations):
        yield _depth(evaluations, words)
    if any(one.text for one in evaluations):
        yield _text(evaluations, words)
    if any(one.embedding for one in evaluations):
        yield _embedding(evaluations, words)
    if _AREAS in kinds:
        shown = {"validator": found.validator, "confidence": found.confidence, "lowest": found.lowest_confidence}
        yield Note(words("accuracy.how_areas", **shown))
    elif kinds:
        labels = words("accuracy.each_class" if found.multi_label else "accuracy.best_class")
        yield Note(
            words(
                "accuracy.how",
                validator=found.validator,
                confidence=found.confidence,
                labels=labels,
                lowest=found.lowest_confidence,
                iou=found.iou,
            )
        )
    for note in found.all_notes:
        yield Note(note, "attention", quoted=True)


def side_name(side: Evaluation, words: Words) -> str:
    """Name of a network: `INT8`, `float`."""
    return words("accuracy.float") if side.computes == "float" else side.computes.upper()


def _sides(evaluations: Sequence[Evaluation], kind: str, words: Words) -> list[_Side]:
    return [
        _Side(side_name(one, words), words.origin(origin_of(one)), figures)
        for one in evaluations
        for figures in one.objects
        if figures.kind == kind
    ]


def _objects(sides: Sequence[_Side], kind: str, words: Words) -> Table:
    caption = words("accuracy.objects_caption", kind=words.kind(kind), overlap=sides[0].figures.overlap)
    columns: list[ColumnOf[_Side]] = [
        text_column(words("accuracy.network"), lambda one: one.network),
        count_column(words("accuracy.objects"), lambda one: sum(c.truths for c in one.figures.classes)),
        number_column(words("accuracy.map50"), lambda one: one.figures.map50),
        number_column(words("accuracy.map50_95"), lambda one: one.figures.map50_95),
        number_column(words("accuracy.coco_map50"), lambda one: one.figures.coco_map50),
        number_column(words("accuracy.coco_map50_95"), lambda one: one.figures.coco_map50_95),
        number_column(words("accuracy.precision"), lambda one: one.figures.precision),
        number_column(words("accuracy.recall"), lambda one: one.figures.recall),
        *([number_column(words("accuracy.hmean"), lambda one: one.figures.hmean)] if kind == _AREAS else []),
        number_column(words("accuracy.best_f1"), lambda one: one.figures.best.f1 if one.figures.best else None),
        number_column(words("accuracy.best_at"), lambda one: one.figures.best.confidence if one.figures.best else None),
        text_column(words("common.origin"), lambda one: one.origin),
    ]
    return table_of(caption, columns, sides)


def _change(before: ObjectFigures, after: ObjectFigures, words: Words) -> str:
    """Changes from the first network to the second, in a sentence."""
    names = ("map50", "map50_95", "precision", "recall", *(("hmean",) if before.kind == _AREAS else ()))
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in names]
    changes = [f"{words(f'accuracy.{n}')} {b - a:+.3f}" for n, a, b in pairs if a is not None and b is not None]
    return words("accuracy.change", changes=", ".join(changes) or ABSENT)


def _classes(sides: Sequence[_Side], kind: str, words: Words) -> Iterator[Block]:
    """Bars of mAP50-95 by class, and the table of them all."""
    names = [c.name for c in sides[0].figures.classes if c.truths] if sides else []
    if not names:
        return
    by_name = [{c.name: c for c in side.figures.classes} for side in sides]
    yield _class_bars(sides, by_name, names, kind, words)
    rows = [
        (name, side, classes[name])
        for name in names
        for classes, side in zip(by_name, sides, strict=True)
        if name in classes
    ]
    columns: list[ColumnOf[tuple[str, _Side, ClassFigures]]] = [
        text_column(words("accuracy.class"), lambda row: row[0]),
        text_column(words("accuracy.network"), lambda row: row[1].network),
        count_column(words("accuracy.objects"), lambda row: row[2].truths),
        number_column(words("accuracy.map50"), lambda row: row[2].map50),
        number_column(words("accuracy.map50_95"), lambda row: row[2].map50_95),
        number_column(words("accuracy.precision"), lambda row: row[2].precision),
        number_column(words("accuracy.recall"), lambda row: row[2].recall),
    ]
    caption = words("accuracy.classes_caption", kind=words.kind(kind))
    yield table_of(caption, columns, rows, sortable=True, tall=len(rows) > 16)


def _class_bars(
    sides: Sequence[_Side], by_name: Sequence[dict[str, ClassFigures]], names: Sequence[str], kind: str, words: Words
) -> Plot:
    values = {
        name: tuple(one.map50_95 if (one := classes.get(name)) else None for classes in by_name) for name in names
    }
    worst = sorted(names, key=lambda name: _last(values[name]))[:_MOST_CLASSES]
    shown = [name for name in names if name in set(worst)]
    series = _SERIES[: len(sides)]
    groups = [Group(name, values[name]) for name in shown]
    left_out = len(names) - len(shown)
    return Plot(
        words("accuracy.classes_plot", kind=words.kind(kind)),
        Drawings.of(lambda width: grouped_bars(groups, series, high=1.0, width=width)),
        words("accuracy.classes_desc", count=len(shown)),
        [LegendEntry(k, f"{side.network}: {side.origin}") for k, side in zip(series, sides, strict=True)],
        note=words("accuracy.classes_more", count=left_out) if left_out > 0 else "",
    )


def _last(values: tuple[float | None, ...]) -> float:
    """The built model's figure, for the order; none comes last."""
    return 2.0 if values[-1] is None else values[-1]


def _ranking(evaluations: Sequence[Evaluation], words: Words) -> Table:
    columns: list[ColumnOf[Evaluation]] = [
        text_column(words("accuracy.network"), lambda one: side_name(one, words)),
        count_column(words("accuracy.images"), lambda one: one.images),
        number_column(words("accuracy.top1"), lambda one: one.ranking.top1 if one.ranking else None),
        number_column(words("accuracy.top5"), lambda one: one.ranking.top5 if one.ranking else None),
        text_column(words("common.origin"), lambda one: words.origin(origin_of(one))),
    ]
    return table_of(words("accuracy.ranking_caption"), columns, [one for one in evaluations if one.ranking])


def _class_map(evaluations: Sequence[Evaluation], name: str, words: Words) -> Table:
    rows = [(one, figures) for one in evaluations for figures in one.class_maps if figures.name == name]
    columns: list[ColumnOf[tuple[Evaluation, MapFigures]]] = [
        text_column(words("accuracy.network"), lambda row: side_name(row[0], words)),
        number_column(words("accuracy.mean_iou"), lambda row: row[1].mean_iou),
        number_column(words("accuracy.pixels"), lambda row: row[1].pixel_accuracy),
        *(_iou_column(c.name) for c in rows[0][1].classes[:_MOST_CLASSES]),
        text_column(words("common.origin"), lambda row: words.origin(origin_of(row[0]))),
    ]
    return table_of(words("accuracy.map_caption", name=name), columns, rows)


def _depth(evaluations: Sequence[Evaluation], words: Words) -> Table:
    rows = [(one, one.depth) for one in evaluations if one.depth is not None]
    columns: list[ColumnOf[tuple[Evaluation, DepthFigures]]] = [
        text_column(words("accuracy.network"), lambda row: side_name(row[0], words)),
        count_column(words("accuracy.images"), lambda row: row[1].images),
        number_column(words("accuracy.abs_rel"), lambda row: row[1].abs_rel),
        number_column(words("accuracy.delta1"), lambda row: row[1].delta1),
        number_column(words("accuracy.rmse"), lambda row: row[1].rmse_m),
        text_column(words("common.origin"), lambda row: words.origin(origin_of(row[0]))),
    ]
    caption = "accuracy.depth_aligned_caption" if rows[0][1].aligned else "accuracy.depth_caption"
    return table_of(words(caption), columns, rows)


def _text(evaluations: Sequence[Evaluation], words: Words) -> Table:
    rows = [(one, one.text) for one in evaluations if one.text is not None]
    columns: list[ColumnOf[tuple[Evaluation, TextFigures]]] = [
        text_column(words("accuracy.network"), lambda row: side_name(row[0], words)),
        count_column(words("accuracy.images"), lambda row: row[1].images),
        number_column(words("accuracy.right_texts"), lambda row: row[1].same),
        number_column(words("accuracy.characters"), lambda row: row[1].characters),
        text_column(words("common.origin"), lambda row: words.origin(origin_of(row[0]))),
    ]
    return table_of(words("accuracy.text_caption"), columns, rows)


def _embedding(evaluations: Sequence[Evaluation], words: Words) -> Table:
    rows = [(one, one.embedding) for one in evaluations if one.embedding is not None]
    columns: list[ColumnOf[tuple[Evaluation, EmbeddingFigures]]] = [
        text_column(words("accuracy.network"), lambda row: side_name(row[0], words)),
        count_column(words("accuracy.queries"), lambda row: row[1].queries),
        number_column(words("accuracy.top1"), lambda row: row[1].top1),
        number_column(words("accuracy.retrieval"), lambda row: row[1].mean_ap),
        count_column(words("accuracy.pairs"), lambda row: row[1].pairs),
        number_column(words("accuracy.verification"), lambda row: row[1].verification),
        number_column(words("accuracy.cosine"), lambda row: row[1].threshold),
        text_column(words("common.origin"), lambda row: words.origin(origin_of(row[0]))),
    ]
    first = rows[0][1]
    caption = "accuracy.embedding_given_caption" if first.given_pairs else "accuracy.embedding_caption"
    return table_of(words(caption, n=first.identities), columns, rows)


def _iou_column(name: str) -> ColumnOf[tuple[Evaluation, MapFigures]]:
    return number_column(f"IoU {name}", lambda row: next((c.iou for c in row[1].classes if c.name == name), None))
