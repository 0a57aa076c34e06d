"""Layers: time, traffic and weights of each; the roofline."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rkdeploy.analysis.page.columns import ColumnOf, count_column, number_column, share_column, table_of, text_column
from rkdeploy.analysis.page.content import (
    Block,
    Cell,
    LegendEntry,
    Note,
    PageSection,
    Plot,
    Table,
)
from rkdeploy.analysis.page.plots.layer_plot import LIMITS, Bar, Lane, along_the_network
from rkdeploy.analysis.page.plots.roofline_plot import Point, roofline_plot
from rkdeploy.analysis.page.plots.svg import Drawings
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.model_report import LayerRow, LayerTable, ModelReport

_KIB, _MIB = 1 << 10, 1 << 20
_NO_LIMIT = "built"


def layers_section(model: ModelReport, words: Words) -> PageSection | None:
    """One table and two plots for each origin of times."""
    blocks: list[Block] = []
    for table in model.layers:
        blocks += _table_blocks(table, words)
    return PageSection("layers", words("layers.title"), blocks) if blocks else None


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
    yield layer_table(table, words)


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
    drawings = Drawings.of(partial(along_the_network, lanes, [r.number for r in rows], words("layers.axis")))
    title = words("layers.along_plot")
    return Plot(
        title,
        drawings,
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
    texts = (
        words("roofline.below"),
        words("roofline.beside"),
        words("roofline.flat", rate=lines.macs_per_second / 1e9),
        words("roofline.slanted", rate=lines.bytes_per_second / 1e9),
    )
    drawings = Drawings.of(partial(roofline_plot, points, lines.macs_per_second, lines.bytes_per_second, texts))
    kinds = {point.kind for point in points}
    return Plot(
        title,
        drawings,
        words("roofline.desc", count=len(points)),
        [LegendEntry(f"shape {name}", words(f"limit.{name}")) for name in LIMITS if name in kinds],
        table.origin,
        words("roofline.note", best=lines.macs_per_cycle, source=lines.origin.by),
    )


def layer_table(table: LayerTable, words: Words, slowest: int = 0) -> Table:
    """Rows of the layers.

    Args:
        table: the layers.
        words: of the language.
        slowest: how many are listed, slowest first; 0 for all in their order.
    """
    rows, count = list(table.rows), len(table.rows)
    timed = table.total_ms is not None
    caption = words("layers.caption" if timed else "layers.plan_caption", count=count)
    if 0 < slowest < count:
        rows = sorted(rows, key=lambda row: -(row.time_ms or 0.0))[:slowest]
        caption = words("layers.slowest_caption", shown=slowest, count=count)
    columns: list[ColumnOf[LayerRow]] = [
        ColumnOf("#", lambda row: Cell(str(row.number), row.number), "right"),
        text_column(words("layers.name"), lambda row: row.name),
        text_column(words("layers.op"), lambda row: row.op),
        number_column(words("layers.us"), lambda row: row.time_ms, ".1f", factor=1000),
        share_column(words("layers.share"), lambda row: row.share),
        text_column(words("layers.limit"), lambda row: words(f"limit.{row.limit}") if row.limit else None),
        number_column(words("layers.mmacs"), lambda row: row.macs, ".2f", factor=1e-6),
        number_column(words("layers.traffic"), lambda row: row.traffic_bytes, ",.0f", factor=1 / _KIB),
        number_column(words("layers.intensity"), _intensity, ".1f"),
        number_column(words("layers.weights"), lambda row: row.weight_bytes, ",.1f", factor=1 / _KIB),
        count_column(words("layers.cycles"), lambda row: row.cycles),
        text_column(words("layers.runs_on"), lambda row: f"{row.target} {row.dtype}"),
        text_column(words("layers.output"), lambda row: row.output_shape),
    ]
    return table_of(caption, columns, rows, table.origin, sortable=True, tall=True)


def _intensity(row: LayerRow) -> float | None:
    return row.macs / row.traffic_bytes if row.macs is not None and row.traffic_bytes else None
