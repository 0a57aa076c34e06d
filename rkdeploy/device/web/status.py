"""Status for the page, `/healthz` and `/metrics`: the run and the board at one moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from rkdeploy.device.stream.statistics import PipelineStats, SourceStats
from rkdeploy.device.web.objects import PlaceCount, places_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rkdeploy.device.web.frame_buffer import FrameBuffer


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
class StreamStatus:
    """One of the streams that are shown side by side; a run of files, or of one camera, is one.

    Attributes:
        name: of its source, unique in the run; passwords in addresses are already hidden.
        healthy, seconds_since_frame: as in `Status`, of this stream.
        captured, processed, failed, dropped_before_network, dropped_before_sinks, reconnects, frames_per_second: as in
            `PipelineStats`, of this stream; 0 before the run.
        places: counts of lines and zones up to its newest frame; empty without any.
    """

    name: str
    healthy: bool
    seconds_since_frame: float
    captured: int = 0
    processed: int = 0
    failed: int = 0
    dropped_before_network: int = 0
    dropped_before_sinks: int = 0
    reconnects: int = 0
    frames_per_second: float = 0.0
    places: tuple[PlaceCount, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The object that `/status` returns.

    Attributes:
        title: the bundle's name.
        source: source of the frames; passwords in addresses are already hidden.
        backend: name of the runtime; empty before the run.
        on_npu: True if that is an NPU.
        figures_from: source of rates and times, for users.
        healthy: True if a frame came within `healthy_within_s`, of any stream.
        seconds_since_frame: since the last frame, or since the start when there was none.
        stats: of the pipeline; None before it runs.
        streams: each stream.
        board: see `BoardNow`.
        viewers: number of viewers of the stream.
        listeners: number of clients of the detections.
    """

    title: str
    source: str
    backend: str
    on_npu: bool
    figures_from: str
    healthy: bool
    healthy_within_s: float
    seconds_since_frame: float
    stats: PipelineStats | None
    streams: tuple[StreamStatus, ...]
    board: BoardNow
    viewers: int
    listeners: int


def stream_statuses(
    names: Sequence[str], stats: PipelineStats | None, frame_buffer: FrameBuffer, healthy_within_s: float
) -> tuple[StreamStatus, ...]:
    """The streams at one moment.

    Args:
        names: of the streams, by their positions.
        stats: of the pipeline; None before it runs.
        frame_buffer: of these streams.
        healthy_within_s: a healthy one's last frame is not older.
    """
    figures: Sequence[SourceStats | PipelineStats | None] = [None] * len(names)
    if stats is not None:
        figures = stats.sources if len(names) > 1 else (stats,)
    found = []
    for stream, (name, one) in enumerate(zip(names, figures, strict=True)):
        since_s, newest = frame_buffer.seconds_since(stream), frame_buffer.newest(stream)
        status = _stream_status(name, since_s, healthy_within_s, one)
        found.append(status if newest is None else replace(status, places=places_of(newest.detections)))
    return tuple(found)


def _stream_status(
    name: str, since_s: float, healthy_within_s: float, figures: SourceStats | PipelineStats | None
) -> StreamStatus:
    status = StreamStatus(name, since_s <= healthy_within_s, since_s)
    if figures is None:
        return status
    return replace(
        status,
        captured=figures.captured,
        processed=figures.processed,
        failed=figures.failed,
        dropped_before_network=figures.dropped_before_network,
        dropped_before_sinks=figures.dropped_before_sinks,
        reconnects=figures.reconnects,
        frames_per_second=figures.frames_per_second,
    )


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
