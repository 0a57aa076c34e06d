"""Figures of a profile as plain frozen data: `profile.json`.

A figure that a backend cannot give is None, and `Profile.missing` says why.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from rkdeploy.contract.bounds import Figure, Text, Whole
from rkdeploy.contract.compiled_model import MAX_LAYERS
from rkdeploy.device.profiling.layer_table import OpShare, RuntimeLayer
from rkdeploy.device.runtime.protocol import MemorySize
from rkdeploy.device.stream.statistics import Latency

SCHEMA_VERSION = 1
MAX_CONTEXTS = 64


@dataclass(frozen=True, slots=True)
class Missing:
    """A figure that is not in this profile.

    Attributes:
        figure: name of the figure.
        reason: why it is missing.
    """

    figure: Text
    reason: Text


@dataclass(frozen=True, slots=True)
class ProfileAdvice:
    """A disturbance of the measurement, or a loss of time.

    Attributes:
        code: stable name, `npu_clock_below_maximum`.
        level: `warning` when the figures are not reliable or could be better, `note` for other facts.
        message: the finding, with its numbers.
        fix: what to do, if possible as a command; may have several lines, may be empty.
    """

    code: Text
    level: Literal["note", "warning"]
    message: Text
    fix: Text = ""


@dataclass(frozen=True, slots=True)
class InputFrames:
    """The input of the measurement.

    Attributes:
        source: the source given by the user, or `seeded noise`.
        count: number of different frames; they are repeated.
        width, height: of the first one, pixels.
        is_noise: True for noise, which leaves almost no work for decode and non-maximum suppression.
    """

    source: Text
    count: Whole
    width: Whole
    height: Whole
    is_noise: bool


@dataclass(frozen=True, slots=True)
class Stages:
    """Times of one context that processes one frame after the other, without overlap.

    Attributes:
        preprocess: letterbox.
        infer: the runtime's call: copying in and out, and the network.
        decode: head tensors to boxes, with non-maximum suppression.
        total: all three, frame by frame.
        npu: the network's part of `infer` as the runtime itself measures it; None if it does not.
        detections_per_frame: mean number.
        cpu_ms_per_frame: processor time of this process per frame, all threads.
    """

    preprocess: Latency
    infer: Latency
    decode: Latency
    total: Latency
    npu: Latency | None
    detections_per_frame: Figure
    cpu_ms_per_frame: Figure


@dataclass(frozen=True, slots=True)
class CoreTiming:
    """Time of the network alone on one NPU core, the others idle.

    Attributes:
        core: number of the NPU core, from 0.
        infer: time of one inference.
    """

    core: Whole
    infer: Latency


@dataclass(frozen=True, slots=True)
class Throughput:
    """Rates with several contexts at once.

    Attributes:
        contexts: number of contexts.
        cores: NPU core of each; None if the backend has none, or leaves the choice to the runtime.
        frames: frames behind `frames_per_second`.
        failed: frames that the runtime failed on.
        frames_per_second: of the whole pipeline: letterbox, network, decode; no reading, drawing or writing.
        network_per_second: of the contexts alone, with a prepared input: the NPU's upper limit.
        infer: the runtime's call while the whole pipeline runs.
        cpu_ms_per_frame: processor time of this process per frame, all threads, whole pipeline.
        npu_load_percent: mean load of each NPU core meanwhile; None if it cannot be read.
    """

    contexts: Whole
    cores: tuple[Whole, ...] | None
    frames: Whole
    failed: Whole
    frames_per_second: Figure
    network_per_second: Figure
    infer: Latency
    cpu_ms_per_frame: Figure
    npu_load_percent: tuple[Figure, ...] | None


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """The runtime's own per-layer profile.  Collecting it slows every layer: shares are right, the sum is too large.

    Attributes:
        figures_from: the runtime that measured it.
        runs: number of runs; a layer's time is their median.
        layers: in the order in which they run.
        ranking: by operator, most time first.
        total_us: sum of all layers, microseconds.
        rw_kib: KiB that all layers read and write.
    """

    figures_from: Text
    runs: Whole
    layers: Annotated[tuple[RuntimeLayer, ...], Meta(max_length=MAX_LAYERS)]
    ranking: Annotated[tuple[OpShare, ...], Meta(max_length=MAX_LAYERS)]
    total_us: Figure | None
    rw_kib: Figure | None


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Resident memory of this process while one context runs.

    Attributes:
        first_bytes, last_bytes: at the first and last sample, after the warm-up.
        samples, frames: number of samples, and of the frames that they cover.
        slope_bytes_per_1000_frames: growth, the least-squares line through the samples.
        slope_error_bytes_per_1000_frames: standard error of that slope.
    """

    first_bytes: Whole
    last_bytes: Whole
    samples: Whole
    frames: Whole
    slope_bytes_per_1000_frames: Figure
    slope_error_bytes_per_1000_frames: Figure


