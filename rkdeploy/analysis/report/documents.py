"""What a user hands over: bundles, profiles, evaluations, explanations and reports, recognized by what is in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rkdeploy.analysis.report.model import DOCUMENT, REPORT_VERSION, Report
from rkdeploy.analysis.report.possible import require_possible
from rkdeploy.analysis.report.sound import sound_report
from rkdeploy.contract.accuracy import AccuracyReport
from rkdeploy.contract.bundle import BUILD, CONTRACT, Bundle, read_bundle
from rkdeploy.device.profiling.figures import SCHEMA_VERSION as PROFILE_VERSION
from rkdeploy.device.profiling.figures import Profile
from rkdeploy.errors import RkdeployError, shown
from rkdeploy.host.toolkit.error_analysis import LayerError

EXPLANATION_VERSION = 1
_MAX_BYTES = 64 << 20
_EXPECTED = "Give a bundle's folder, or what rkdeploy profile, eval, explain or report wrote with -o x.json."
_Decoded = TypeVar("_Decoded")


@dataclass(frozen=True, slots=True)
class FoundCause:
    """A cause in the output of `rkdeploy explain -o`."""

    kind: str
    layer: str
    text: str
    try_this: str


@dataclass(frozen=True, slots=True)
class FoundExplanation:
    """What a report takes of the output of `rkdeploy explain -o`."""

    bundle: str
    figures_from: str
    images: tuple[str, ...]
    layers: tuple[LayerError, ...]
    causes: tuple[FoundCause, ...]
    schema_version: int


@dataclass(frozen=True, slots=True)
class Document:
    """One path and what was found there."""

    path: Path
    content: Bundle | Profile | AccuracyReport | FoundExplanation | Report


def read_document(path: Path) -> Document:
    """Read whatever a path holds.

    Raises:
        RkdeployError: missing, damaged, of another schema version, or nothing that a report is made of.
    """
    if path.is_dir() or path.suffix == ".rknn":
        return Document(path, read_bundle(path))
    data = _read(path)
    kind = _kind(path, data)
    if kind == "profile":
        _require_version(path, data, PROFILE_VERSION)
        return Document(path, _decoded(path, data, Profile))
    if kind == "evaluation":
        return Document(path, _decoded(path, data, AccuracyReport))
    if kind == "explanation":
        _require_version(path, data, EXPLANATION_VERSION)
        return Document(path, _decoded(path, data, FoundExplanation))
    _require_version(path, data, REPORT_VERSION)
    return Document(path, sound_report(path, _decoded(path, data, Report)))


def _kind(path: Path, data: bytes) -> str:
    """Which document it is, by the names at its top."""
    top = _decoded(path, data, dict[str, Any])
    if top.get("document") == DOCUMENT:
        return "report"
    if {"stages", "backend", "versions", "on_npu"} <= top.keys():
        return "profile"
    if {"evaluations", "validator", "model"} <= top.keys():
        return "evaluation"
    if {"causes", "layers", "ranges"} <= top.keys():
        return "explanation"
    if {"class_names", "outputs"} <= top.keys() or {"toolkit", "verification"} <= top.keys():
        raise RkdeployError(
            f'"{path}" is the {CONTRACT} or {BUILD} of a bundle, expected its folder.', f'Give "{path.parent}".'
        )
    if {"predictions", "figures_from"} <= top.keys():
        raise RkdeployError(
            f'"{path}" is the output of rkdeploy estimate.', "A report predicts by itself: give the bundle's folder."
        )
    named = ", ".join(shown(key, 30) for key in list(top)[:5])
    raise RkdeployError(f'"{path}" is nothing that a report is made of; it has {named or "no fields"}.', _EXPECTED)


def _read(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise RkdeployError(f'"{path}" is neither a bundle\'s folder nor a file.', _EXPECTED)
        if path.stat().st_size > _MAX_BYTES:
            raise RkdeployError(f'"{path}" is larger than {_MAX_BYTES >> 20} MiB.', _EXPECTED)
        return path.read_bytes()
    except OSError as error:
        raise RkdeployError(f'Cannot read "{path}": {error.strerror}.') from error


def _decoded(path: Path, data: bytes, kind: type[_Decoded]) -> _Decoded:
    try:
        found = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        what = "JSON with named fields" if kind == dict[str, Any] else f"a whole {_named(kind)}"
        raise RkdeployError(f'"{path}" is not {what}: {error}.', _EXPECTED) from error
    if kind != dict[str, Any]:
        require_possible(path, found)
    return found


def _named(kind: type[Any]) -> str:
    names = {Profile: "profile", AccuracyReport: "evaluation", FoundExplanation: "explanation", Report: "report"}
    return names.get(kind, "document")


def _require_version(path: Path, data: bytes, expected: int) -> None:
    version = _decoded(path, data, dict[str, Any]).get("schema_version")
    if version != expected:
        raise RkdeployError(
            f'"{path}" has schema version {shown(version)}, expected {expected}.',
            "Use the rkdeploy that wrote it, or write it again with this one.",
        )
