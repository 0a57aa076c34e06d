"""Advice on a profile: what disturbs the measurement, and where the time goes.  Pure functions of the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.device.profiling.context_advice import context_advice
from rkdeploy.device.profiling.profile_document import ProfileAdvice

if TYPE_CHECKING:
    from rkdeploy.device.profiling.profile_document import ClockProfile, CoreTiming, Profile

_STEADY: Final = frozenset({"performance", "userspace"})
_CLOCK_SLACK: Final = 0.98
_BUSY: Final = 0.25
_HEAT_MARGIN_CELSIUS: Final = 5.0
_CORE_SPREAD: Final = 1.15
_GAP_SHARE: Final = 0.25
_GROWTH_BYTES: Final = 1 << 20
"""Smaller growth proves nothing: allocators keep a varying number of pages."""
_MIN_RATE_FRAMES: Final = 30
_FLOAT: Final = ", which runs the float network"
_RUNS: Final = {"onnxruntime": _FLOAT, "opencv_dnn": _FLOAT, "simulator": ", which simulates the quantized network"}


def advise(profile: Profile) -> tuple[ProfileAdvice, ...]:
    """All advice, warnings first, then notes."""
    found = [
        *_origin(profile),
        *_host_load(profile),
        *_heat(profile),
        *_clocks(profile),
        *_frames(profile),
        *_gap(profile),
        *context_advice(profile),
        *_cores(profile.cores),
        *_cpu_layers(profile),
        *_memory(profile),
    ]
    return tuple(sorted(found, key=lambda advice: advice.level != "warning"))


def _origin(profile: Profile) -> list[ProfileAdvice]:
    if profile.on_npu:
        return []
    if profile.versions.runtime is not None and profile.versions.soc is not None:
        return [
            ProfileAdvice(
                "stand_in_board",
                "warning",
                "The board's files come from a stand-in folder (sysroot): no time here was measured on an NPU.",
            )
        ]
    if profile.versions.runtime is not None:
        return [
            ProfileAdvice(
                "unknown_soc",
                "warning",
                f"The runtime is {profile.figures_from}, but /proc/device-tree/compatible names no Rockchip SoC. If "
                "this is a stand-in or an emulator, no time here is an NPU's.",
            )
        ]
    return [
        ProfileAdvice(
            "not_an_npu",
            "note",
            f"All times are those of {profile.figures_from}{_RUNS.get(profile.backend, '')}. They say nothing about "
            "the NPU's speed.",
            "Run rkdeploy profile on the board; rkdeploy push copies the bundle there.",
        )
    ]


def _host_load(profile: Profile) -> list[ProfileAdvice]:
    seen, found = profile.conditions, []
    if seen.busy_before is not None and seen.busy_before > _BUSY:
        found.append(
            ProfileAdvice(
                "host_busy",
                "warning",
                f"Other processes used {seen.busy_before:.0%} of the processors just before the measurement: times are "
                "too long and vary.",
                "top -o %CPU",
            )
        )
    elif seen.load_average is not None and seen.load_average > seen.processors:
        found.append(
            ProfileAdvice(
                "host_load",
                "note",
                f"The load average was {seen.load_average:.1f} on {seen.processors} processors in the minute before.",
            )
        )
    if any(figures.failed for figures in profile.throughput):
        failed = sum(figures.failed for figures in profile.throughput)
        found.append(ProfileAdvice("failed_frames", "warning", f"The runtime failed on {failed} frames.", "See dmesg."))
    return found


def _heat(profile: Profile) -> list[ProfileAdvice]:
    found = []
    if profile.conditions.throttled:
        found.append(
            ProfileAdvice(
                "throttled",
                "warning",
                f"The kernel slowed down because of heat: {', '.join(profile.conditions.throttled)}.",
                "Add a heat sink or a fan, let the board cool down, and measure again.",
            )
        )
    hot = [
        f"{zone.name} {zone.hottest_celsius:.0f} of {zone.throttles_at_celsius:.0f} °C"
        for zone in profile.conditions.temperatures
        if zone.throttles_at_celsius is not None
        and zone.hottest_celsius >= zone.throttles_at_celsius - _HEAT_MARGIN_CELSIUS
    ]
    if hot:
        found.append(
            ProfileAdvice(
                "hot",
                "warning",
                f"Close to or above the temperature at which the kernel slows down: {', '.join(hot)}.",
                "Add a heat sink or a fan; a longer run will be slower than this one.",
            )
        )
    return found


def _clocks(profile: Profile) -> list[ProfileAdvice]:
    found = []
    runs_on_board = profile.versions.soc is not None and profile.versions.runtime is not None
    clocks = profile.conditions.clocks if runs_on_board else ()
    for clock in clocks:
        if clock.limit_hz is not None and clock.highest_hz is not None and clock.limit_hz < clock.highest_hz:
            found.append(
                ProfileAdvice(
                    "clock_capped",
                    "warning",
                    f"The {clock.name} clock is capped at {_mhz(clock.limit_hz)} of {_mhz(clock.highest_hz)}.",
                    _cap_cure(clock),
                )
            )
        if clock.name == "NPU" and _below(clock):
            found.append(
                ProfileAdvice(
                    "npu_clock_below_maximum",
                    "warning",
                    f"The NPU's clock was {_mhz(clock.median_hz)} most of the time while frames ran, at its slowest "
                    f"{_mhz(clock.lowest_hz)}; it can do {_mhz(clock.limit_hz)}.",
                    "sudo dmesg | grep -iE 'npu|thermal|opp'" if clock.governor in _STEADY else "",
                )
            )
    moving = [clock for clock in clocks if clock.governor is not None and clock.governor not in _STEADY]
    if moving:
        named = ", ".join(f"{clock.name} {clock.governor}" for clock in moving)
        found.append(
            ProfileAdvice(
                "governor",
                "warning",
                f"The governors let clocks fall between frames: {named}. A second measurement will differ.",
                "\n".join(_governor_cure(clock) for clock in moving),
            )
        )
    return found


def _frames(profile: Profile) -> list[ProfileAdvice]:
    found = []
    if profile.frames.is_noise:
        found.append(
            ProfileAdvice(
                "noise",
                "note",
                f"The frames are noise ({profile.stages.detections_per_frame:.0f} detections per frame): decode and "
                "non-maximum suppression have less work than on your pictures, or different work.",
                "Use your own pictures: rkdeploy profile BUNDLE images/",
            )
        )
    if profile.stages.total.count < _MIN_RATE_FRAMES:
        found.append(
            ProfileAdvice(
                "few_frames",
                "note",
                f"{profile.stages.total.count} frames were measured: p90 and p99 say little.",
                "Measure longer: --seconds 60",
            )
        )
    return found


def _gap(profile: Profile) -> list[ProfileAdvice]:
    """Time per frame that is not spent in the network."""
    stages = profile.stages
    if stages.npu is None:
        return []
    total, npu = stages.total.p50_ms, stages.npu.p50_ms
    copy = max(0.0, stages.infer.p50_ms - npu)
    rest = total - npu
    if total <= 0 or rest < _GAP_SHARE * total:
        return []
    parts = {"preprocess": stages.preprocess.p50_ms, "decode": stages.decode.p50_ms, "copying in and out": copy}
    worst = max(parts, key=lambda name: parts[name])
    listed = ", ".join(f"{name} {ms:.1f}" for name, ms in parts.items())
    least = "" if profile.backend == "librknnrt" else "The backend librknnrt copies least. "
    fixes = {
        "preprocess": "Take frames of a smaller size from the camera: rkdeploy run --size 1280x720. Several contexts "
        "hide it behind the NPU.",
        "decode": "Raise --conf or lower --max-det. Several contexts overlap it with the NPU's work.",
        "copying in and out": f"{least}Several contexts overlap it with the NPU's work.",
    }
    whose = "NPU" if profile.on_npu else "runtime's own time"
    return [
        ProfileAdvice(
            "time_outside_npu",
            "warning",
            f"Per frame {total:.1f} ms, {whose} {npu:.1f} ms: {rest:.1f} ms elsewhere ({listed}).",
            fixes[worst],
        )
    ]


def _cores(cores: tuple[CoreTiming, ...]) -> list[ProfileAdvice]:
    if len(cores) < 2:
        return []
    fastest = min(cores, key=lambda core: core.infer.p50_ms)
    slow = [core for core in cores if core.infer.p50_ms > _CORE_SPREAD * fastest.infer.p50_ms]
    if not slow:
        return []
    listed = ", ".join(f"core {core.core} {core.infer.p50_ms:.1f} ms" for core in slow)
    return [
        ProfileAdvice(
            "slow_core",
            "warning",
            f"NPU cores differ: {listed}, core {fastest.core} {fastest.infer.p50_ms:.1f} ms.",
            "Another program may be using the NPU: sudo fuser -v /dev/dri/renderD129",
        )
    ]


def _cpu_layers(profile: Profile) -> list[ProfileAdvice]:
    if profile.layers is None:
        return []
    on_cpu = [layer for layer in profile.layers.layers if layer.target == "CPU" and not layer.is_end]
    share = sum(layer.share or 0.0 for layer in on_cpu)
    if not on_cpu:
        return []
    ops = ", ".join(dict.fromkeys(layer.op for layer in on_cpu))
    return [
        ProfileAdvice(
            "cpu_layers",
            "warning" if share >= 0.05 else "note",
            f"{len(on_cpu)} of {len(profile.layers.layers)} layers run on the CPU ({ops}), {share:.0%} of their time.",
            "A newer rknn-toolkit2 may have these operators for the NPU.",
        )
    ]


def _memory(profile: Profile) -> list[ProfileAdvice]:
    memory = profile.process_memory
    if memory is None:
        return []
    slope, error = memory.slope_bytes_per_1000_frames, memory.slope_error_bytes_per_1000_frames
    if slope <= 3 * error or slope * memory.frames / 1000 < _GROWTH_BYTES:
        return []
    return [
        ProfileAdvice(
            "memory_grows",
            "warning",
            f"This process grew by {slope / 1024:,.0f} ± {error / 1024:,.0f} KiB per 1,000 frames over {memory.frames} "
            "frames.",
            "A leak continues: measure longer with --frames 5000 --seconds 600.",
        )
    ]


def _below(clock: ClockProfile) -> bool:
    return (
        clock.lowest_hz is not None and clock.limit_hz is not None and clock.lowest_hz < _CLOCK_SLACK * clock.limit_hz
    )


def _governor_cure(clock: ClockProfile) -> str:
    return f"echo performance | sudo tee {clock.governor_path}"


def _cap_cure(clock: ClockProfile) -> str:
    folder = clock.governor_path.rpartition("/")[0]
    if "/cpufreq/" in folder:
        return f"cat {folder}/cpuinfo_max_freq | sudo tee {folder}/scaling_max_freq"
    return f"echo {clock.highest_hz} | sudo tee {folder}/max_freq"


def _mhz(hz: int | None) -> str:
    return "?" if hz is None else f"{hz / 1e6:.0f} MHz"
