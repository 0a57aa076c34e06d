"""From the paths that a user gives to one report: read, sort by model, put together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rkdeploy import __version__
from rkdeploy.analysis.origin import origin_of_profile, simulator
from rkdeploy.analysis.report import verdicts
from rkdeploy.analysis.report.belonging import (
    Candidate,
    model_sha256_of,
    owner_of_evaluation,
    owner_of_explanation,
    owner_of_profile,
)
from rkdeploy.analysis.report.bundle_part import (
    accuracy_facts,
    agreement_facts,
    anchor_facts,
    build_facts,
    contract_facts,
)
from rkdeploy.analysis.report.documents import Document, FoundExplanation, read_document
from rkdeploy.analysis.report.layers import (
    measured_table,
    planned_memory,
    planned_table,
    predicted_time,
    prediction_facts,
    require_possible_plan,
)
from rkdeploy.analysis.report.model import (
    ExplainedCause,
    ExplainedLayer,
    ExplanationFacts,
    LayerTable,
    MeasuredRun,
    ModelReport,
    Report,
)
from rkdeploy.analysis.report.pictures import example_facts
from rkdeploy.analysis.report.possible import require_possible
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import Bundle
from rkdeploy.contract.record import BuildRecord
from rkdeploy.device.profiling.figures import Profile
from rkdeploy.errors import RkdeployError


@dataclass(slots=True)
class _Parts:
    """What belongs to one model."""

    candidate: Candidate
    bundle: Bundle | None = None
    profiles: list[Profile] = field(default_factory=list)
    evaluations: list[AccuracyReport] = field(default_factory=list)
    explanation: FoundExplanation | None = None


def gather(paths: Sequence[Path], *, pictures: bool = True) -> Report:
    """Read all paths and put a report together.

    Args:
        paths: bundles' folders, and what profile, eval, explain and report wrote as JSON, in any order.
        pictures: whether the examples are drawn.

    Raises:
        RkdeployError: a path that cannot be read, or a file that belongs to no model among the others.
    """
    documents = [read_document(path) for path in dict.fromkeys(paths)]
    ready = [model for one in documents if isinstance(one.content, Report) for model in one.content.models]
    parts = _sorted(documents)
    models = (*(_model(one, pictures=pictures) for one in parts), *ready)
    if not models:
        raise RkdeployError(
            "There is no model to report on.", "Give a bundle's folder, or the profile.json of rkdeploy profile."
        )
    return Report(
        models=models,
        created=dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        rkdeploy_version=__version__,
    )


def _sorted(documents: Sequence[Document]) -> list[_Parts]:
    """The documents by model.  A profile without its bundle is a model of its own; other files need a model."""
    found: list[_Parts] = []
    for document in documents:
        if isinstance(document.content, Bundle):
            bundle = document.content
            candidate = Candidate(bundle.folder.resolve().name, model_sha256_of(bundle), bundle, document.path)
            found.append(_Parts(candidate, bundle=bundle))
    bundles = [one.candidate for one in found]
    for document in documents:
        if isinstance(document.content, Profile):
            profile = document.content
            index = owner_of_profile(profile, document.path, bundles)
            if index is None:
                index = _profiled_before(profile, found)
            if index is None:
                found.append(_Parts(Candidate(profile.bundle, profile.model_sha256, None, document.path)))
                index = len(found) - 1
            found[index].profiles.append(profile)
    candidates = [one.candidate for one in found]
    for document in documents:
        if isinstance(document.content, AccuracyReport):
            index = owner_of_evaluation(document.content, document.path, candidates)
            found[index].evaluations.append(document.content)
        elif isinstance(document.content, FoundExplanation):
            found[owner_of_explanation(document.content, document.path, candidates)].explanation = document.content
    return found


def _profiled_before(profile: Profile, found: Sequence[_Parts]) -> int | None:
    """The model of an earlier profile of the same file."""
    for index, one in enumerate(found):
        if one.bundle is None and one.candidate.sha256 == profile.model_sha256 and one.candidate.name == profile.bundle:
            return index
    return None


def _model(parts: _Parts, *, pictures: bool) -> ModelReport:
    bundle, record = parts.bundle, _record(parts.bundle)
    first = parts.profiles[0] if parts.profiles else None
    if bundle is not None:
        target, dtype = bundle.model.target, bundle.model.dtype
        input_hw = (bundle.spec.input.height, bundle.spec.input.width)
    else:
        assert first is not None
        target, dtype, input_hw = first.versions.target, first.versions.dtype, (first.input_height, first.input_width)
    compiled = record.compiled if record else None
    toolkit = f"{record.toolkit.name} {record.toolkit.version}" if record else ""
    prediction, why_not = predicted_time(compiled, target, dtype) if compiled else (None, "")
    predicted = prediction_facts(prediction, toolkit) if prediction else None
    tables: list[LayerTable] = [planned_table(compiled, target, prediction, toolkit)] if compiled else []
    tables += [
        measured_table(one.layers, origin_of_profile(one), compiled, target) for one in parts.profiles if one.layers
    ]
    tables.sort(key=lambda table: table.origin.kind != "measured")
    memory = planned_memory(compiled, toolkit) if compiled else None
    runs = tuple(_run(one) for one in parts.profiles)
    build = build_facts(record, bundle) if record and bundle else None
    agreement = agreement_facts(record.agreement) if record and record.agreement else None
    kept = [record.accuracy] if record and record.accuracy else []
    accuracy = tuple(accuracy_facts(one) for one in (*kept, *parts.evaluations))
    verification = record.verification if record else None
    return ModelReport(
        name=parts.candidate.name,
        model_sha256=parts.candidate.sha256,
        target=target,
        dtype=dtype,
        input_hw=input_hw,
        summary=verdicts.summary(verification, agreement, accuracy, predicted, runs, build, memory, why_not),
        build=build,
        contract=contract_facts(bundle.spec) if bundle else None,
        anchors=anchor_facts(bundle.spec) if bundle else None,
        verification=verification,
        agreement=agreement,
        accuracy=accuracy,
        predicted=predicted,
        runs=runs,
        layers=tuple(tables),
        memory=memory,
        examples=example_facts(bundle) if bundle and pictures else None,
        explanation=_explanation(parts.explanation),
        warnings=record.warnings if record else (),
    )


def _record(bundle: Bundle | None) -> BuildRecord | None:
    """How a bundle was built; None for one that came without, as boards may have them."""
    if bundle is None or not (bundle.folder / "build.json").exists():
        return None
    record = bundle.record
    require_possible(bundle.folder / "build.json", record)
    if record.compiled is not None:
        require_possible_plan(record.compiled, bundle.folder.name)
    return record


def _run(profile: Profile) -> MeasuredRun:
    return MeasuredRun(
        origin=origin_of_profile(profile),
        created=profile.created,
        backend=profile.backend,
        frames=profile.frames,
        stages=profile.stages,
        cores=profile.cores,
        throughput=profile.throughput,
        npu_memory=profile.npu_memory,
        process_memory=profile.process_memory,
        conditions=profile.conditions,
        versions=profile.versions,
        missing=profile.missing,
        advice=profile.advice,
    )


def _explanation(found: FoundExplanation | None) -> ExplanationFacts | None:
    if found is None:
        return None
    return ExplanationFacts(
        origin=simulator(found.figures_from),
        images=len(found.images),
        layers=tuple(ExplainedLayer(r.name, r.op, r.single_cosine, r.entire_cosine) for r in found.layers),
        causes=tuple(ExplainedCause(c.kind, c.layer, c.text, c.try_this) for c in found.causes),
    )
