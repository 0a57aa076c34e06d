"""Accuracy on labeled images, and the agreement of the built model with float."""

from __future__ import annotations

from collections.abc import Iterator

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.blocks import (
    ABSENT,
    Block,
    Cell,
    Column,
    LegendEntry,
    Note,
    Plot,
    Section,
    Table,
    count,
    facts,
    figure,
)
from rkdeploy.analysis.page.plots.bar_plots import Group, grouped_bars
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.contract.accuracy import AccuracyReport, Evaluation

_MOST_CLASSES = 40
_SERIES = ("float", "built", "third", "fourth")


def accuracy_section(model: ModelReport, words: Words) -> Section:
    """Figures of float and of what was built, overall and by class."""
    blocks: list[Block] = []
    for found in model.accuracy:
        blocks += _evaluation(found, words)
    if not blocks:
        blocks.append(Note(words("accuracy.none"), "unknown"))
    return Section("accuracy", words("accuracy.title"), blocks)


def _evaluation(found: AccuracyReport, words: Words) -> Iterator[Block]:
    yield Note(
        words("accuracy.source", source=found.source, images=max((s.images for s in found.evaluations), default=0))
    )
    kinds = [figures.kind for figures in found.evaluations[0].objects] if found.evaluations else []
    for kind in kinds:
        yield _objects(found, kind, words)
        yield from _classes(found, kind, words)
    if any(side.ranking for side in found.evaluations):
        yield _ranking(found, words)
    for index in range(len(found.evaluations[0].class_maps) if found.evaluations else 0):
        yield _class_map(found, index, words)
    if kinds:
        yield Note(words("accuracy.how", validator=found.validator, confidence=found.confidence))
    for note in (*found.notes, *(note for one in found.evaluations for note in one.notes)):
        yield Note(note, "attention", quoted=True)


def side_name(side: Evaluation, words: Words) -> str:
    """`int8`, `float`."""
    return words("accuracy.float") if side.computes == "float" else side.computes.upper()


def _objects(found: AccuracyReport, kind: str, words: Words) -> Table:
    titles = ("objects", "map50", "map50_95", "precision", "recall", "best_f1", "best_at")
    rows = []
    for side in found.evaluations:
        figures = next((one for one in side.objects if one.kind == kind), None)
        if figures is None:
            continue
        best = figures.best
        rows.append(
            [
                Cell(side_name(side, words)), count(sum(c.truths for c in figures.classes)), figure(figures.map50),
                figure(figures.map50_95), figure(figures.precision), figure(figures.recall),
                figure(best.f1 if best else None), figure(best.confidence if best else None),
                Cell(words.origin(origin_of(side))),
            ]
        )  # fmt: skip
    columns = (
        Column(words("accuracy.network")), *(Column(words(f"accuracy.{t}"), "right") for t in titles),
        Column(words("common.origin")),
    )  # fmt: skip
    return Table(words("accuracy.objects_caption", kind=words.kind(kind)), columns, rows)


