"""What a report that comes out of a file must hold beyond its types, and its summary made anew from its figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rkdeploy.analysis.report import verdicts
from rkdeploy.analysis.report.model import ModelReport, Report
from rkdeploy.errors import RkdeployError


def sound_report(path: Path, report: Report) -> Report:
    """The report, its summary ours: codes and values of a stranger's would be put into words as they are.

    Args:
        path: of its file, for the message.
        report: as it was decoded.

    Raises:
        RkdeployError: figures that are divided by are not above 0, or levels of anchors do not fit each other.
    """
    for model in report.models:
        wrong = _wrong(model)
        if wrong:
            raise RkdeployError(f'"{path}" is invalid: {wrong}.', "Write it again with rkdeploy report.")
    return replace(report, models=tuple(_with_summary(model) for model in report.models))


def _wrong(model: ModelReport) -> str:
    for level in model.anchors.levels if model.anchors else ():
        if any(side <= 0 for wh in (*level.own_px, *level.published_px) for side in wh):
            return "an anchor's side is not above 0"
        if level.published_px and len(level.published_px) != len(level.own_px):
            return "the model's anchors and the published ones differ in number"
    lines = [table.roofline for table in model.layers if table.roofline is not None]
    if any(one.macs_per_second <= 0 or one.bytes_per_second <= 0 for one in lines):
        return "a line of the roofline is not above 0"
    if model.predicted is not None and model.predicted.time_ms <= 0:
        return "the predicted time is not above 0"
    return ""


def _with_summary(model: ModelReport) -> ModelReport:
    reasons = (one.values.get("reason", "") for one in model.summary if one.question == "fast")
    return replace(
        model,
        summary=verdicts.summary(
            model.verification,
            model.agreement,
            model.accuracy,
            model.predicted,
            model.runs,
            model.build,
            model.memory,
            next((str(reason) for reason in reasons), ""),
        ),
    )
