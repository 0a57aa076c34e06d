"""Proofs of a build: the contract's decode, and the quantized model against the float model."""

from __future__ import annotations

from collections.abc import Iterator

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.columns import ColumnOf, number_column, share_column, table_of, text_column
from rkdeploy.analysis.page.content import ABSENT, Block, Cell, Note, PageSection, facts, figure
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import ModelReport
from rkdeploy.contract.agreement import Agreement, OutputAgreement
from rkdeploy.contract.record import AttemptRecord, FieldError, Verification


def proof_section(model: ModelReport, words: Words) -> PageSection | None:
    """Proof that the contract reads the model right, and distance of the quantized model from the float model."""
    blocks: list[Block] = []
    if model.verification is not None:
        blocks += _verification(model.verification, words)
    if model.agreement is not None:
        blocks += _agreement(model.agreement, words)
    if model.build is not None and model.build.attempts:
        blocks.append(_attempts(model.build.attempts, model.agreement, words))
    return PageSection("proof", words("proof.title"), blocks) if blocks else None


def _verification(proof: Verification, words: Words) -> Iterator[Block]:
    said = "proof.verified" if proof.decode_proven else "proof.unproven"
    yield Note(words(said, rows=proof.rows, images=proof.images))
    if proof.fields:
        columns: list[ColumnOf[FieldError]] = [
            text_column(words("proof.field"), lambda one: one.name),
            ColumnOf(words("proof.error"), lambda one: figure(one.max_error, ".3g", f" {one.unit}"), "right"),
            ColumnOf(words("proof.allowed"), lambda one: figure(one.allowed, ".3g", f" {one.unit}"), "right"),
            ColumnOf(words("common.status"), lambda one: _status(one, words)),
        ]
        caption = "proof.caption" if proof.decode_proven else "proof.outputs_kept"
        yield table_of(words(caption), columns, proof.fields)
    if proof.rewrite_error is not None and proof.rewrite_allowed is not None:
        yield Note(words("proof.rewrite", error=proof.rewrite_error, allowed=proof.rewrite_allowed))
    elif proof.rewrite_error is not None:  # of a bundle that compared decoded rows
        yield Note(words("proof.rewrite_rows", error=proof.rewrite_error))


def _status(error: FieldError, words: Words) -> Cell:
    held = error.excess <= 1
    return Cell(words("status.good" if held else "status.bad"), status="good" if held else "bad")


def _agreement(found: Agreement, words: Words) -> Iterator[Block]:
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
    if found.text is not None:
        text = found.text
        rows.append((words("proof.text", lines=text.lines), f"{text.same:.1%} / {text.characters:.1%}"))
    if found.depth is not None:
        rows.append((words("proof.depth"), f"{found.depth.abs_rel:.1%} / {found.depth.delta1:.1%}"))
    if found.embedding is not None:
        vectors = found.embedding
        rows.append((words("proof.embedding"), f"{vectors.cosine:.4f} / {vectors.worst:.4f}"))
        if vectors.nearest is not None:
            rows.append((words("proof.nearest", tie=vectors.tie), f"{vectors.nearest:.1%}"))
    if found.same_first_class is not None:
        rows.append((words("proof.first_class"), f"{found.same_first_class:.1%}"))
    yield facts(words("proof.agreement_caption"), words("common.what"), words("common.value"), rows, origin)
    columns: list[ColumnOf[OutputAgreement]] = [
        text_column(words("proof.output"), lambda one: one.name),
        text_column(words("proof.role"), lambda one: one.role),
        number_column(words("proof.cosine"), lambda one: one.cosine, ".5f"),
        number_column(words("proof.max_error"), lambda one: one.max_error, ".3g"),
        share_column(words("proof.saturated"), lambda one: one.saturated),
        number_column(words("proof.float_peak"), lambda one: one.float_peak),
        number_column(words("proof.built_peak"), lambda one: one.built_peak),
        number_column(words("proof.reachable"), lambda one: one.reachable_score),
    ]
    yield table_of(words("proof.outputs_caption"), columns, found.outputs, origin)


def _attempts(attempts: tuple[AttemptRecord, ...], found: Agreement | None, words: Words) -> Block:
    """The quantizations that were tried, since the first agreed too little."""
    columns: list[ColumnOf[AttemptRecord]] = [
        text_column(words("proof.attempt"), lambda one: words(f"proof.attempt.{one.remedy}")),
        text_column(words("proof.measure"), lambda one: one.measure.name if one.measure is not None else ABSENT),
        number_column(words("common.value"), lambda one: one.measure.value if one.measure is not None else None),
        ColumnOf(words("proof.interval"), lambda one: Cell(_interval(one)), "right"),
        number_column(words("proof.mcycles"), lambda one: one.mcycles),
        number_column(words("proof.float16"), lambda one: one.float16, ".0f"),
        ColumnOf(words("common.status"), lambda one: _outcome(one, words)),
    ]
    return table_of(words("proof.attempts_caption"), columns, attempts, origin_of(found) if found is not None else None)


def _interval(attempt: AttemptRecord) -> str:
    return ABSENT if attempt.measure is None else "{:.3f} - {:.3f}".format(*attempt.measure.interval)


def _outcome(attempt: AttemptRecord, words: Words) -> Cell:
    if attempt.kept:
        return Cell(words("proof.kept"), status="good")
    return Cell(words("proof.refused"), status="bad") if attempt.refused else Cell(ABSENT)


def _share(matched: int, share: float | None) -> str:
    return f"{matched:,}" if share is None else f"{matched:,} ({share:.1%})"
