"""Clocks, temperatures, load and memory, read from the kernel's files below a `sysroot`.

Every reader takes the folder that contains `proc` and `sys`, so a copy of a board's files can stand in.  A file
that is missing or not readable gives None, never an error: boards differ in the files they have.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

NPU_LOAD: Final = "sys/kernel/debug/rknpu/load"
_MAX_BYTES: Final = 1 << 16
_PERCENT: Final = re.compile(r"(\d{1,3})\s*%")
_NUMBERED: Final = re.compile(r"(\d+)$")
_THROTTLES: Final = re.compile(r"npu|cpufreq|devfreq|processor", re.IGNORECASE)  # fans also count as cooling devices
_TRIPS: Final = frozenset({"passive", "hot", "critical"})
_MAX_ENTRIES: Final = 256


@dataclass(frozen=True, slots=True)
class ClockFiles:
    """A clock whose speed the kernel chooses.

    Attributes:
        name: `NPU`, `DDR`, or `CPU 4-7` with the numbers of its processors.
        governor: kernel governor that chooses the speed; None when it cannot be read.
        current_hz, limit_hz: current speed, and the highest that is currently allowed.
        highest_hz: the highest that the hardware supports.
        governor_path: file below the sysroot that sets the governor.
    """

    name: str
    governor: str | None
    current_hz: int | None
    limit_hz: int | None
    highest_hz: int | None
    governor_path: str


@dataclass(frozen=True, slots=True)
class ThermalZone:
    """A temperature sensor.

    Attributes:
        name: the zone's type, `npu-thermal`.
        celsius: current temperature.
        throttles_at_celsius: lowest trip point from which the kernel slows something down; None if there is none.
    """

    name: str
    celsius: float
    throttles_at_celsius: float | None


def text_of(path: Path) -> str | None:
    """The text of a short file without surrounding white space and NULs; None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode("utf-8", "replace").strip("\0 \t\r\n")
    except OSError:
        return None


def number_of(path: Path) -> int | None:
    """The whole number in a file; None when there is none."""
    text = text_of(path)
    try:
        return int(text) if text else None
    except ValueError:
        return None


def entries_of(folder: Path, pattern: str) -> list[Path]:
    """Matching entries of a folder in the order of their numbers; empty when it cannot be read."""
    try:
        found = sorted(folder.glob(pattern), key=lambda path: (_number_in(path.name), path.name))
    except OSError:
        return []
    return found[:_MAX_ENTRIES]


def npu_load_percent(sysroot: Path) -> tuple[int, ...] | None:
    """Load of each NPU core in percent, as the driver counts it over its last interval.  Root only."""
    found = _PERCENT.findall(text_of(sysroot / NPU_LOAD) or "")
    return tuple(int(percent) for percent in found) or None


def why_no_npu_load(sysroot: Path) -> str:
    """The reason why `npu_load_percent` is None."""
    path = sysroot / NPU_LOAD
    try:
        path.read_bytes()
    except PermissionError:
        return f'only root may read "/{NPU_LOAD}": run with sudo'
    except OSError:
        return f'there is no "/{NPU_LOAD}": no rknpu driver, or debugfs is not mounted'
    return f'"/{NPU_LOAD}" holds no percentages'


def clocks(sysroot: Path) -> tuple[ClockFiles, ...]:
    """The clocks of the NPU, the memory and the processors, as far as the kernel shows them."""
    devfreq = sysroot / "sys/class/devfreq"
    found = [_devfreq_clock("NPU", folder, sysroot) for folder in entries_of(devfreq, "*npu*")[:1]]
    found += [_devfreq_clock("DDR", folder, sysroot) for folder in entries_of(devfreq, "*dmc*")[:1]]
    for policy in entries_of(sysroot / "sys/devices/system/cpu/cpufreq", "policy*"):
        path = policy / "scaling_governor"
        found.append(
            ClockFiles(
                name=f"CPU {_ranges(text_of(policy / 'affected_cpus') or policy.name.removeprefix('policy'))}",
                governor=text_of(path) or None,
                current_hz=_hz_of_khz(number_of(policy / "scaling_cur_freq")),
                limit_hz=_hz_of_khz(number_of(policy / "scaling_max_freq")),
                highest_hz=_hz_of_khz(number_of(policy / "cpuinfo_max_freq")),
                governor_path=path.relative_to(sysroot).as_posix(),
            )
        )
    return tuple(found)


