"""The runtime's per-layer table as data.

The text differs between versions: 1.5.2 has the columns `DDR Cycles`, `NPU Cycles` and `Total Cycles`, 2.x has one
`Cycles(DDR/NPU/Total)`; columns come and go, cells may be empty, and a long shape pushes the rest of its row to the
right.  So columns are found by their names in the heading.  The toolkit's build log has the same table without times.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEADING: Final = re.compile(r"\bID\s+Op ?Type\s")
_COLUMN: Final = re.compile(
    r"Op ?Type|Data ?Type|Input ?Shape|Output ?Shape|(?:DDR|NPU|Total|Max) ?Cycles|Task ?Number|Lut ?Number"
    r"|Full ?Name|\S+"
)
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_ROW: Final = re.compile(r"\s{0,4}(\d{1,6})\s", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,18}", re.ASCII)
_MAX_LAYERS: Final = 10_000
_ENDS: Final = frozenset({"InputOperator", "OutputOperator"})


@dataclass(frozen=True, slots=True)
class Layer:
    """One row.

    Attributes:
        number: as the runtime counts.
        op: operator after fusion, `ConvExSwish`.
        name: the node in the graph, which may be empty.
        dtype: of its data, `INT8`.
        target: where it runs: `NPU`, `CPU` or `GPU`.
        output_shape: as the runtime writes it.
        time_us: how long it took; None in a table without times.
        share: of the time of all layers, 0..1; None without times.
        ddr_cycles, npu_cycles, total_cycles: for moving its data, for computing, and for both side by side.
        rw_kib: what it reads and writes.
    """

    number: int
    op: str
    name: str
    dtype: str
    target: str
    output_shape: str
    time_us: float | None
    share: float | None
    ddr_cycles: int | None
    npu_cycles: int | None
    total_cycles: int | None
    rw_kib: float | None

    @property
    def waits_for_memory(self) -> bool:
        """Whether moving its data takes more cycles than computing it."""
        return (self.ddr_cycles or 0) > (self.npu_cycles or 0)

    @property
    def is_end(self) -> bool:
        """Whether it is no layer of the network, but the way in or out."""
        return self.op in _ENDS


@dataclass(frozen=True, slots=True)
class OpShare:
    """All layers of one operator on one target, for the ranking.

    Attributes:
        op, target: which.
        count: of layers.
        time_us, share: of all of them; None without times.
    """

    op: str
    target: str
    count: int
    time_us: float | None
    share: float | None


def parse_layers(text: str) -> tuple[Layer, ...]:
    """The rows of the first per-layer table in a text, in its order; empty when there is no such table."""
    lines = iter(text.splitlines())
    heading = next((found for line in lines if (found := _HEADING.search(line))), None)
    if heading is None:
        return ()
    offset = heading.start()
    columns = [(_key(m[0]), m.start()) for m in _COLUMN.finditer(heading.string, offset)]
    rows: list[dict[str, str]] = []
    for line in lines:
        row = _ROW.match(line, offset)
        if row is None:
            if rows:
                break
            continue  # the rule below the heading
        rows.append(_cells(line, columns) | {"id": row[1]})
        if len(rows) == _MAX_LAYERS:
            break
    return _with_shares([_layer(row) for row in rows])


def median_layers(runs: Sequence[tuple[Layer, ...]]) -> tuple[Layer, ...]:
    """The layers with their median time over several runs; the last run's where the tables differ in their rows."""
    last = runs[-1]
    same = [run for run in runs if [(r.number, r.op) for r in run] == [(r.number, r.op) for r in last]]
    timed = []
    for position, layer in enumerate(last):
        times = [run[position].time_us for run in same]
        known = [time for time in times if time is not None]
        timed.append(replace(layer, time_us=median(known) if known else None))
    return _with_shares(timed)


def ranking(layers: Sequence[Layer]) -> tuple[OpShare, ...]:
    """Operators by their time, most first; by their number where there are no times."""
    groups: dict[tuple[str, str], list[Layer]] = defaultdict(list)
    for layer in layers:
        groups[layer.op, layer.target].append(layer)
    found = [
        OpShare(op, target, len(group), _sum([r.time_us for r in group]), _sum([r.share for r in group]))
        for (op, target), group in groups.items()
    ]
    return tuple(sorted(found, key=lambda item: (-(item.time_us or 0), -item.count, item.op, item.target)))


def _key(heading: str) -> str:
    """Name of a column, however it is spelled."""
    key = heading.replace(" ", "").lower()
    return "totalcycles" if key == "maxcycles" else key


def _cells(line: str, columns: Sequence[tuple[str, int]]) -> dict[str, str]:
    """The cells of a row.  Each is printed at least as wide as its column: a wider one moves all that follow."""
    cells: dict[str, str] = {}
    moved = 0
    for position, (name, start) in enumerate(columns):
        begin = start + moved
        if position + 1 == len(columns):
            cells[name] = line[begin:].strip()
            break
        end = columns[position + 1][1] + moved
        if end <= len(line) and line[end - 1 : end].strip():  # no gap: the cell goes on
            gap = line.find(" ", end)
            gap = len(line) if gap < 0 else gap
            moved += gap + 1 - end
            end = gap
        cells[name] = line[begin:end].strip()
    return cells


def _layer(cells: dict[str, str]) -> Layer:
    cycles = [int(part) if _COUNT.fullmatch(part) else None for part in _cycles_cell(cells).split("/")]
    ddr, npu, total = cycles if len(cycles) == 3 else (None, None, None)
    name = cells.get("fullname", "")
    rw_kib = _number(cells.get("rw(kb)"))
    if rw_kib is None and (mib := _number(cells.get("rw(mb)"))) is not None:
        rw_kib = mib * 1024
    return Layer(
        number=int(cells["id"]),
        op=cells.get("optype", ""),
        name=name.partition(":")[2] or name,
        dtype=cells.get("datatype", ""),
        target=cells.get("target", ""),
        output_shape=cells.get("outputshape", "").strip("\\"),
        time_us=_number(cells.get("time(us)")),
        share=None,
        ddr_cycles=ddr,
        npu_cycles=npu,
        total_cycles=total,
        rw_kib=rw_kib,
    )


def _cycles_cell(cells: dict[str, str]) -> str:
    joined = next((cell for name, cell in cells.items() if name.startswith("cycles(")), None)
    return joined or "/".join(cells.get(name, "") for name in ("ddrcycles", "npucycles", "totalcycles"))


def _number(cell: str | None) -> float | None:
    found = _NUMBER.fullmatch(cell or "")
    return float(found[0]) if found else None


def _with_shares(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    total = sum(layer.time_us or 0.0 for layer in layers)
    if total <= 0:
        return tuple(layers)
    return tuple(replace(r, share=None if r.time_us is None else r.time_us / total) for r in layers)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
