"""Advice on a profile's figures, case by case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rkdeploy.device.profiling.layer_table import RuntimeLayer
from rkdeploy.device.profiling.profile_advice import advise
from rkdeploy.device.profiling.profile_document import (
    BoardConditions,
    ClockProfile,
    CoreTiming,
    InputFrames,
    LayerProfile,
    ProcessMemory,
    Profile,
    ProfileAdvice,
    Stages,
    TemperatureProfile,
    Throughput,
    Versions,
)
from rkdeploy.device.runtime.protocol import MemorySize
from rkdeploy.device.stream.statistics import Latency

GHZ = 10**9


def ms(value: float) -> Latency:
    return Latency(200, value, value, value)


def clock(**changed: object) -> ClockProfile:
    steady = ClockProfile("NPU", "performance", GHZ, GHZ, GHZ, GHZ, GHZ, "/sys/class/devfreq/fdab0000.npu/governor")
    return replace(steady, **changed)  # type: ignore[arg-type]


def rate(contexts: int, fps: float, network: float, *, cores: tuple[int, ...] | None = None) -> Throughput:
    cores = tuple(range(contexts)) if cores is None else cores
    return Throughput(contexts, cores, 200, 0, fps, network, ms(21), 8.0, None)


QUIET = BoardConditions(
    clocks=(clock(),),
    temperatures=(TemperatureProfile("npu-thermal", 40.0, 50.0, 85.0),),
    throttled=(),
    busy_before=0.05,
    load_average=0.2,
    processors=8,
    samples=10,
)
GOOD = Profile(
    created="2026-01-01T00:00:00+00:00",
    rkdeploy_version="0",
    bundle="best",
    model_sha256=None,
    backend="librknnrt",
    figures_from="librknnrt 2.3.2, driver 0.9.8, rk3588",
    on_npu=True,
    input_width=640,
    input_height=640,
    frames=InputFrames("images", 10, 1280, 720, is_noise=False),
    stages=Stages(ms(1.5), ms(21.5), ms(1), ms(24), ms(21), 3.0, 5.0),
    cores=(CoreTiming(0, ms(21)), CoreTiming(1, ms(21.5)), CoreTiming(2, ms(22))),
    throughput=(rate(1, 45, 47), rate(2, 88, 93), rate(3, 125, 135)),
    layers=None,
    npu_memory=None,
    process_memory=ProcessMemory(10**8, 10**8, 200, 199, 1000.0, 2000.0),
    conditions=QUIET,
    versions=Versions(
        "2.3.2", "0.9.8", "5.10", "Radxa ROCK 5B", "rk3588", 6, "rknn-toolkit2 2.3.2", "rk3588", "int8", {}
    ),
)


def only(profile: Profile) -> ProfileAdvice:
    (advice,) = advise(profile)
    return advice


def under(**changed: object) -> Profile:
    return replace(GOOD, conditions=replace(QUIET, **changed))  # type: ignore[arg-type]


def test_a_good_measurement_needs_no_advice() -> None:
    """Steady clocks, a cool board, idle processors and cores that add up: nothing to say."""
    assert advise(GOOD) == ()


def test_time_outside_the_npu() -> None:
    """A frame of 33 ms with 21 ms on the NPU says where the other 12 ms are, and what is the largest of them."""
    slow = replace(GOOD, backend="rknnlite", stages=Stages(ms(3), ms(28), ms(2), ms(33), ms(21), 3.0, 5.0))
    found = only(slow)
    assert found.code == "time_outside_npu"
    assert "Per frame 33.0 ms, NPU 21.0 ms: 12.0 ms elsewhere" in found.message
    assert "preprocess 3.0, decode 2.0, copying in and out 7.0" in found.message
    assert "librknnrt copies least" in found.fix


def test_the_governor_and_its_command() -> None:
    """A governor that lets clocks fall is named with the command that stops it."""
    found = only(under(clocks=(clock(governor="rknpu_ondemand"),)))
    assert found.code == "governor"
    assert found.fix == "echo performance | sudo tee /sys/class/devfreq/fdab0000.npu/governor"


def test_a_clock_that_fell() -> None:
    """A clock below its limit while frames ran is reported with both speeds."""
    found = only(under(clocks=(clock(lowest_hz=3 * 10**8, median_hz=6 * 10**8),)))
    assert found.code == "npu_clock_below_maximum"
    assert "600 MHz most of the time while frames ran, at its slowest 300 MHz; it can do 1000 MHz" in found.message


def test_a_capped_clock() -> None:
    """A limit below what the hardware can do is a warning with the command that lifts it."""
    found = only(under(clocks=(clock(limit_hz=GHZ // 2, lowest_hz=GHZ // 2, median_hz=GHZ // 2),)))
    assert found.code == "clock_capped"
    assert found.fix == "echo 1000000000 | sudo tee /sys/class/devfreq/fdab0000.npu/max_freq"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"throttled": ("thermal-devfreq-0",)}, "throttled"),
        ({"temperatures": (TemperatureProfile("npu-thermal", 40.0, 81.0, 85.0),)}, "hot"),
        ({"busy_before": 0.6}, "host_busy"),
        ({"busy_before": None, "load_average": 9.0}, "host_load"),
    ],
)
def test_what_spoils_a_measurement(changed: dict[str, object], code: str) -> None:
    """Heat and other programs are each named by a stable code."""
    assert only(under(**changed)).code == code


def test_contexts_that_bring_little() -> None:
    """Three cores whose network rate stays at half of three times is a warning about memory and clocks."""
    found = only(replace(GOOD, throughput=(rate(1, 45, 47), rate(3, 68, 70))))
    assert found.code == "contexts_network"
    assert "3 contexts on 3 cores run the network 1.5 times as often as one, expected about 3" in found.message


def test_contexts_that_wait_for_the_processor() -> None:
    """Cores that could do more than the pipeline feeds them is a warning about the processor's share."""
    found = only(replace(GOOD, throughput=(rate(1, 45, 47), rate(3, 70, 135))))
    assert found.code == "contexts_pipeline"
    assert "135 times a second, but the pipeline brings 70 frames" in found.message


