"""From the paths that a user gives to one report: read, sort by model, put together."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rkdeploy.accuracy.prediction_store import kept_result
from rkdeploy.analysis.explain.explanation import Explanation
from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.report import verdicts
from rkdeploy.analysis.report.anchor_facts import anchor_facts
from rkdeploy.analysis.report.document_models import (
    ReportedModel,
    model_of_evaluation,
    model_of_explanation,
    model_of_profile,
    model_sha256_of,
)
from rkdeploy.analysis.report.inputs import ReportInput, read_input
from rkdeploy.analysis.report.layer_rows import measured_table, planned_memory, planned_table, predicted_time
from rkdeploy.analysis.report.model_report import LayerTable, ModelReport, Report
from rkdeploy.analysis.report.pictures import example_facts
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import BUILD, Bundle
from rkdeploy.contract.record import BuildRecord
from rkdeploy.device.profiling.profile_document import Profile
from rkdeploy.errors import RkdeployError
from rkdeploy.version import __version__


@dataclass(slots=True)
class _Parts:
    """Documents of one model."""

    model: ReportedModel
    bundle: Bundle | None = None
    profiles: list[Profile] = field(default_factory=list)
    evaluations: list[AccuracyReport] = field(default_factory=list)
    explanation: Explanation | None = None


def gather(paths: Sequence[Path], *, pictures: bool = True) -> Report:
    """Read all paths and put a report together.

    Args:
        paths: bundles' folders, and what profile, eval, explain and report wrote as JSON, in any order. The last
            evaluation of a bundle, kept next to it, is found.
        pictures: whether the examples are drawn.

    Raises:
        RkdeployError: a path that cannot be read, or a file that belongs to no model among the others.
    """
    documents = [read_input(path) for path in dict.fromkeys(paths)]
    documents += _kept_evaluations(documents)
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


def _kept_evaluations(documents: Sequence[ReportInput]) -> list[ReportInput]:
    """Evaluations that `rkdeploy eval` left next to the bundles, unless the user gave one."""
    given = {one.path.resolve() for one in documents}
    bundles = [one.content for one in documents if isinstance(one.content, Bundle)]
    kept = [path for path in map(kept_result, bundles) if path is not None and path.resolve() not in given]
    return [read_input(path) for path in kept]


def _sorted(documents: Sequence[ReportInput]) -> list[_Parts]:
    """The documents by model.  A profile without its bundle is a model of its own; other files need a model."""
    found: list[_Parts] = []
    for document in documents:
        if isinstance(document.content, Bundle):
            bundle = document.content
            model = ReportedModel(bundle.folder.resolve().name, model_sha256_of(bundle), bundle, document.path)
            found.append(_Parts(model, bundle=bundle))
    bundles = [one.model for one in found]
    for document in documents:
        if isinstance(document.content, Profile):
            profile = document.content
            index = model_of_profile(profile, document.path, bundles)
            if index is None:
                index = _profiled_before(profile, found)
            if index is None:
                found.append(_Parts(ReportedModel(profile.bundle, profile.model_sha256, None, document.path)))
                index = len(found) - 1
            found[index].profiles.append(profile)
    models = [one.model for one in found]
    for document in documents:
        if isinstance(document.content, AccuracyReport):
            index = model_of_evaluation(document.content, document.path, models)
            found[index].evaluations.append(document.content)
        elif isinstance(document.content, Explanation):
            found[model_of_explanation(document.content, document.path, models)].explanation = document.content
    return found


def _profiled_before(profile: Profile, found: Sequence[_Parts]) -> int | None:
    """The model of an earlier profile of the same file."""
    for index, one in enumerate(found):
        if one.bundle is None and one.model.sha256 == profile.model_sha256 and one.model.name == profile.bundle:
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
    predicted, not_predicted = predicted_time(compiled, target, dtype, toolkit) if compiled else (None, "")
    tables: list[LayerTable] = [planned_table(compiled, target, predicted, toolkit)] if compiled else []
    tables += [measured_table(one.layers, origin_of(one), compiled, target) for one in parts.profiles if one.layers]
    tables.sort(key=lambda table: table.origin.kind != "measured")
    recorded = [record.accuracy] if record and record.accuracy else []
    return verdicts.with_summary(
        ModelReport(
            name=parts.model.name,
            model_sha256=parts.model.sha256,
            target=target,
            dtype=dtype,
            input_hw=input_hw,
            summary=(),
            contract=bundle.spec if bundle else None,
            build=replace(record, compiled=None, accuracy=None) if record else None,
            rknn_bytes=bundle.rknn.stat().st_size if bundle else None,
            anchors=anchor_facts(bundle.spec) if bundle else None,
            accuracy=tuple(_float_first(one) for one in (*recorded, *parts.evaluations)),
            predicted=replace(predicted, layers=()) if predicted else None,
            not_predicted=not_predicted,
            profiles=tuple(replace(one, layers=None) for one in parts.profiles),
            layers=tuple(tables),
            memory=planned_memory(compiled, toolkit) if compiled else None,
            examples=example_facts(bundle) if bundle and pictures else None,
            explanation=parts.explanation,
        )
    )


def _float_first(found: AccuracyReport) -> AccuracyReport:
    return replace(found, evaluations=tuple(sorted(found.evaluations, key=lambda one: one.computes != "float")))


def _record(bundle: Bundle | None) -> BuildRecord | None:
    """The record of a bundle; None for one that came without, as boards may have them."""
    if bundle is None or not (bundle.folder / BUILD).exists():
        return None
    return bundle.record