def _classes(found: AccuracyReport, kind: str, words: Words) -> Iterator[Block]:
    """Bars of mAP50-95 by class, and the table of them all."""
    sides = [(side, figures) for side in found.evaluations for figures in side.objects if figures.kind == kind][:4]
    names = [c.name for c in sides[0][1].classes if c.truths] if sides else []
    if not names:
        return
    by_name = [{c.name: c for c in figures.classes} for _, figures in sides]
    values = {
        name: tuple((one.map50_95 if (one := classes.get(name)) else None) for classes in by_name) for name in names
    }
    worst = sorted(names, key=lambda name: _last(values[name]))[:_MOST_CLASSES]
    shown = [name for name in names if name in set(worst)]
    kinds = _SERIES[: len(sides)]
    svg = grouped_bars([Group(name, values[name]) for name in shown], kinds, high=1.0)
    title = words("accuracy.classes_plot", kind=words.kind(kind))
    left_out = len(names) - len(shown)
    yield Plot(
        title,
        svg,
        words("accuracy.classes_desc", count=len(shown)),
        [
            LegendEntry(k, f"{side_name(side, words)}: {words.origin(origin_of(side))}")
            for k, (side, _) in zip(kinds, sides, strict=True)
        ],
        note=words("accuracy.classes_more", count=left_out) if left_out > 0 else "",
    )
    rows = []
    for name in names:
        for classes, (side, _) in zip(by_name, sides, strict=True):
            one = classes.get(name)
            if one is not None:
                rows.append(
                    [
                        Cell(name), Cell(side_name(side, words)), count(one.truths), figure(one.map50),
                        figure(one.map50_95), figure(one.precision), figure(one.recall),
                    ]
                )  # fmt: skip
    titles = ("objects", "map50", "map50_95", "precision", "recall")
    yield Table(
        words("accuracy.classes_caption", kind=words.kind(kind)),
        (
            Column(words("accuracy.class")), Column(words("accuracy.network")),
            *(Column(words(f"accuracy.{t}"), "right") for t in titles),
        ),
        rows,
        sortable=True,
        tall=len(rows) > 16,
    )  # fmt: skip


def _last(values: tuple[float | None, ...]) -> float:
    """The built model's figure, for the order; none comes last."""
    return 2.0 if values[-1] is None else values[-1]


def _ranking(found: AccuracyReport, words: Words) -> Table:
    rows = [
        [
            Cell(side_name(side, words)), count(side.images), figure(side.ranking.top1), figure(side.ranking.top5),
            Cell(words.origin(origin_of(side))),
        ]
        for side in found.evaluations
        if side.ranking is not None
    ]  # fmt: skip
    columns = (
        Column(words("accuracy.network")), Column(words("accuracy.images"), "right"),
        Column(words("accuracy.top1"), "right"), Column(words("accuracy.top5"), "right"),
        Column(words("common.origin")),
    )  # fmt: skip
    return Table(words("accuracy.ranking_caption"), columns, rows)


def _class_map(found: AccuracyReport, index: int, words: Words) -> Table:
    name = found.evaluations[0].class_maps[index].name
    sides = [(side, one) for side in found.evaluations for one in side.class_maps if one.name == name]
    names = [c.name for c in sides[0][1].classes][:_MOST_CLASSES]
    rows = []
    for side, one in sides:
        ious = {c.name: c.iou for c in one.classes}
        rows.append(
            [
                Cell(side_name(side, words)), figure(one.mean_iou), figure(one.pixel_accuracy),
                *(figure(ious.get(n)) for n in names), Cell(words.origin(origin_of(side))),
            ]
        )  # fmt: skip
    columns = (
        Column(words("accuracy.network")), Column(words("accuracy.mean_iou"), "right"),
        Column(words("accuracy.pixels"), "right"), *(Column(f"IoU {n}", "right") for n in names),
        Column(words("common.origin")),
    )  # fmt: skip
    return Table(words("accuracy.map_caption", name=name), columns, rows)


def proof_section(model: ModelReport, words: Words) -> Section | None:
    """That the contract reads the model right, and how far the built one is from float."""
    blocks: list[Block] = []
    proof = model.verification
    if proof is not None:
        rows = [
            [
                Cell(error.name), figure(error.max_error, ".3g", f" {error.unit}"),
                figure(error.allowed, ".3g", f" {error.unit}"),
                Cell(words("status.good"), status="good") if error.excess <= 1
                else Cell(words("status.bad"), status="bad"),
            ]
            for error in proof.fields
        ]  # fmt: skip
        said = "proof.verified" if proof.decode_proven else "proof.unproven"
        blocks.append(Note(words(said, rows=proof.rows, images=proof.images)))
        if rows:
            columns = (
                Column(words("proof.field")), Column(words("proof.error"), "right"),
                Column(words("proof.allowed"), "right"), Column(words("common.status")),
            )  # fmt: skip
            caption = "proof.caption" if proof.decode_proven else "proof.outputs_kept"
            blocks.append(Table(words(caption), columns, rows))
        if proof.rewrite_error is not None and proof.rewrite_allowed is not None:
            blocks.append(Note(words("proof.rewrite", error=proof.rewrite_error, allowed=proof.rewrite_allowed)))
        elif proof.rewrite_error is not None:  # of a bundle that compared decoded rows
            blocks.append(Note(words("proof.rewrite_rows", error=proof.rewrite_error)))
    if model.agreement is not None:
        blocks += _agreement(model, words)
    return Section("proof", words("proof.title"), blocks) if blocks else None


