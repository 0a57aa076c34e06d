"""Status for the page, `/healthz` and `/metrics`: the run and the board at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.device.profiling.kernel_files import (
    ClockFiles,
    ThermalZone,
    board_model,
    clocks,
    npu_load_percent,
    thermal_zones,
    throttling_devices,
    why_no_npu_load,
)
from rkdeploy.device.stream.statistics import PipelineStats

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class BoardNow:
    """The board's state at one moment.

    Attributes:
        model: the board's name in the device tree; None on other machines.
        npu_load_percent: of each core; None if it cannot be read, then `why_no_npu_load` says why.
        clocks: NPU, memory and processors, without their files' names.
        temperatures: of all sensors.
        why_no_temperatures, why_no_npu_clock: reasons; empty if there are some.
        throttled: devices that the kernel slows down because of heat.
    """

    model: str | None
    npu_load_percent: tuple[int, ...] | None
    why_no_npu_load: str
    clocks: tuple[ClockFiles, ...]
    why_no_npu_clock: str
    temperatures: tuple[ThermalZone, ...]
    why_no_temperatures: str
    throttled: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The object that `/status` returns.

    Attributes:
        title: the bundle's name.
        source: source of the frames; passwords in addresses are already hidden.
        figures_from: source of rates and times, for users.
        healthy: True if a frame came within `healthy_within_s`.
        seconds_since_frame: since the last frame, or since the start when there was none.
        stats: of the pipeline; None before it runs.
        board: see `BoardNow`.
        viewers: number of viewers of the stream.
        listeners: number of clients of the detections.
    """

    title: str
    source: str
    figures_from: str
    healthy: bool
    healthy_within_s: float
    seconds_since_frame: float
    stats: PipelineStats | None
    board: BoardNow
    viewers: int
    listeners: int


def read_board_now(sysroot: Path) -> BoardNow:
    """Read the board's state once.

    Args:
        sysroot: folder that contains `proc` and `sys`.
    """
    load, zones, found = npu_load_percent(sysroot), thermal_zones(sysroot), clocks(sysroot)
    has_npu_clock = any(clock.name == "NPU" and clock.current_hz is not None for clock in found)
    return BoardNow(
        model=board_model(sysroot),
        npu_load_percent=load,
        why_no_npu_load="" if load is not None else why_no_npu_load(sysroot),
        clocks=found,
        why_no_npu_clock="" if has_npu_clock else 'no devfreq device of an NPU below "/sys/class/devfreq" shows one',
        temperatures=zones,
        why_no_temperatures="" if zones else 'no sensor below "/sys/class/thermal" answers',
        throttled=throttling_devices(sysroot),
    )
