"""What the doctor finds, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1

Status = Literal["ok", "note", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: stable name, `librknnrt`.
        status: `ok`; `note`, what one should know; `warning`, what may go wrong; `problem`, what does not work.
        found: what is there.
        expected: what should be there; empty when it is.
        fix: the command or step that mends it; may have several lines, may be empty.
    """

    check: str
    status: Status
    found: str
    expected: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `rkdeploy doctor --json` prints.

    Attributes:
        schema_version: of this document.
        rkdeploy_version: of the kit that looked.
        machine: `board` or `host`, and of which kind.
        bundle: folder of the bundle that was checked, else None.
        findings: in the order in which they were looked at.
    """

    schema_version: int
    rkdeploy_version: str
    machine: str
    bundle: str | None
    findings: tuple[Finding, ...]

    def count(self, status: Status) -> int:
        """How many findings have a status."""
        return sum(finding.status == status for finding in self.findings)
