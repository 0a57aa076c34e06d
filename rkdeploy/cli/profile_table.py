"""A profile as a user reads it in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from rkdeploy.cli.console import facts_table, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from rkdeploy.device.profiling.profile import (
        BoardConditions,
        ClockProfile,
        LayerProfile,
        Profile,
        Stages,
        Throughput,
    )
    from rkdeploy.device.stream.statistics import Latency

_MIB = 1 << 20
_MAX_CELL = 120
_FLOAT_BACKENDS = frozenset({"onnxruntime", "opencv_dnn"})


def print_profile(profile: Profile, console: Console, layer_rows: int) -> None:
    """Print all of it.

    Args:
        profile: what was measured.
        console: where to.
        layer_rows: rows of the layer table, slowest first; 0 for all, in their order.
    """
    kind = "" if profile.on_npu else "  [yellow](not an NPU)[/]"
    console.print(f"[bold]{plain(profile.bundle)}[/] on {plain(profile.figures_from)}{kind}")
    console.print(_facts(profile))
    console.print()
    console.print(_stages(profile.stages))
    for line in _below_stages(profile.stages):
        console.print(plain(line))
    if profile.throughput:
        console.print()
        title = "Several contexts at once: frames a second of the whole pipeline, and of the network alone"
        _print_aligned(console, title, _throughput(profile.throughput))
    if profile.cores:
        timed = ", ".join(f"core {core.core} {core.infer.p50_ms:.2f}" for core in profile.cores)
        console.print(f"Each core by itself, p50 ms: {timed}")
    if profile.layers is not None:
        console.print()
        console.print(_ranking(profile.layers))
        console.print()
        count = len(profile.layers.layers)
        title = f"The {layer_rows} slowest of {count} layers" if 0 < layer_rows < count else f"All {count} layers"
        _print_aligned(console, title, _layers(profile.layers, layer_rows))
        console.print(plain(_below_layers(profile.layers)))
    console.print()
    console.print(_machine(profile))
    if profile.missing:
        console.print()
        missing = facts_table("Not measured")
        for item in profile.missing:
            missing.add_row(plain(item.figure), plain(item.reason))
        console.print(missing)
    if profile.advice:
        console.print()
    for advice in profile.advice:
        style = "yellow" if advice.level == "warning" else "cyan"
        console.print(f"[{style}]{advice.level}:[/] {plain(advice.message)}")
        for line in advice.fix.splitlines():
            console.print(f"  {plain(line)}")


def _facts(profile: Profile) -> Table:
    versions, frames = profile.versions, profile.frames
    table = facts_table()
    size, toolkit = f"{profile.input_width}x{profile.input_height}", versions.toolkit or "toolkit unknown"
    model = f"{versions.target} {versions.dtype}, {size}, {toolkit}"
    if profile.backend in _FLOAT_BACKENDS:
        model += "; what runs here is its float network"
    table.add_row("model", plain(model))
    machine = [versions.board, versions.soc, f"Linux {versions.kernel}" if versions.kernel else None]
    processors = f"{profile.conditions.processors} processors"
    table.add_row("machine", plain(", ".join([*filter(None, machine), processors])))
    table.add_row("frames", plain(f"{frames.source}, {frames.width}x{frames.height}, {frames.count} different ones"))
    return table


def _stages(stages: Stages) -> Table:
    table = _columns(f"One context, one frame after the other ({stages.total.count} frames), ms", "stage", "")
    for name in ("p50", "p90", "p99", "of p50"):
        table.add_column(name, justify="right")

    def row(name: str, latency: Latency, style: str | None = None) -> None:
        whole = stages.total.p50_ms
        share = f"{latency.p50_ms / whole:.0%}" if whole > 0 else ""
        figures = (latency.p50_ms, latency.p90_ms, latency.p99_ms)
        table.add_row(name, *(f"{ms:.2f}" for ms in figures), share, style=style)

    row("preprocess", stages.preprocess)
    row("infer", stages.infer)
    if stages.npu is not None:
        row("  network in it", stages.npu, "dim")
    row("decode + NMS", stages.decode)
    row("total", stages.total, "bold")
    return table


def _below_stages(stages: Stages) -> list[str]:
    lines = []
    if stages.npu is not None:
        total, npu = stages.total.p50_ms, stages.npu.p50_ms
        copy = max(0.0, stages.infer.p50_ms - npu)
        lines.append(
            f"Per frame {total:.1f} ms, network {npu:.1f} ms: {max(0.0, total - npu):.1f} ms elsewhere, in preprocess "
            f"{stages.preprocess.p50_ms:.1f}, decode {stages.decode.p50_ms:.1f}, copying in and out {copy:.1f}."
        )
    rate = 1000 / stages.total.p50_ms if stages.total.p50_ms > 0 else 0.0
    lines.append(
        f"{rate:.1f} frames a second this way; {stages.cpu_ms_per_frame:.1f} ms of processor time and "
        f"{stages.detections_per_frame:.1f} detections a frame."
    )
    return lines


def _throughput(measured: Sequence[Throughput]) -> list[str]:
    has_cores = any(item.cores is not None for item in measured)
    has_load = any(item.npu_load_percent is not None for item in measured)
    gain = ["gain"] if len(measured) > 1 else []
    rows = [
        [
            "contexts", *(["cores"] if has_cores else []), "pipeline/s", *gain, "network/s", *gain, "infer ms",
            "CPU ms", *(["NPU %"] if has_load else []),
        ]
    ]  # fmt: skip
    first = measured[0]
    for item in measured:
        cores = [] if not has_cores else [" ".join(map(str, item.cores or ()))]
        load = [] if not has_load else [" ".join(f"{percent:.0f}" for percent in item.npu_load_percent or ())]
        rows.append(
            [
                str(item.contexts),
                *cores,
                f"{item.frames_per_second:.1f}",
                *([_gain(item.frames_per_second, first.frames_per_second)] if gain else []),
                f"{item.network_per_second:.1f}",
                *([_gain(item.network_per_second, first.network_per_second)] if gain else []),
                f"{item.infer.p50_ms:.2f}",
                f"{item.cpu_ms_per_frame:.1f}",
                *load,
            ]
        )
    return _aligned(rows, right=range(1, len(rows[0])))


def _gain(rate: float, first: float) -> str:
    return f"{rate / first:.2f}x" if first > 0 else ""


def _ranking(layers: LayerProfile) -> Table:
    table = _columns(f"Operators, most time first ({layers.figures_from})", "operator", "runs on")
    for heading in ("layers", "us", "share"):
        table.add_column(heading, justify="right")
    for item in layers.ranking:
        table.add_row(plain(item.op), plain(item.target), str(item.count), _whole(item.time_us), _percent(item.share))
    return table


def _layers(layers: LayerProfile, rows: int) -> list[str]:
    shown = list(layers.layers)
    if 0 < rows < len(shown):
        shown = sorted(shown, key=lambda layer: -(layer.time_us or 0.0))[:rows]
    cells = [["#", "operator", "type", "on", "us", "share", "RW KiB", "waits for", "layer"]]
    for layer in shown:
        waits = "" if not layer.total_cycles else "memory" if layer.waits_for_memory else "compute"
        cells.append(
            [
                str(layer.number), layer.op, layer.dtype, layer.target, _whole(layer.time_us), _percent(layer.share),
                _whole(layer.rw_kib), waits, layer.name,
            ]
        )  # fmt: skip
    return _aligned(cells, right=(0, 4, 5, 6))


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[int]) -> list[str]:
    """Lines of columns that are as wide as what is in them: a terminal wraps them, where Rich would cut them off.

    Args:
        rows: of cells, the heading first.
        right: columns that are aligned to the right.
    """
    widths = [min(_MAX_CELL, max(map(len, column))) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _print_aligned(console: Console, title: str, lines: Sequence[str]) -> None:
    console.print(f"[bold]{plain(title)}[/]")
    for position, line in enumerate(lines):
        console.print(f"[bold]{plain(line)}[/]" if position == 0 else plain(line))


def _below_layers(layers: LayerProfile) -> str:
    parts = [f"median of {layers.runs} runs; collecting this slows every layer, so trust the shares, not the sum"]
    if layers.total_us is not None:
        parts.insert(0, f"{layers.total_us / 1000:.2f} ms in all")
    if layers.rw_kib is not None:
        parts.insert(1, f"{layers.rw_kib / 1024:.1f} MiB read and written a frame")
    return ", ".join(parts) + "."


def _machine(profile: Profile) -> Table:
    table = facts_table()
    memory = profile.npu_memory
    if memory is not None:
        figures = f"weights {_mib(memory.weights)}, internal {_mib(memory.internal)}, DMA {_mib(memory.dma)}"
        if memory.sram_total:
            figures += f", SRAM {_mib(memory.sram_free)} of {_mib(memory.sram_total)} free"
        table.add_row("NPU memory", f"{figures} (the runtime, one context)")
    resident = profile.process_memory
    if resident is not None:
        slope, error = resident.slope_bytes_per_1000_frames, resident.slope_error_bytes_per_1000_frames
        table.add_row(
            "process memory",
            f"{_mib(resident.last_bytes)} resident, {slope / 1024:+,.0f} ± {error / 1024:,.0f} KiB per 1,000 frames "
            f"(least squares over {resident.frames} frames)",
        )
    for name, value in _conditions(profile.conditions):
        table.add_row(plain(name), plain(value))
    versions = profile.versions
    drivers = [f"librknnrt {versions.runtime}" if versions.runtime else None,
               f"driver {versions.driver}" if versions.driver else None]  # fmt: skip
    packages = [f"{name} {number}" for name, number in versions.packages.items()]
    table.add_row(
        "versions", plain(", ".join([*filter(None, drivers), f"rkdeploy {profile.rkdeploy_version}", *packages]))
    )
    return table


def _conditions(seen: BoardConditions) -> list[tuple[str, str]]:
    rows = [(f"{clock.name} clock", _clock(clock)) for clock in seen.clocks]
    if seen.temperatures:
        hottest = sorted(seen.temperatures, key=lambda zone: -zone.hottest_celsius)[:4]
        rows.append(
            (
                "temperatures",
                ", ".join(
                    f"{zone.name} {zone.first_celsius:.0f} to {zone.hottest_celsius:.0f}"
                    + ("" if zone.throttles_at_celsius is None else f" (slows down at {zone.throttles_at_celsius:.0f})")
                    for zone in hottest
                )
                + " °C",
            )
        )
    parts = []
    if seen.busy_before is not None:
        parts.append(f"processors {seen.busy_before:.0%} busy with others")
    if seen.load_average is not None:
        parts.append(f"load average {seen.load_average:.2f}")
    if parts:
        rows.append(("before", ", ".join(parts)))
    return rows


def _clock(clock: ClockProfile) -> str:
    parts = [clock.governor or "governor unknown"]
    if clock.median_hz is not None:
        parts.append(f"{_mhz(clock.median_hz)} while frames ran")
        if clock.lowest_hz is not None and clock.lowest_hz < clock.median_hz:
            parts.append(f"{_mhz(clock.lowest_hz)} at its slowest")
    if clock.limit_hz is not None:
        parts.append(f"limit {_mhz(clock.limit_hz)}")
    if clock.highest_hz is not None and clock.highest_hz != clock.limit_hz:
        parts.append(f"highest {_mhz(clock.highest_hz)}")
    return ", ".join(parts)


def _columns(title: str, first: str, second: str) -> Table:
    table = Table(title=plain(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    if second:
        table.add_column(second, no_wrap=True)
    return table


def _whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _mib(size: int) -> str:
    return f"{size / _MIB:.1f} MiB" if size >= _MIB // 10 else f"{size / 1024:.1f} KiB"


def _mhz(hz: int) -> str:
    return f"{hz / 1e6:.0f} MHz"
