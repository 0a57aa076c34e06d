"""Reads the machine's state and checks it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rkdeploy.doctor.finding import SCHEMA_VERSION, Diagnosis, Finding
from rkdeploy.doctor.system import read_system
from rkdeploy.doctor.system_checks import check_system
from rkdeploy.doctor.toolkit_trial import try_toolkit
from rkdeploy.version import __version__

if TYPE_CHECKING:
    from rkdeploy.doctor.system import System

_LOG = logging.getLogger(__name__)


def diagnose(bundle: Path | None = None, sysroot: Path = Path("/"), *, import_toolkit: bool = True) -> Diagnosis:
    """Check this machine, and a bundle on it.

    Args:
        bundle: bundle to check as well.
        sysroot: folder that stands in for the machine's files.
        import_toolkit: True to try the toolkit's import, in a child process; takes some seconds.
    """
    system = read_system(sysroot, try_toolkit() if import_toolkit else None)
    findings = check_system(system)
    _LOG.debug("%s: %d checks", _machine(system), len(findings))
    if bundle is not None:
        findings += _bundle(bundle, system)
    checked = None if bundle is None else str(bundle)
    return Diagnosis(SCHEMA_VERSION, __version__, _machine(system), checked, findings, system.video_devices)


def _bundle(folder: Path, system: System) -> tuple[Finding, ...]:
    """The bundle's findings, if the packages that read it work."""
    if any(trial.command == "run" and trial.error for trial in system.work):
        return (Finding("bundle", "note", "not checked, because rkdeploy run does not work here"),)
    from rkdeploy.doctor.bundle_check import check_bundle, read_bundle_facts

    return check_bundle(read_bundle_facts(folder), system)


def _machine(system: System) -> str:
    if system.is_board:
        return f"board, {system.board.soc or 'SoC unknown'}"
    return f"host, {system.machine}"
