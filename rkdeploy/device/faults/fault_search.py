"""Recognizes known faults in lines of the kernel's log or of the vendor's runtime."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rkdeploy.device.faults.known_faults import KNOWN_FAULTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rkdeploy.device.faults.known_faults import KnownFault

_COMPILED: Final = tuple((fault, re.compile(fault.pattern, re.IGNORECASE)) for fault in KNOWN_FAULTS)
_ANY: Final = re.compile("|".join(f"(?:{fault.pattern})" for fault in KNOWN_FAULTS), re.IGNORECASE)
_MAX_LINE: Final = 400
_BOOT_TIME: Final = re.compile(r"(?:\d+,\d+,(\d+),[^;]*;)|(?:\[ *(\d+\.\d+)\] ?)")
"""Heads of /dev/kmsg (microseconds) and of dmesg and journalctl (seconds)."""


@dataclass(frozen=True, slots=True)
class FaultSeen:
    """A known fault and its lines.

    Attributes:
        fault: which.
        count: number of its lines.
        line: text of the latest one, without its head.
        seconds: time of the latest one, in seconds since boot; None if the line does not say.
    """

    fault: KnownFault
    count: int
    line: str
    seconds: float | None


def faults_in(lines: Iterable[str]) -> tuple[FaultSeen, ...]:
    """Known faults in lines, in the order of the table.

    Args:
        lines: of /dev/kmsg, dmesg, journalctl or a library; 400 characters of each are read.
    """
    counts: dict[str, int] = {}
    latest: dict[str, str] = {}
    for whole in lines:
        line = whole[:_MAX_LINE]
        name = _fault_of(line)
        if name:
            counts[name] = counts.get(name, 0) + 1
            latest[name] = line
    return tuple(
        FaultSeen(fault, counts[fault.name], *_without_head(latest[fault.name]))
        for fault in KNOWN_FAULTS
        if fault.name in counts
    )


def explanation(text: str) -> str:
    """Meaning and fix of each known fault in a library's output, on one line; empty without any."""
    return " ".join(
        f"{seen.fault.meaning[0].upper()}{seen.fault.meaning[1:]}. {' '.join(seen.fault.fix.splitlines())}"
        for seen in faults_in(text.splitlines())
    )


def _fault_of(line: str) -> str:
    if not _ANY.search(line):
        return ""
    return next(fault.name for fault, pattern in _COMPILED if pattern.search(line))


def _without_head(line: str) -> tuple[str, float | None]:
    """Text and time of a line."""
    head = _BOOT_TIME.match(line)
    if head is None:
        return line.strip(), None
    seconds = int(head[1]) / 1e6 if head[1] else float(head[2])
    return line[head.end() :].strip(), seconds
