"""Models of documents: the one that each is about, by its SHA-256 if the document has it, else by names and type."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.errors import RkdeployError, shown

if TYPE_CHECKING:
    from rkdeploy.analysis.explain.explanation import Explanation
    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.profiling.profile_document import Profile

_AGAIN = "It may have been built again since then: measure it again, or report on each model by itself."
_APART = "Report on each model by itself, or give the bundle that the file belongs to as well."


@dataclass(frozen=True, slots=True)
class ReportedModel:
    """A model that a file may belong to.

    Attributes:
        name: of the bundle's folder.
        sha256: of its `.rknn`, None if unknown.
        bundle: None for a model that only a profile names.
        path: what the user gave.
    """

    name: str
    sha256: str | None
    bundle: Bundle | None
    path: Path


def model_sha256_of(bundle: Bundle) -> str:
    """SHA-256 of the bundle's `.rknn`.

    Raises:
        RkdeployError: it cannot be read.
    """
    try:
        return sha256_of(bundle.rknn)
    except OSError as error:
        raise RkdeployError(f'Cannot read "{bundle.rknn}": {error.strerror}.') from error


def model_of_profile(profile: Profile, path: Path, bundles: Sequence[ReportedModel]) -> int | None:
    """Index of a profile's bundle; None where no bundle was given, so that the profile stands for itself.

    Raises:
        RkdeployError: bundles were given, and it is of none of them.
    """
    if not bundles:
        return None
    return _owner(path, "was measured on", profile.model_sha256, profile.bundle, bundles)


def model_of_evaluation(report: AccuracyReport, path: Path, candidates: Sequence[ReportedModel]) -> int:
    """Index of an evaluation's model.

    Raises:
        RkdeployError: it is of none, or could be of several.
    """
    if report.model_sha256 is not None:
        return _owner(path, "was measured on", report.model_sha256, report.model, candidates)
    built = {one.computes for one in report.evaluations} - {"float"}
    fits = [
        index
        for index, one in enumerate(candidates)
        if one.bundle is not None and one.bundle.model.file == report.model and built <= {one.bundle.model.dtype}
    ]
    if len(fits) == 1:
        return fits[0]
    what = f"{shown(report.model)}{''.join(f' in {dtype}' for dtype in sorted(built))}"
    if fits:
        raise RkdeployError(
            f'"{path}" was measured on {what}, which {len(fits)} of the bundles have.',
            "Measure again with this rkdeploy, which writes down the model's SHA-256, or give one bundle only.",
        )
    raise RkdeployError(f'"{path}" was measured on {what}, expected {_expected(candidates)}.', _APART)


def model_of_explanation(found: Explanation, path: Path, candidates: Sequence[ReportedModel]) -> int:
    """Index of an explanation's model, which it names by its folder.

    Raises:
        RkdeployError: it is of none.
    """
    return _owner(path, "explains", None, found.bundle, candidates)


def _owner(path: Path, verb: str, sha256: str | None, name: str, candidates: Sequence[ReportedModel]) -> int:
    for index, one in enumerate(candidates):
        same = one.sha256 == sha256 if sha256 is not None and one.sha256 is not None else one.name == name
        if same:
            return index
    which = f"the model {shown(name)}" + (f" with SHA-256 {shown(sha256[:12])[1:-1]}..." if sha256 else "")
    again = sha256 is not None and any(one.name == name or _file_of(one) == name for one in candidates)
    raise RkdeployError(f'"{path}" {verb} {which}, expected {_expected(candidates)}.', _AGAIN if again else _APART)


def _file_of(candidate: ReportedModel) -> str:
    return candidate.bundle.model.file if candidate.bundle is not None else ""


def _expected(candidates: Sequence[ReportedModel]) -> str:
    if not candidates:
        return "its bundle next to it"
    listed = [f"{shown(one.name)}{f' ({one.sha256[:12]}...)' if one.sha256 else ''}" for one in candidates[:4]]
    return " or ".join(listed)
