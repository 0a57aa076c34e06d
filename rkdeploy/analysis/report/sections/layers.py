"""Where the time and the memory go, layer by layer; the roofline; the memory map."""

from __future__ import annotations

from collections.abc import Iterator

from rkdeploy.analysis.origin import origin_of
from rkdeploy.analysis.page.blocks import (
    ABSENT,
    Block,
    Cell,
    Column,
    LegendEntry,
    Note,
    Plot,
    Section,
    Table,
    count,
    facts,
    figure,
)
from rkdeploy.analysis.page.plots.layer_plot import LIMITS, Bar, Lane, along_the_network
from rkdeploy.analysis.page.plots.memory_plot import memory_plot
from rkdeploy.analysis.page.plots.roofline_plot import Point, roofline_plot
from rkdeploy.analysis.page.plots.svg import Svg
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import LayerRow, LayerTable, ModelReport

_KIB, _MIB = 1 << 10, 1 << 20
_NO_LIMIT = "built"


def layers_section(model: ModelReport, words: Words) -> Section | None:
    """One table and two plots for each origin of times."""
    blocks: list[Block] = []
    for table in model.layers:
        blocks += _table_blocks(table, words)
    return Section("layers", words("layers.title"), blocks) if blocks else None


def _table_blocks(table: LayerTable, words: Words) -> Iterator[Block]:
    timed = table.total_ms is not None
    if table.slowed:
        yield Note(words("layers.slowed"))
    elif not timed:
        yield Note(words("layers.untimed"))
    yield _along(table, words)
    if table.roofline is not None:
        plot = _roofline(table, words)
        if plot is not None:
            yield plot
    yield _layer_table(table, words)


def _along(table: LayerTable, words: Words) -> Plot:
    """Lanes of time, traffic and weights; of cycles where there are no times."""
    rows = table.rows
    limits = [name for name in LIMITS if any(row.limit == name for row in rows)]
    timed = table.total_ms is not None
    first = (
        Lane(words("layers.lane_time"), [Bar(1000 * (r.time_ms or 0.0), _kind(r), _title(r)) for r in rows])
        if timed
        else Lane(words("layers.lane_cycles"), [Bar(float(r.cycles or 0), _NO_LIMIT, _title(r)) for r in rows])
    )
    lanes = [first]
    if any(r.traffic_bytes for r in rows):
        bars = [Bar((r.traffic_bytes or 0) / _KIB, "traffic", _title(r)) for r in rows]
        lanes.append(Lane(words("layers.lane_traffic"), bars))
    if any(r.weight_bytes for r in rows):
        bars = [Bar((r.weight_bytes or 0) / _KIB, "weights", _title(r)) for r in rows]
        lanes.append(Lane(words("layers.lane_weights"), bars))
    svg: Svg = along_the_network(lanes, [r.number for r in rows], words("layers.axis"))
    title = words("layers.along_plot")
    return Plot(
        title,
        svg,
        words("layers.along_desc", count=len(rows)),
        [LegendEntry(name, words(f"limit.{name}")) for name in limits],
        table.origin,
    )


def _kind(row: LayerRow) -> str:
    return row.limit or _NO_LIMIT


def _title(row: LayerRow) -> str:
    parts = [f"{row.number} {row.op} {row.name}".strip()]
    if row.time_ms is not None:
        parts.append(f"{1000 * row.time_ms:.1f} us")
    if row.traffic_bytes is not None:
        parts.append(f"{row.traffic_bytes / _KIB:,.0f} KiB")
    return ", ".join(parts)


def _roofline(table: LayerTable, words: Words) -> Plot | None:
    lines = table.roofline
    assert lines is not None
    points = [
        Point(r.macs / r.traffic_bytes, r.macs / (r.time_ms / 1000), r.share or 0.0, _kind(r), _title(r))
        for r in table.rows
        if r.macs and r.traffic_bytes and r.time_ms
    ]
    if not points:
        return None
    title = words("roofline.title")
    svg = roofline_plot(
        points, lines.macs_per_second, lines.bytes_per_second,
        (
            words("roofline.below"), words("roofline.beside"),
            words("roofline.flat", rate=lines.macs_per_second / 1e9),
            words("roofline.slanted", rate=lines.bytes_per_second / 1e9),
        ),
    )  # fmt: skip
    kinds = {point.kind for point in points}
    return Plot(
        title,
        svg,
        words("roofline.desc", count=len(points)),
        [LegendEntry(f"shape {name}", words(f"limit.{name}")) for name in LIMITS if name in kinds],
        table.origin,
        words("roofline.note", best=lines.macs_per_cycle, source=lines.origin.by),
    )