def test_contexts_on_one_core_promise_nothing() -> None:
    """Two contexts on the same core, or on no core at all, are not expected to double anything."""
    same = (rate(1, 45, 47), rate(2, 46, 48, cores=(0, 0)))
    assert [found.code for found in advise(replace(GOOD, throughput=same))] == ["contexts_best"]


def test_more_contexts_than_cores_that_pay() -> None:
    """The best number of contexts is named by its rate, with what it costs in latency and memory."""
    six = replace(rate(6, 150, 160, cores=(0, 1, 2, 0, 1, 2)), infer=ms(40))
    memory = MemorySize(weights=9 << 20, internal=2 << 20, dma=20 << 20, sram_total=0, sram_free=0)
    found = only(replace(GOOD, throughput=(*GOOD.throughput, six), npu_memory=memory))
    assert (found.code, found.level, found.fix) == ("contexts_best", "note", "rkdeploy run --contexts 6")
    assert found.message == (
        "6 contexts are best: 150.0 frames per second, 3 bring 125.0 (+20%). They cost latency, infer p50 40.0 instead "
        "of 21.0 ms, and 6.0 MiB more memory of the NPU."
    )
    unknown = only(replace(GOOD, throughput=(*GOOD.throughput, six)))
    assert unknown.message.endswith("infer p50 40.0 instead of 21.0 ms.")


def test_more_contexts_than_cores_that_do_not_pay() -> None:
    """A gain within the noise is none."""
    found = only(replace(GOOD, throughput=(*GOOD.throughput, rate(6, 127, 140, cores=(0, 1, 2, 0, 1, 2)))))
    assert (found.code, found.fix) == ("contexts_best", "Leave --contexts out of rkdeploy run.")
    assert "gain nothing" in found.message


def test_a_core_that_is_slower() -> None:
    """A core that takes 15 % longer than the fastest may be in use by another program."""
    found = only(replace(GOOD, cores=(CoreTiming(0, ms(30)), CoreTiming(1, ms(21)))))
    assert (found.code, "core 0 30.0 ms" in found.message) == ("slow_core", True)


def test_layers_on_the_cpu() -> None:
    """Layers of the network that run on the CPU are counted with their share; the ways in and out are none."""
    layers = (
        RuntimeLayer(1, "InputOperator", "", "INT8", "CPU", "", 50.0, 0.5, None, None, None, None),
        RuntimeLayer(2, "Softmax", "", "INT8", "CPU", "", 30.0, 0.3, None, None, None, None),
        RuntimeLayer(3, "Conv", "", "INT8", "NPU", "", 20.0, 0.2, None, None, None, None),
    )
    found = only(replace(GOOD, layers=LayerProfile("librknnrt", 5, layers, (), 100.0, None)))
    assert found == replace(found, code="cpu_layers", level="warning")
    assert found.message == "1 of 3 layers run on the CPU (Softmax), 30% of their time."


@pytest.mark.parametrize(
    ("slope", "error", "frames", "warns"),
    [(8e6, 1e6, 200, True), (8e6, 4e6, 200, False), (8e6, 1e6, 50, False), (-8e6, 1e6, 200, False)],
)
def test_memory_that_grows(slope: float, error: float, frames: int, *, warns: bool) -> None:
    """Growth is a warning when it is sure (three standard errors) and more than allocators do (1 MiB in the run)."""
    memory = ProcessMemory(10**8, 2 * 10**8, 200, frames, slope, error)
    found = advise(replace(GOOD, process_memory=memory))
    assert [advice.code for advice in found] == (["memory_grows"] if warns else [])


def test_warnings_come_first() -> None:
    """Notes follow warnings."""
    noisy = replace(under(busy_before=0.9), frames=InputFrames("seeded noise", 4, 1920, 1080, is_noise=True))
    assert [advice.level for advice in advise(noisy)] == ["warning", "note"]
