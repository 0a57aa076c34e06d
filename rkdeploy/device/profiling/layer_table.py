"""Parser of the runtime's per-layer table."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Final

from rkdeploy.contract.bounds import Figure, Text, Whole
from rkdeploy.contract.toolkit_table import (
    LAYER_HEADING,
    cycles_of,
    node_name_of,
    number_of,
    read_table,
    traffic_kib_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENDS: Final = frozenset({"InputOperator", "OutputOperator"})


@dataclass(frozen=True, slots=True)
class RuntimeLayer:
    """One row of the table.

    Attributes:
        number: as the runtime counts.
        op: operator after fusion, `ConvExSwish`.
        name: the node in the graph; may be empty.
        dtype: of its data, `INT8`.
        target: processor that runs it: `NPU`, `CPU` or `GPU`.
        output_shape: as the runtime writes it.
        time_us: microseconds; None in a table without times.
        share: of the time of all layers, 0..1; None without times.
        ddr_cycles, npu_cycles, total_cycles: for moving its data, for computing, and for both in parallel.
        rw_kib: KiB read and written.
    """

    number: Whole
    op: Text
    name: Text
    dtype: Text
    target: Text
    output_shape: Text
    time_us: Figure | None
    share: Figure | None
    ddr_cycles: Whole | None
    npu_cycles: Whole | None
    total_cycles: Whole | None
    rw_kib: Figure | None

    @property
    def waits_for_memory(self) -> bool:
        """True if moving its data takes more cycles than computing it."""
        return (self.ddr_cycles or 0) > (self.npu_cycles or 0)

    @property
    def is_end(self) -> bool:
        """True for the rows of the network's input and output, which are not layers."""
        return self.op in _ENDS


@dataclass(frozen=True, slots=True)
class OpShare:
    """All layers of one operator on one target, for the ranking.

    Attributes:
        op, target: operator and processor.
        count: number of layers.
        time_us, share: of all of them; None without times.
    """

    op: Text
    target: Text
    count: Whole
    time_us: Figure | None
    share: Figure | None


def parse_layers(text: str) -> tuple[RuntimeLayer, ...]:
    """The rows of the first per-layer table in a text, in its order; empty when there is no such table."""
    table = read_table(text.splitlines(), LAYER_HEADING)
    return _with_shares([_layer(cells) for cells in table.rows]) if table else ()


def median_layers(runs: Sequence[tuple[RuntimeLayer, ...]]) -> tuple[RuntimeLayer, ...]:
    """The layers with their median time over several runs; the last run's where the tables differ in their rows."""
    last = runs[-1]
    same = [run for run in runs if [(r.number, r.op) for r in run] == [(r.number, r.op) for r in last]]
    timed = []
    for position, layer in enumerate(last):
        times = [run[position].time_us for run in same]
        known = [time for time in times if time is not None]
        timed.append(replace(layer, time_us=median(known) if known else None))
    return _with_shares(timed)


def ranking(layers: Sequence[RuntimeLayer]) -> tuple[OpShare, ...]:
    """Operators by their time, most first; by their number if there are no times."""
    groups: dict[tuple[str, str], list[RuntimeLayer]] = defaultdict(list)
    for layer in layers:
        groups[layer.op, layer.target].append(layer)
    found = [
        OpShare(op, target, len(group), _sum([r.time_us for r in group]), _sum([r.share for r in group]))
        for (op, target), group in groups.items()
    ]
    return tuple(sorted(found, key=lambda item: (-(item.time_us or 0), -item.count, item.op, item.target)))


def _layer(cells: dict[str, str]) -> RuntimeLayer:
    ddr, npu, total = cycles_of(cells)
    return RuntimeLayer(
        number=int(cells["id"]),
        op=cells.get("optype", ""),
        name=node_name_of(cells),
        dtype=cells.get("datatype", ""),
        target=cells.get("target", ""),
        output_shape=cells.get("outputshape", "").strip("\\"),
        time_us=number_of(cells.get("time(us)")),
        share=None,
        ddr_cycles=ddr,
        npu_cycles=npu,
        total_cycles=total,
        rw_kib=traffic_kib_of(cells),
    )


def _with_shares(layers: Sequence[RuntimeLayer]) -> tuple[RuntimeLayer, ...]:
    total = sum(layer.time_us or 0.0 for layer in layers)
    if total <= 0:
        return tuple(layers)
    return tuple(replace(r, share=None if r.time_us is None else r.time_us / total) for r in layers)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