def _layer_table(table: LayerTable, words: Words) -> Table:
    timed = table.total_ms is not None
    limits = any(row.limit for row in table.rows)
    columns = [Column("#", "right"), Column(words("layers.name")), Column(words("layers.op"))]
    columns += [Column(words("layers.us"), "right"), Column(words("layers.share"), "right")] if timed else []
    columns += [Column(words("layers.limit"))] if limits else []
    columns += [
        Column(words(f"layers.{t}"), "right") for t in ("mmacs", "traffic", "intensity", "weights", "cycles")
    ] + [Column(words("layers.runs_on")), Column(words("layers.output"))]
    rows = []
    for r in table.rows:
        cells = [Cell(str(r.number), r.number), Cell(r.name or ABSENT), Cell(r.op)]
        if timed:
            cells += [
                figure(None if r.time_ms is None else 1000 * r.time_ms, ".1f"),
                Cell(ABSENT) if r.share is None else Cell(f"{r.share:.1%}", r.share),
            ]
        cells += [Cell(words(f"limit.{r.limit}") if r.limit else ABSENT)] if limits else []
        intensity = r.macs / r.traffic_bytes if r.macs is not None and r.traffic_bytes else None
        cells += [
            figure(None if r.macs is None else r.macs / 1e6, ".2f"),
            figure(None if r.traffic_bytes is None else r.traffic_bytes / _KIB, ",.0f"),
            figure(intensity, ".1f"),
            figure(None if r.weight_bytes is None else r.weight_bytes / _KIB, ",.1f"),
            count(r.cycles), Cell(f"{r.target} {r.dtype}"), Cell(r.output_shape or ABSENT),
        ]  # fmt: skip
        rows.append(cells)
    caption = words("layers.caption", count=len(rows)) if timed else words("layers.plan_caption", count=len(rows))
    return Table(caption, columns, rows, table.origin, sortable=True, tall=True)


def memory_section(model: ModelReport, words: Words) -> Section | None:
    """How much, and which tensor lies where and when."""
    blocks: list[Block] = []
    memory = model.memory
    if memory is not None:
        rows = [
            (words("memory.weights"), f"{memory.weight_bytes / _MIB:.2f} MiB"),
            (words("memory.internal"), f"{memory.internal_bytes / _MIB:.2f} MiB"),
            (words("memory.total"), f"{memory.total_bytes / _MIB:.2f} MiB"),
            (words("memory.peak", layer=memory.peak_layer), f"{memory.peak_bytes / _MIB:.2f} MiB"),
        ]
        blocks.append(facts(words("memory.caption"), words("common.what"), words("common.size"), rows, memory.origin))
    for run in model.profiles:
        if run.npu_memory is not None:
            measured = run.npu_memory
            rows = [
                (words("memory.weights"), f"{measured.weights / _MIB:.2f} MiB"),
                (words("memory.internal"), f"{measured.internal / _MIB:.2f} MiB"),
                (words("memory.total"), f"{(measured.weights + measured.internal) / _MIB:.2f} MiB"),
                (words("memory.dma"), f"{measured.dma / _MIB:.2f} MiB"),
            ]
            caption = words("memory.runtime_caption")
            blocks.append(facts(caption, words("common.what"), words("common.size"), rows, origin_of(run)))
    if memory is not None and memory.tensors:
        title = words("memory.map")
        svg = memory_plot(memory.tensors, memory.internal_bytes, words("layers.axis"), "MiB")
        blocks.append(
            Plot(
                title, svg, words("memory.map_desc", count=len(memory.tensors)), (), memory.origin,
                words("memory.map_note"),
            )
        )  # fmt: skip
        lives = [
            [
                Cell(one.name), Cell(one.dtype), figure((one.end - one.start) / _KIB, ",.1f"),
                Cell(f"0x{one.start:08x}", one.start), Cell(str(one.first_layer), one.first_layer),
                Cell(str(one.last_layer), one.last_layer),
            ]
            for one in memory.tensors
        ]  # fmt: skip
        columns = (
            Column(words("memory.tensor")), Column(words("memory.dtype")), Column("KiB", "right"),
            *(Column(words(f"memory.{t}"), "right") for t in ("address", "written", "read")),
        )  # fmt: skip
        caption = words("memory.tensors_caption", count=len(lives))
        blocks.append(Table(caption, columns, lives, memory.origin, sortable=True, tall=True))
    return Section("memory", words("memory.title"), blocks) if blocks else None
