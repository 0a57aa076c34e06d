"""Findings of the doctor, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rkdeploy.device.cameras.video_device import VideoDevice

SCHEMA_VERSION = 1

Status = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check.

    Attributes:
        check: stable name, `librknnrt`.
        status: `ok`; `note`, a fact worth knowing; `warning`, a risk; `problem`, a failure.
        found: actual state.
        expected: expected state; empty if it is as found.
        fix: command or step that fixes it; may have several lines, may be empty.
    """

    check: str
    status: Status
    found: str
    expected: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The output of `rkdeploy doctor --json`.

    Attributes:
        schema_version: of this document.
        rkdeploy_version: version that checked.
        machine: `board` or `host`, and of which kind.
        bundle: folder of the bundle that was checked, else None.
        findings: in the order of the checks.
        video_devices: each /dev/videoN with its formats, frame sizes and rates.
        document: what this is.
    """

    schema_version: int
    rkdeploy_version: str
    machine: str
    bundle: str | None
    findings: tuple[Finding, ...]
    video_devices: tuple[VideoDevice, ...] = ()
    document: Literal["rkdeploy doctor"] = "rkdeploy doctor"

    def count(self, status: Status) -> int:
        """Number of findings with a status."""
        return sum(finding.status == status for finding in self.findings)
