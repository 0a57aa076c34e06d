"""The report as JSON."""

from __future__ import annotations

from dataclasses import replace

from rkdeploy.analysis.report.model_report import ModelReport, Report
from rkdeploy.contract.documents import document_text


def json_text(report: Report) -> str:
    """The document.  Example pictures are left out; their figures are there."""
    return document_text(replace(report, models=tuple(_without_pictures(model) for model in report.models)))


def _without_pictures(model: ModelReport) -> ModelReport:
    if model.examples is None:
        return model
    pictures = tuple(replace(one, reference_webp=None, built_webp=None) for one in model.examples.pictures)
    return replace(model, examples=replace(model.examples, pictures=pictures))