def thermal_zones(sysroot: Path) -> tuple[ThermalZone, ...]:
    """All temperature sensors that answer."""
    zones = []
    for folder in entries_of(sysroot / "sys/class/thermal", "thermal_zone*"):
        millidegrees = number_of(folder / "temp")
        if millidegrees is not None and -100_000 < millidegrees < 1_000_000:
            name = text_of(folder / "type") or folder.name
            zones.append(ThermalZone(name, millidegrees / 1000, _lowest_trip(folder)))
    return tuple(zones)


def throttling_devices(sysroot: Path) -> tuple[str, ...]:
    """Processors and NPUs that the kernel slows down at this moment because of heat."""
    return tuple(
        text_of(folder / "type") or folder.name
        for folder in entries_of(sysroot / "sys/class/thermal", "cooling_device*")
        if _THROTTLES.search(text_of(folder / "type") or "") and (number_of(folder / "cur_state") or 0) > 0
    )


def resident_bytes(sysroot: Path) -> int | None:
    """Memory of this process that is in RAM."""
    fields = (text_of(sysroot / "proc/self/statm") or "").split()
    try:
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")
    except (IndexError, ValueError):
        return None


def cpu_seconds(sysroot: Path) -> tuple[float, float] | None:
    """Processor time of all processors together, busy and total, in seconds since boot."""
    fields = (text_of(sysroot / "proc/stat") or "").partition("\n")[0].split()
    try:
        ticks = [int(field) for field in fields[1:9]] if fields[0] == "cpu" else []
        idle, total = ticks[3] + ticks[4], sum(ticks)
    except (IndexError, ValueError):
        return None
    per_second = os.sysconf("SC_CLK_TCK")
    return (total - idle) / per_second, total / per_second


def load_average(sysroot: Path) -> float | None:
    """Mean number of running or waiting threads over the last minute."""
    try:
        return float((text_of(sysroot / "proc/loadavg") or "").split()[0])
    except (IndexError, ValueError):
        return None


def memory_bytes(sysroot: Path) -> dict[str, int]:
    """`/proc/meminfo` in bytes: MemTotal, MemAvailable, CmaTotal, ..."""
    found = re.findall(r"^(\w+):\s+(\d+) kB", text_of(sysroot / "proc/meminfo") or "", re.MULTILINE)
    return {name: int(kilobytes) * 1024 for name, kilobytes in found}


def kernel_release(sysroot: Path) -> str | None:
    """`5.10.160-rockchip`."""
    return text_of(sysroot / "proc/sys/kernel/osrelease") or None


def board_model(sysroot: Path) -> str | None:
    """The board's name in the device tree, `Radxa ROCK 5B`."""
    return text_of(sysroot / "proc/device-tree/model") or None


def _devfreq_clock(name: str, folder: Path, sysroot: Path) -> ClockFiles:
    path = folder / "governor"
    limit = number_of(folder / "max_freq")
    steps = [int(step) for step in (text_of(folder / "available_frequencies") or "").split() if step.isdecimal()]
    return ClockFiles(
        name=name,
        governor=text_of(path) or None,
        current_hz=number_of(folder / "cur_freq"),
        limit_hz=limit,
        highest_hz=max(steps, default=limit),
        governor_path=path.relative_to(sysroot).as_posix(),
    )


def _lowest_trip(zone: Path) -> float | None:
    trips = []
    for path in entries_of(zone, "trip_point_*_type"):
        temperature = number_of(path.with_name(path.name.replace("_type", "_temp")))
        if text_of(path) in _TRIPS and temperature is not None and temperature > 0:
            trips.append(temperature / 1000)
    return min(trips, default=None)


def _hz_of_khz(khz: int | None) -> int | None:
    return None if khz is None else khz * 1000


def _ranges(cpus: str) -> str:
    """Processor numbers as ranges: `4 5 6 7` as `4-7`."""
    numbers = [int(cpu) for cpu in cpus.split() if cpu.isdecimal()]
    if len(numbers) > 1 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return " ".join(map(str, numbers)) or cpus


def _number_in(name: str) -> int:
    found = _NUMBERED.search(name)
    return int(found[1]) if found else -1
