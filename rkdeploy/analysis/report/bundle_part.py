"""What a bundle's own files say, as parts of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.analysis.origin import origin_of_evaluation, simulator
from rkdeploy.analysis.report.model import (
    AccuracyFacts,
    AccuracySide,
    AgreementFacts,
    AnchorFacts,
    AnchorLevel,
    BuildFacts,
    ContractFacts,
)
from rkdeploy.host.families.anchor_defaults import compare_anchors, published_anchors

if TYPE_CHECKING:
    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.record import Agreement, BuildRecord
    from rkdeploy.contract.spec import ModelSpec


def build_facts(record: BuildRecord, bundle: Bundle) -> BuildFacts:
    """How it was built."""
    return BuildFacts(
        created=record.created,
        rkdeploy_version=record.rkdeploy_version,
        source=record.source,
        toolkit=record.toolkit,
        calibration=record.calibration,
        host=record.host,
        seconds=record.seconds,
        rknn_bytes=bundle.rknn.stat().st_size,
    )


def contract_facts(spec: ModelSpec) -> ContractFacts:
    """What goes in and comes out."""
    return ContractFacts(spec.family, spec.task, spec.class_names, spec.input, spec.outputs, spec.end_to_end)


def anchor_facts(spec: ModelSpec) -> AnchorFacts | None:
    """The anchors beside the published ones; None for a model without."""
    if spec.anchors is None:
        return None
    beside = compare_anchors(spec.anchors, spec.family)
    published = published_anchors(spec.anchors, spec.family)
    strides = {output.level: output.stride for output in spec.outputs if output.role.startswith("anchor_")}
    levels = tuple(
        AnchorLevel(strides.get(i, 0), own, published[i] if published else ())
        for i, own in enumerate(spec.anchors.levels_px)
    )
    return AnchorFacts(levels, beside.data_set, beside.are_defaults, beside.largest_ratio)


def agreement_facts(agreement: Agreement) -> AgreementFacts:
    """The comparison of the build."""
    return AgreementFacts(simulator(agreement.figures_from), agreement)


def accuracy_facts(found: AccuracyReport) -> AccuracyFacts:
    """An evaluation, float first."""
    sides = tuple(
        AccuracySide(
            origin=origin_of_evaluation(one),
            computes=one.computes,
            images=one.images,
            objects=one.objects,
            ranking=one.ranking,
            class_maps=one.class_maps,
        )
        for one in sorted(found.evaluations, key=lambda one: one.computes != "float")
    )
    notes = (*found.notes, *(note for one in found.evaluations for note in one.notes))
    return AccuracyFacts(found.source, found.validator, found.confidence, sides, notes)