@dataclass(frozen=True, slots=True)
class ClockProfile:
    """A clock before and during the measurement.

    Attributes:
        name: `NPU`, `DDR`, `CPU 4-7`.
        governor: kernel governor that chooses its speed.
        idle_hz: before the first frame.
        lowest_hz, median_hz: while frames ran.
        limit_hz, highest_hz: highest that is allowed, and highest that the hardware supports.
        governor_path: file that sets the governor.
    """

    name: Text
    governor: Text | None
    idle_hz: Whole | None
    lowest_hz: Whole | None
    median_hz: Whole | None
    limit_hz: Whole | None
    highest_hz: Whole | None
    governor_path: Text


@dataclass(frozen=True, slots=True)
class TemperatureProfile:
    """A sensor before the measurement and at its hottest, and its throttling temperature.

    Attributes:
        name: kernel name of the sensor.
        first_celsius: before the measurement.
        hottest_celsius: the highest during it.
        throttles_at_celsius: temperature from which the kernel slows down; None if the kernel does not say.
    """

    name: Text
    first_celsius: Figure
    hottest_celsius: Figure
    throttles_at_celsius: Figure | None


@dataclass(frozen=True, slots=True)
class BoardConditions:
    """The machine while frames ran.

    Attributes:
        clocks, temperatures: as far as the kernel shows them.
        throttled: devices that the kernel slowed down because of heat at any sample.
        busy_before: fraction of the processors, 0..1, that other processes used just before; None when unknown.
        load_average: over the minute before.
        processors: number available to this process.
        samples: number of samples of clocks and temperatures.
    """

    clocks: tuple[ClockProfile, ...]
    temperatures: tuple[TemperatureProfile, ...]
    throttled: tuple[Text, ...]
    busy_before: Figure | None
    load_average: Figure | None
    processors: Whole
    samples: Whole


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of everything involved.

    Attributes:
        runtime, driver: of the NPU; None on a PC.
        kernel, board, soc: of the machine; board and SoC are None on a PC.
        model_file: version of the `.rknn` file format.
        toolkit: version that built the model; None if the `.rknn` does not say.
        target, dtype: SoC and type that it was built for.
        packages: Python and the packages of this process, name to version.
    """

    runtime: Text | None
    driver: Text | None
    kernel: Text | None
    board: Text | None
    soc: Text | None
    model_file: Whole | None
    toolkit: Text | None
    target: Text
    dtype: Text
    packages: dict[Text, Text]


@dataclass(frozen=True, slots=True)
class Profile:
    """`profile.json`.

    Attributes:
        created: UTC, ISO 8601.
        rkdeploy_version: version that measured.
        bundle: name of its folder.
        model_sha256: of the `.rknn`; identifies the model exactly.
        backend: name of the backend.
        figures_from: source of the times.
        on_npu: True if the times are an NPU's: an NPU backend on a Rockchip board.
        input_width, input_height: of the network, pixels.
        frames, stages, cores, throughput, layers, npu_memory, process_memory, conditions, versions: see their classes.
        missing: figures that are not here, and why.
        advice: what to make of it.
        document, schema_version: what this file is.
    """

    created: Text
    rkdeploy_version: Text
    bundle: Text
    model_sha256: Text | None
    backend: Text
    figures_from: Text
    on_npu: bool
    input_width: Whole
    input_height: Whole
    frames: InputFrames
    stages: Stages
    cores: Annotated[tuple[CoreTiming, ...], Meta(max_length=MAX_CONTEXTS)]
    throughput: Annotated[tuple[Throughput, ...], Meta(max_length=MAX_CONTEXTS)]
    layers: LayerProfile | None
    npu_memory: MemorySize | None
    process_memory: ProcessMemory | None
    conditions: BoardConditions
    versions: Versions
    missing: tuple[Missing, ...] = ()
    advice: tuple[ProfileAdvice, ...] = ()
    document: Literal["rkdeploy profile"] = "rkdeploy profile"
    schema_version: int = SCHEMA_VERSION
