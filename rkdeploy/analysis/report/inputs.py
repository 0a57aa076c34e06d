"""Inputs of a report: bundles, and documents that other commands wrote."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from rkdeploy.analysis.explain.explanation import Explanation
from rkdeploy.analysis.report import verdicts
from rkdeploy.analysis.report.model_report import Report
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import Bundle, read_bundle
from rkdeploy.contract.documents import read_document
from rkdeploy.device.profiling.profile_document import Profile
from rkdeploy.errors import RkdeployError

Document = Profile | AccuracyReport | Explanation | Report
"""Documents that a report is made of, distinguished by their field `document`."""
_KINDS: tuple[type[Document], ...] = (Profile, AccuracyReport, Explanation, Report)
_EXPECTED = "Give a bundle's folder, or what rkdeploy profile, eval, explain or report wrote with -o x.json."


@dataclass(frozen=True, slots=True)
class ReportInput:
    """One path and its content.

    Attributes:
        path: as the user gave it.
        content: a bundle, or a document.
    """

    path: Path
    content: Bundle | Document


def read_input(path: Path) -> ReportInput:
    """Read whatever a path holds.

    The summary of a report is made anew from its figures: a stranger's sentences would be shown as ours.

    Raises:
        RkdeployError: missing, damaged, of another schema version, or not a document that a report is made of.
    """
    if path.is_dir() or path.suffix == ".rknn":
        return ReportInput(path, read_bundle(path))
    if not path.is_file():
        raise RkdeployError(f'"{path}" is neither a bundle\'s folder nor a file.', _EXPECTED)
    found = read_document(path, _KINDS, _EXPECTED)
    if isinstance(found, Report):
        found = replace(found, models=tuple(verdicts.with_summary(model) for model in found.models))
    return ReportInput(path, found)
