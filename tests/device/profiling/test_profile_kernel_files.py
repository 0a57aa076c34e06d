"""Clocks, temperatures and load out of the kernel's files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rkdeploy.device.profiling.kernel_files import (
    clocks,
    cpu_seconds,
    npu_load_percent,
    resident_bytes,
    thermal_zones,
    throttling_devices,
    why_no_npu_load,
)
from rkdeploy.device.profiling.sampling import ResidentMemory, Sampler, conditions, slope_with_error, take_sample
from tests.board.board_files import CPU, NPU, put, write_board


def test_a_boards_files(tmp_path: Path) -> None:
    """Load of each core, clocks with their governors and limits, and temperatures with their trip points are read."""
    board = write_board(tmp_path)
    assert npu_load_percent(board) == (87, 5, 0)
    npu, ddr, cpu = clocks(board)
    assert (npu.name, npu.governor, npu.current_hz, npu.limit_hz) == ("NPU", "rknpu_ondemand", 800_000_000, 10**9)
    assert npu.governor_path == f"{NPU}/governor"
    assert (ddr.name, ddr.highest_hz) == ("DDR", 2_112_000_000)
    assert (cpu.name, cpu.current_hz, cpu.governor_path) == ("CPU 4-7", 2_256_000_000, f"{CPU}/scaling_governor")
    (zone,) = thermal_zones(board)
    assert (zone.name, zone.celsius, zone.throttles_at_celsius) == ("soc-thermal", 44.384, 75.0)
    assert resident_bytes(board) == 20000 * os.sysconf("SC_PAGE_SIZE")


def test_a_fan_is_no_throttling(tmp_path: Path) -> None:
    """A running fan says nothing; a cooling device that slows the NPU down does."""
    board = write_board(tmp_path)
    assert throttling_devices(board) == ()
    put(board, "sys/class/thermal/cooling_device1/cur_state", "2\n")
    assert throttling_devices(board) == ("thermal-devfreq-0",)


def test_a_single_core_has_one_load(tmp_path: Path) -> None:
    """The form that the driver has on SoCs with one core is read, too."""
    put(tmp_path, "sys/kernel/debug/rknpu/load", "NPU load:  42%\n")
    assert npu_load_percent(tmp_path) == (42,)


@pytest.mark.parametrize("text", [None, "", "garbage", "\0\xff"])
def test_missing_or_damaged_files_are_unknown(tmp_path: Path, text: str | None) -> None:
    """Whatever is in a file or is not, readers answer None or nothing, never an error."""
    names = ("sys/kernel/debug/rknpu/load", f"{NPU}/governor", f"{NPU}/cur_freq", "proc/self/statm", "proc/stat",
             "sys/class/thermal/thermal_zone0/temp", "sys/class/thermal/cooling_device0/cur_state")  # fmt: skip
    for name in names:
        if text is not None:
            put(tmp_path, name, text)
    sample = take_sample(tmp_path)
    assert sample.npu_load is None
    assert sample.zones == () == sample.throttled
    assert all(clock.current_hz is None for clock in sample.clocks)
    assert resident_bytes(tmp_path) is None
    assert cpu_seconds(tmp_path) is None
    assert why_no_npu_load(tmp_path)


def test_slope_by_hand() -> None:
    """Points on a line give its slope and no error; one point off it gives the textbook's."""
    x = np.arange(5, dtype=np.float64)
    np.testing.assert_allclose(slope_with_error(x, 3 * x + 7), (3.0, 0.0), atol=1e-12)
    # y = 0 0 3 0 0: slope 0, squared residuals 4 * 0.6^2 + 2.4^2 = 7.2, error sqrt(7.2 / 3 / 10)
    found = slope_with_error(x, np.array([0.0, 0.0, 3.0, 0.0, 0.0]))
    np.testing.assert_allclose(found, (0.0, 0.24**0.5), atol=1e-12)


def test_growth_is_a_1000_frames(tmp_path: Path) -> None:
    """One page more every 10 frames is 100 pages per 1,000 frames; too few samples give no slope."""
    memory, page = ResidentMemory(tmp_path, 16), os.sysconf("SC_PAGE_SIZE")
    for sample in range(10):
        put(tmp_path, "proc/self/statm", f"9999 {500 + sample} 1 1 0 1 0")
        memory.sample(10 * sample)
        if sample < 7:
            assert memory.result() is None
    found = memory.result()
    assert found is not None
    assert found.slope_bytes_per_1000_frames == pytest.approx(100 * page)
    assert (found.first_bytes, found.last_bytes, found.frames) == (500 * page, 509 * page, 90)


def test_the_worst_of_all_samples_counts(tmp_path: Path) -> None:
    """The lowest clock, the lowest limit and the highest temperature during a measurement are what is reported."""
    board = write_board(tmp_path)
    before = take_sample(board)
    samples = []
    for clock, limit, temperature in ((1000, 1000, 50), (300, 800, 79), (1000, 1000, 60)):
        put(board, f"{NPU}/cur_freq", f"{clock}000000")
        put(board, f"{NPU}/max_freq", f"{limit}000000")
        put(board, "sys/class/thermal/thermal_zone0/temp", f"{temperature}000")
        samples.append(take_sample(board))
    found = conditions(before, samples, 0.1, 0.5)
    npu = found.clocks[0]
    assert (npu.idle_hz, npu.lowest_hz, npu.median_hz, npu.limit_hz) == (800 * 10**6, 300 * 10**6, 10**9, 800 * 10**6)
    assert (found.temperatures[0].first_celsius, found.temperatures[0].hottest_celsius) == (44.384, 79.0)


def test_the_shortest_measurement_has_a_sample(tmp_path: Path) -> None:
    """A sampler that is left at once has looked once, at the end."""
    with Sampler(write_board(tmp_path), interval_s=60) as sampler:
        pass
    assert len(sampler.samples) == 1
