"""The tables that the vendor's tools print, read by the names in their heading.

The runtime's profile and the toolkit's build log share one layout: a heading that begins with `ID`, a rule, then one
line a row, each cell at least as wide as its column.  Columns come and go between versions, cells may be empty, and a
long cell pushes the rest of its row to the right.  What stands before the heading (`D RKNN: [11:46:36.223] `) stands
before every row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_COLUMN: Final = re.compile(
    r"Op ?Type|Data ?Type|Input ?Shape|Output ?Shape|(?:DDR|NPU|Total|Max) ?Cycles|Task ?Number|Lut ?Number"
    r"|Full ?Name|\S+"
)
_ROW: Final = re.compile(r"\s{0,4}(\d{1,6})\s", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)
_COUNT: Final = re.compile(r"\d{1,18}", re.ASCII)
_MAX_ROWS: Final = 10_000

LAYER_HEADING: Final = re.compile(r"\bID\s+Op ?Type\s")


@dataclass(frozen=True, slots=True)
class PrintedTable:
    """One table.

    Attributes:
        rows: its cells by column name; a name is lower case and without spaces, `optype`, `rw(kb)`.  `id` is a number.
        end: index of the line behind its last row.
    """

    rows: tuple[dict[str, str], ...]
    end: int


def read_table(lines: Sequence[str], heading: re.Pattern[str], start: int = 0) -> PrintedTable | None:
    """The first table whose heading matches, from line `start` on; None where there is none.

    A table ends at the first line without a number in its first column, or after 10,000 rows.
    """
    for index in range(start, len(lines)):
        found = heading.search(lines[index])
        if found is not None:
            return _read(lines, index, found.start())
    return None


def cycles_of(cells: dict[str, str]) -> tuple[int | None, int | None, int | None]:
    """DDR, NPU and total cycles of a layer, from one joined column or from three; None for what is not stated."""
    joined = next((cell for name, cell in cells.items() if name.startswith("cycles(")), None)
    cell = joined or "/".join(cells.get(name, "") for name in ("ddrcycles", "npucycles", "totalcycles"))
    cycles = [int(part) if _COUNT.fullmatch(part) else None for part in cell.split("/")]
    return (cycles[0], cycles[1], cycles[2]) if len(cycles) == 3 else (None, None, None)


def traffic_kib_of(cells: dict[str, str]) -> float | None:
    """Memory traffic of a layer, from its column, KiB."""
    kib = number_of(cells.get("rw(kb)"))
    if kib is None and (mib := number_of(cells.get("rw(mb)"))) is not None:
        return mib * 1024
    return kib


def node_name_of(cells: dict[str, str]) -> str:
    """The node in the graph, `/model.0/conv/Conv` of `Conv:/model.0/conv/Conv`; may be empty."""
    name = cells.get("fullname", "")
    return name.partition(":")[2] or name


def number_of(cell: str | None) -> float | None:
    """A plain number, or None for anything else, absurdly long ones included."""
    found = _NUMBER.fullmatch(cell or "")
    return float(found[0]) if found else None


def _read(lines: Sequence[str], heading: int, offset: int) -> PrintedTable:
    columns = [(_key(m[0]), m.start()) for m in _COLUMN.finditer(lines[heading], offset)]
    rows: list[dict[str, str]] = []
    end = heading + 1
    for index in range(heading + 1, len(lines)):
        row = _ROW.match(lines[index], offset)
        if row is None:
            if rows:
                break
            continue  # the rule below the heading
        rows.append(_cells(lines[index], columns) | {"id": row[1]})
        end = index + 1
        if len(rows) == _MAX_ROWS:
            break
    return PrintedTable(tuple(rows), end)


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
