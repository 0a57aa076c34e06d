"""What a profile says, as plain frozen data: `profile.json`.

A figure that a backend cannot give is None, and `Profile.missing` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rkdeploy.device.profiling.layers import Layer, OpShare
from rkdeploy.device.runtime.protocol import MemorySize
from rkdeploy.device.stream.statistics import Latency

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure that is not in this profile, and why.

    Attributes:
        figure: its name.
        reason: why it is not there.
    """

    figure: str
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """What spoils the measurement, or where time is lost.

    Attributes:
        code: stable name, `npu_clock_below_maximum`.
        level: `warning` when the figures would be better or cannot be relied on, `note` for what one should know.
        message: what, with its numbers.
        cure: what to do, a command where there is one; may have several lines, may be empty.
    """

    code: str
    level: Literal["note", "warning"]
    message: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class InputFrames:
    """What was fed in.

    Attributes:
        source: what the user named, or `seeded noise`.
        count: different frames; they are repeated.
        width, height: of the first one, pixels.
        is_noise: whether they show nothing, so that decode and non-maximum suppression have next to nothing to do.
    """

    source: str
    count: int
    width: int
    height: int
    is_noise: bool


@dataclass(frozen=True, slots=True)
class Stages:
    """One context, one frame after the other: nothing runs side by side.

    Attributes:
        preprocess: letterbox.
        infer: the runtime's call: copying in and out, and the network.
        decode: head tensors to boxes, with non-maximum suppression.
        total: all three, frame by frame.
        npu: the network's part of `infer` as the runtime itself measures it; None where it does not.
        detections_per_frame: mean number.
        cpu_ms_per_frame: processor time of this process a frame, all threads.
    """

    preprocess: Latency
    infer: Latency
    decode: Latency
    total: Latency
    npu: Latency | None
    detections_per_frame: float
    cpu_ms_per_frame: float


@dataclass(frozen=True, slots=True)
class CoreTiming:
    """The network alone on one NPU core, the others idle.

    Attributes:
        core: number of the NPU core, from 0.
        infer: time of one inference.
    """

    core: int
    infer: Latency


@dataclass(frozen=True, slots=True)
class Throughput:
    """Several contexts at once.

    Attributes:
        contexts: how many.
        cores: NPU core of each; None where the backend has none, or leaves the choice to the runtime.
        frames: frames behind `frames_per_second`.
        failed: frames that the runtime failed on.
        frames_per_second: of the whole pipeline: letterbox, network, decode; no reading, drawing or writing.
        network_per_second: of the contexts alone, fed with a ready input: what the NPU could do.
        infer: the runtime's call while the whole pipeline runs.
        cpu_ms_per_frame: processor time of this process a frame, all threads, whole pipeline.
        npu_load_percent: mean load of each NPU core meanwhile; None where it cannot be read.
    """

    contexts: int
    cores: tuple[int, ...] | None
    frames: int
    failed: int
    frames_per_second: float
    network_per_second: float
    infer: Latency
    cpu_ms_per_frame: float
    npu_load_percent: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """The runtime's own per-layer profile.  Collecting it slows every layer: shares are good, the sum is too large.

    Attributes:
        figures_from: the runtime that measured it.
        runs: a layer's time is the median over these.
        layers: in the order in which they run.
        ranking: by operator, most time first.
        total_us: sum of all layers.
        rw_kib: what all layers read and write.
    """

    figures_from: str
    runs: int
    layers: tuple[Layer, ...]
    ranking: tuple[OpShare, ...]
    total_us: float | None
    rw_kib: float | None


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Resident memory of this process while one context runs.

    Attributes:
        first_bytes, last_bytes: at the first and last sample, after the warm-up.
        samples, frames: how many samples over how many frames.
        slope_bytes_per_1000_frames: growth, the least-squares line through the samples.
        slope_error_bytes_per_1000_frames: standard error of that slope.
    """

    first_bytes: int
    last_bytes: int
    samples: int
    frames: int
    slope_bytes_per_1000_frames: float
    slope_error_bytes_per_1000_frames: float


@dataclass(frozen=True, slots=True)
class ClockProfile:
    """A clock before and during the measurement.

    Attributes:
        name: `NPU`, `DDR`, `CPU 4-7`.
        governor: who chooses its speed.
        idle_hz: before the first frame.
        lowest_hz, median_hz: while frames ran.
        limit_hz, highest_hz: highest that is allowed, and that the hardware is set up for.
        governor_path: file with which to change the governor.
    """

    name: str
    governor: str | None
    idle_hz: int | None
    lowest_hz: int | None
    median_hz: int | None
    limit_hz: int | None
    highest_hz: int | None
    governor_path: str


@dataclass(frozen=True, slots=True)
class TemperatureProfile:
    """A sensor before the measurement and at its hottest, and where the kernel begins to slow down.

    Attributes:
        name: of the sensor, as the kernel has it.
        first_celsius: before the measurement.
        hottest_celsius: the highest while it ran.
        throttles_at_celsius: where the kernel begins to slow down; None where it does not say.
    """

    name: str
    first_celsius: float
    hottest_celsius: float
    throttles_at_celsius: float | None


@dataclass(frozen=True, slots=True)
class BoardConditions:
    """The machine while frames ran.

    Attributes:
        clocks, temperatures: as far as the kernel shows them.
        throttled: what the kernel slowed down because of heat at any sample.
        busy_before: share of the processors, 0..1, that others used just before; None when unknown.
        load_average: over the minute before.
        processors: how many there are for this process.
        samples: how often clocks and temperatures were looked at.
    """

    clocks: tuple[ClockProfile, ...]
    temperatures: tuple[TemperatureProfile, ...]
    throttled: tuple[str, ...]
    busy_before: float | None
    load_average: float | None
    processors: int
    samples: int


@dataclass(frozen=True, slots=True)
class Versions:
    """What took part.

    Attributes:
        runtime, driver: of the NPU; None on a PC.
        kernel, board, soc: of the machine; board and SoC are None on a PC.
        model_file: version of the `.rknn` file format.
        toolkit: that built the model; None where the `.rknn` does not say.
        target, dtype: what it was built for.
        packages: Python and what this process uses, name to version.
    """

    runtime: str | None
    driver: str | None
    kernel: str | None
    board: str | None
    soc: str | None
    model_file: int | None
    toolkit: str | None
    target: str
    dtype: str
    packages: dict[str, str]


@dataclass(frozen=True, slots=True)
class Profile:
    """`profile.json`.

    Attributes:
        schema_version: of this document.
        created: UTC, ISO 8601.
        rkdeploy_version: of the kit that measured.
        bundle: name of its folder.
        model_sha256: of the `.rknn`, which names the model exactly.
        backend: its name.
        figures_from: what the times come from.
        on_npu: whether they are an NPU's: an NPU backend on a Rockchip board.
        input_width, input_height: of the network, pixels.
        frames, stages, cores, throughput, layers, npu_memory, process_memory, conditions, versions: see there.
        missing: figures that are not here, and why.
        advice: what to make of it.
    """

    schema_version: int
    created: str
    rkdeploy_version: str
    bundle: str
    model_sha256: str | None
    backend: str
    figures_from: str
    on_npu: bool
    input_width: int
    input_height: int
    frames: InputFrames
    stages: Stages
    cores: tuple[CoreTiming, ...]
    throughput: tuple[Throughput, ...]
    layers: LayerProfile | None
    npu_memory: MemorySize | None
    process_memory: ProcessMemory | None
    conditions: BoardConditions
    versions: Versions
    missing: tuple[Missing, ...] = ()
    advice: tuple[Advice, ...] = ()
