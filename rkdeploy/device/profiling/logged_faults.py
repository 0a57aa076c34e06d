"""Advice on faults that the kernel logged while a profile was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.device.faults.fault_search import faults_in
from rkdeploy.device.profiling.profile_document import ProfileAdvice

if TYPE_CHECKING:
    from rkdeploy.device.faults.kernel_log import KernelLog

_MAX_LINE = 200


def fault_advice(log: KernelLog) -> tuple[ProfileAdvice, ...]:
    """One piece of advice for each known fault in the lines that were logged during the measurement."""
    return tuple(
        ProfileAdvice(
            f"kernel_{seen.fault.name}",
            seen.fault.level,
            f"During this measurement {seen.fault.meaning}: {seen.count} line{'' if seen.count == 1 else 's'} in the "
            f'kernel\'s log, the latest "{seen.line[:_MAX_LINE]}".',
            f"{seen.fault.fix}\nSee {seen.fault.source}",
        )
        for seen in faults_in(log.lines)
    )
