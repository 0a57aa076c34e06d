"""The figures of an evaluation as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from rkdeploy.cli.console import plain, print_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from rkdeploy.contract.accuracy import AccuracyReport, Evaluation, ObjectFigures

_MAX_CLASSES = 200


def print_accuracy(report: AccuracyReport, console: Console, *, classes: bool = True) -> None:
    """Everything of a report: a table for each thing that was measured, and where the figures come from."""
    evaluations = report.evaluations
    images = evaluations[0].images
    console.print(f"[bold]Accuracy[/] of {plain(report.model)} on {images} images of the {plain(report.source)}")
    for index in range(len(evaluations[0].objects)):
        _print_objects(report, [one.objects[index] for one in evaluations], console, classes=classes)
    if evaluations[0].ranking is not None:
        console.print(_ranking_table(evaluations))
    for index in range(len(evaluations[0].class_maps)):
        console.print(_map_table(evaluations, index))
    for one in evaluations:
        console.print(f"{plain(_label(one))}: {plain(one.figures_from)}")
    if evaluations[0].objects:
        labels = "each class of a box" if report.multi_label else "the best class of a box"
        console.print(
            f"mAP counts predictions above {report.lowest_confidence}, suppressed above an IoU of {report.iou}, "
            f"{labels}, as in {report.validator}; P and R are at a confidence of {plain(report.confidence)} and an "
            "overlap of 0.5."
        )


def _label(one: Evaluation) -> str:
    return f"{one.computes} ({one.backend})"


def _print_objects(
    report: AccuracyReport, figures: Sequence[ObjectFigures], console: Console, *, classes: bool
) -> None:
    labels = [_label(one) for one in report.evaluations]
    first = figures[0]
    columns = ("", "objects", "mAP50", "mAP50-95", "P", "R", "best F1", "at")
    table = _table(f"{first.kind} ({first.overlap})", columns)
    for label, one in zip(labels, figures, strict=True):
        best = one.best
        table.add_row(
            plain(label), str(sum(c.truths for c in one.classes)), _share(one.map50), _share(one.map50_95),
            _share(one.precision), _share(one.recall), _share(best.f1 if best else None),
            _share(best.confidence if best else None),
        )  # fmt: skip
    if len(figures) == 2:
        a, b = figures
        table.add_row(
            "change", "", _change(a.map50, b.map50), _change(a.map50_95, b.map50_95),
            _change(a.precision, b.precision), _change(a.recall, b.recall),
        )  # fmt: skip
    print_whole(table, console)
    coco = ", ".join(
        f"{label} {_share(one.coco_map50)} and {_share(one.coco_map50_95)}"
        for label, one in zip(labels, figures, strict=True)
    )
    console.print(f"mAP50 and mAP50-95 as COCO's own tool reads the curves: {plain(coco)}")
    if classes:
        _print_classes(labels, figures, console)


def _print_classes(labels: Sequence[str], figures: Sequence[ObjectFigures], console: Console) -> None:
    """A row for each class and backend."""
    first = figures[0]
    there = [i for i, c in enumerate(first.classes) if c.truths]
    table = _table("", ("class", "", "objects", "mAP50", "mAP50-95", "P", "R"))
    for i in there[:_MAX_CLASSES]:
        for label, one in zip(labels, figures, strict=True):
            c = one.classes[i]
            same = label != labels[0]
            table.add_row(
                "" if same else plain(c.name), plain(label), "" if same else str(c.truths), _share(c.map50),
                _share(c.map50_95), _share(c.precision), _share(c.recall),
            )  # fmt: skip
    print_whole(table, console)
    if len(there) > _MAX_CLASSES:
        console.print(f"and {len(there) - _MAX_CLASSES} more classes; --json has them all")


def _ranking_table(evaluations: Sequence[Evaluation]) -> Table:
    table = _table("first classes", ("", "images", "top-1", "top-5"))
    for one in evaluations:
        if one.ranking is not None:
            table.add_row(plain(_label(one)), str(one.images), _share(one.ranking.top1), _share(one.ranking.top5))
    return table


def _map_table(evaluations: Sequence[Evaluation], index: int) -> Table:
    first = evaluations[0].class_maps[index]
    names = [c.name for c in first.classes][:_MAX_CLASSES]
    table = _table(
        f"class map {plain(first.name)}", ("", "mean IoU", "pixel accuracy", *(f"IoU {plain(n)}" for n in names))
    )
    for one in evaluations:
        found = one.class_maps[index]
        ious = [_share(c.iou) for c in found.classes[: len(names)]]
        table.add_row(plain(_label(one)), _share(found.mean_iou), _share(found.pixel_accuracy), *ious)
    return table


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index and name else "left", no_wrap=True)
    return table


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _change(before: float | None, after: float | None) -> str:
    return "" if before is None or after is None else f"{after - before:+.3f}"
