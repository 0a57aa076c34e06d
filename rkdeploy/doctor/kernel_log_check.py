"""Check of the kernel's log for faults that boards are known to print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.device.faults.fault_search import faults_in
from rkdeploy.doctor.finding import Finding

if TYPE_CHECKING:
    from rkdeploy.device.faults.fault_search import FaultSeen
    from rkdeploy.doctor.system import System

_CHECK = "kernel log"
_MAX_LINE = 200  # characters of a line in a finding


def check_kernel_log(system: System) -> list[Finding]:
    """A finding for each known fault; one that there is none, or that the log may not be read."""
    log = system.kernel_log
    if not log.read_by:
        return (
            [Finding(_CHECK, "note", f"may not be read ({log.why_not})", fix=_permission(system))]
            if log.why_not
            else []
        )
    seen = faults_in(log.lines)
    if not seen:
        return [Finding(_CHECK, "ok", f"no known fault in {len(log.lines):,} lines of {log.read_by}")]
    return [_finding(fault, system.uptime_s) for fault in seen]


def _finding(seen: FaultSeen, uptime_s: float | None) -> Finding:
    times = f"{seen.count} line{'' if seen.count == 1 else 's'}"
    found = f'{seen.fault.meaning}: {times}, the latest{_age(seen, uptime_s)}: "{seen.line[:_MAX_LINE]}"'
    return Finding(_CHECK, seen.fault.level, found, fix=f"{seen.fault.fix}\nSee {seen.fault.source}")


def _age(seen: FaultSeen, uptime_s: float | None) -> str:
    if seen.seconds is None:
        return ""
    since_boot = f" {seen.seconds:.0f} s after boot"
    if uptime_s is None or uptime_s < seen.seconds:
        return since_boot
    return f"{since_boot}, {_duration(uptime_s - seen.seconds)} ago"


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _permission(system: System) -> str:
    groups = f"sudo usermod -aG adm,systemd-journal {system.user.name}    (reads the journal; then log in again)"
    return f"sudo $(command -v rkdeploy) doctor\n{groups}"