def _agreement(model: ModelReport, words: Words) -> Iterator[Block]:
    found = model.agreement
    assert found is not None
    origin = origin_of(found)
    rows: list[tuple[str, str]] = [(words("proof.compared_on"), words("proof.images", n=found.images, s=found.source))]
    for ap in found.average_precisions:
        three = f"{ap.ap:.3f} / {ap.ap50:.3f} / {ap.ap75:.3f}"
        low, high = ap.ap50_interval
        kind = words.kind(ap.kind)
        rows.append((words("proof.ap", kind=kind, n=ap.objects), three))
        rows.append((words("proof.ap50_interval", kind=kind), f"{low:.3f} - {high:.3f}"))
    for name, share in (("recall", found.recall), ("precision", found.precision)):
        if share is not None:
            label = words(f"proof.{name}", n=share.objects, confidence=share.confidence, other=share.other_confidence)
            rows.append((label, f"{share.found:.1%}"))
    if found.float_detections or found.built_detections:
        rows += [
            (words("proof.float_objects"), f"{found.float_detections:,}"),
            (words("proof.built_objects"), f"{found.built_detections:,}"),
            (words("proof.matched", iou=found.iou, score=found.score_difference), _share(found.matched, found.share)),
        ]
    if found.mean_iou is not None:
        rows.append((words("proof.mean_iou"), f"{found.mean_iou:.3f}"))
    if found.mean_score_difference is not None:
        rows.append((words("proof.mean_score"), f"{found.mean_score_difference:.3f}"))
    if found.keypoints is not None:
        points = found.keypoints
        shift = f"{points.median_shift_px:.2f} / {points.p95_shift_px:.2f} px"
        rows.append((words("proof.keypoints", n=points.points), shift))
        rows.append((words("proof.poses", oks=points.similarity), f"{points.alike:.1%}"))
    if found.mask_iou is not None:
        rows.append((words("proof.masks"), f"{found.mask_iou:.3f}"))
    for one in found.class_maps:
        overlap = ABSENT if one.mean_iou is None else f"{one.mean_iou:.3f}"
        rows.append((words("proof.map", name=one.output), f"{one.same:.1%} / {overlap}"))
    if found.same_first_class is not None:
        rows.append((words("proof.first_class"), f"{found.same_first_class:.1%}"))
    yield facts(words("proof.agreement_caption"), words("common.what"), words("common.value"), rows, origin)
    tensors = [
        [
            Cell(o.name), Cell(o.role), figure(o.cosine, ".5f"), figure(o.max_error, ".3g"),
            Cell(ABSENT) if o.saturated is None else Cell(f"{o.saturated:.1%}", o.saturated), figure(o.float_peak),
            figure(o.built_peak), figure(o.reachable_score),
        ]
        for o in found.outputs
    ]  # fmt: skip
    titles = ("cosine", "max_error", "saturated", "float_peak", "built_peak", "reachable")
    columns = (
        Column(words("proof.output")), Column(words("proof.role")),
        *(Column(words(f"proof.{t}"), "right") for t in titles),
    )  # fmt: skip
    yield Table(words("proof.outputs_caption"), columns, tensors, origin)


def _share(matched: int, share: float | None) -> str:
    return f"{matched:,}" if share is None else f"{matched:,} ({share:.1%})"
